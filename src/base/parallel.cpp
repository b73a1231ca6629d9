#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/threads.h"

namespace sluice {
namespace {

// Joins however the scope is left.
struct Threads {
  std::vector<std::thread> threads;
  ~Threads() {
    for (std::thread& thread : threads) thread.join();
  }
};

}  // namespace

void parallel_for(const std::string& name, int num_threads, int64_t count,
                  const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto fail = [&](std::exception_ptr exception) {
    const std::lock_guard lock(mutex);
    if (!failure) failure = std::move(exception);
    next = count;
  };
  const auto run = [&] {
    try {
      for (int64_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      fail(std::current_exception());
    }
  };
  {
    Threads team;
    const int64_t wanted = std::min<int64_t>(num_threads, count);
    try {
      for (int64_t i = 0; i < wanted; ++i) team.threads.push_back(start_thread(name, run));
    } catch (...) {
      // Those that could be started do it.
      if (team.threads.empty()) fail(std::current_exception());
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace sluice
