#include "base/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <system_error>
#include <utility>

#include "base/cgroup.h"
#include "base/error.h"

namespace sluice {
namespace {

// The affinity mask; cgroups' cpusets narrow it.
int allowed_processors() {
  for (int most = CPU_SETSIZE; most <= 1 << 20; most *= 2) {
    struct Free {
      void operator()(cpu_set_t* set) const { CPU_FREE(set); }
    };
    const std::unique_ptr<cpu_set_t, Free> set(CPU_ALLOC(most));
    const size_t bytes = CPU_ALLOC_SIZE(most);
    // It fails while the mask is shorter than the kernel's.
    if (set && ::sched_getaffinity(0, bytes, set.get()) == 0) return CPU_COUNT_S(bytes, set.get());
  }
  return 1;
}

}  // namespace

void set_thread_name(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

std::thread start_thread(const std::string& name, std::function<void()> work) {
  try {
    return std::thread([name, work = std::move(work)] {
      set_thread_name(name);
      work();
    });
  } catch (const std::system_error& error) {
    throw Error(
        ErrorCode::kOutOfMemory,
        "the system gives no further thread (" + std::string(error.code().message()) +
            "): the limit of processes (`ulimit -u`) or of memory (`ulimit -v`) is reached");
  }
}

int usable_cores() { return usable_cores(allowed_processors(), read_cgroup_limits().cores); }

int usable_cores(int num_allowed, std::optional<double> quota) {
  const double cores = std::round(std::min<double>(num_allowed, quota.value_or(num_allowed)));
  return std::max(1, static_cast<int>(cores));
}

}  // namespace sluice
