// libfakecuda.so: a CUDA driver without a GPU. It knows the calls of backend/cuda/driver.h, and its
// devices run kernels in the emulator (simt.h), asynchronously, each stream on a thread of its own.
//
// The environment variable SLUICE_FAKECUDA says what kind of machine it is and what goes wrong
// there, as words with commas between:
//
//   devices=2        how many (1)
//   memory=512       MiB of each (1024)
//   used=100         MiB of them that other processes hold (0)
//   used-kib=100     KiB beside these
//   used-0=100       MiB beside these of the first device alone (of any by its number)
//   version=12040    of the driver (13000)
//   capability=75    of each device (90)
//   no-start         cuInit says that there is no device
//   no-binary        no image has code for its devices
//   no-jit           the driver cannot make code for them of what the images have
//   bad-image        it does not understand the images: they are of a newer CUDA
//   for-good         a context that is lost stays so when another one is made
//   fail-alloc=N     the N-th allocation from here on finds no memory
//   fail-pinned=N    the N-th of pinned memory of the host
//   fail-graph=N     the N-th graph that is made or launched finds no memory
//   fail-launch=N    the N-th kernel from here on is not launched: the context is lost
//   fail-kernel=N    it is launched and fails: later calls say so
//   checks=races     also races and undefined reads (memory: bounds only; none)
//
// CUDA_VISIBLE_DEVICES says which of its devices a program sees, as with a GPU's driver: numbers or
// (the beginnings of) "GPU-N", up to the first that there is not.
//
// Programs that link the library's header can say the same with fake_cuda_configure().

#include "simt/fake_driver.h"

#include <cuda.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "simt/simt.h"

using sluice::simt::Options;

// ---- the machine
// ---------------------------------------------------------------------------------

namespace {

constexpr size_t kMiB = size_t{1} << 20;

struct Settings {
  int devices = 1, version = 13000, capability = 90;
  size_t memory = 1024 * kMiB, used = 0;
  std::map<size_t, size_t> used_of;  // a device alone
  bool starts = true, has_binaries = true, has_compiler = true, has_good_images = true;
  bool loses_for_good = false;
  long fail_alloc = 0, fail_pinned = 0, fail_graph = 0, fail_launch = 0,
       fail_kernel = 0;  // counted down; 0: never
  std::string checks = "memory";
};

struct FakeDevice {
  size_t allocated = 0;
  int context_users = 0;
  CUresult error = CUDA_SUCCESS;  // of its context, for good
};

struct State {
  std::mutex mutex;
  Settings settings;
  std::vector<FakeDevice> devices;
  std::vector<int> visible;  // of them
  struct Block {
    int device;
    size_t size;
  };
  std::map<CUdeviceptr, Block> blocks;
  std::map<const void*, size_t> pinned;
  std::map<std::string, long> counters;
  std::mutex emulator;  // which runs one launch at a time
};

State& state() {
  static State* const the = new State;  // outlives the threads of streams
  return *the;
}

// What is taken of a device's memory, by others too.
size_t used_bytes(const State& s, int device) {
  const auto index = static_cast<size_t>(device);
  const auto found = s.settings.used_of.find(index);
  return s.devices[index].allocated + s.settings.used +
         (found == s.settings.used_of.end() ? 0 : found->second);
}

void count(const char* what) {
  const std::lock_guard lock(state().mutex);
  ++state().counters[what];
}

// Of `count` devices, those that CUDA_VISIBLE_DEVICES names.
std::vector<int> visible_devices(int count) {
  std::vector<int> visible;
  const char* const text = std::getenv("CUDA_VISIBLE_DEVICES");
  if (!text) {
    for (int device = 0; device < count; ++device) visible.push_back(device);
    return visible;
  }
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    int found = -1;
    for (int device = count - 1; device >= 0; --device) {
      const std::string number = std::to_string(device), uuid = "GPU-" + number;
      if (word == number || (word.size() > 4 && uuid.starts_with(word))) found = device;
    }
    if (found < 0) break;
    visible.push_back(found);
  }
  return visible;
}

// The machine as `text` says, or as it is but for that.
void configure(const std::string& text, bool anew = true) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  Settings settings = anew ? Settings() : s.settings;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    begin = end + 1;
    const std::string name = word.substr(0, word.find('='));
    const std::string value = word.size() > name.size() ? word.substr(name.size() + 1) : "";
    const long number = std::atol(value.c_str());
    if (name == "devices") settings.devices = static_cast<int>(number);
    if (name == "memory") settings.memory = static_cast<size_t>(number) * kMiB;
    if (name == "used") settings.used = static_cast<size_t>(number) * kMiB;
    if (name == "used-kib") settings.used += static_cast<size_t>(number) * 1024;
    if (name.starts_with("used-") && name != "used-kib") {
      settings.used_of[static_cast<size_t>(std::atol(name.c_str() + 5))] =
          static_cast<size_t>(number) * kMiB;
    }
    if (name == "version") settings.version = static_cast<int>(number);
    if (name == "capability") settings.capability = static_cast<int>(number);
    if (name == "no-start") settings.starts = false;
    if (name == "no-binary") settings.has_binaries = false;
    if (name == "no-jit") settings.has_compiler = false;
    if (name == "bad-image") settings.has_good_images = false;
    if (name == "for-good") settings.loses_for_good = true;
    if (name == "fail-alloc") settings.fail_alloc = number;
    if (name == "fail-pinned") settings.fail_pinned = number;
    if (name == "fail-graph") settings.fail_graph = number;
    if (name == "fail-launch") settings.fail_launch = number;
    if (name == "fail-kernel") settings.fail_kernel = number;
    if (name == "checks") settings.checks = value;
  }
  s.settings = settings;
  s.devices.resize(static_cast<size_t>(std::max(settings.devices, 0)));
  s.visible = visible_devices(settings.devices);
}

// Counts one of the settings' numbers down; true when it is this one's turn.
bool is_turn(long& left) {
  const std::lock_guard lock(state().mutex);
  return left > 0 && --left == 0;
}

struct Operation {
  std::function<CUresult()> run;
};

}  // namespace

struct CUctx_st {
  int device = 0;
};

struct CUgraph_st {
  std::vector<Operation> operations;
};
struct CUgraphExec_st {
  std::vector<Operation> operations;
};

struct CUevent_st {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t recorded = 0, reached = 0;
  double seconds = 0;
};

// A queue and the thread that works on it.
struct CUstream_st {
  CUctx_st* context = nullptr;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Operation> queue;
  bool is_busy = false, is_ending = false;
  CUgraph_st* captured = nullptr;
  std::thread thread;

  explicit CUstream_st(CUctx_st* of) : context(of), thread([this] { work(); }) {}
  ~CUstream_st() {
    {
      const std::lock_guard lock(mutex);
      is_ending = true;
    }
    changed.notify_all();
    thread.join();
  }

  CUresult& error() { return state().devices[static_cast<size_t>(context->device)].error; }
  CUresult current_error() {
    const std::lock_guard lock(state().mutex);
    return error();
  }

  void put(Operation operation) {
    {
      const std::lock_guard lock(mutex);
      if (captured) {
        captured->operations.push_back(std::move(operation));
        return;
      }
      queue.push_back(std::move(operation));
    }
    changed.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return queue.empty() && !is_busy; });
  }

 private:
  void work() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return is_ending || !queue.empty(); });
      if (queue.empty()) return;
      Operation operation = std::move(queue.front());
      queue.pop_front();
      is_busy = true;
      lock.unlock();
      // Behind a failure nothing runs, but for what others wait for.
      const CUresult result = operation.run();
      if (result != CUDA_SUCCESS) {
        const std::lock_guard state_lock(state().mutex);
        if (error() == CUDA_SUCCESS) error() = result;
      }
      lock.lock();
      is_busy = false;
      changed.notify_all();
    }
  }
};

struct CUmod_st {
  int unused = 0;
};
struct CUfunc_st {
  std::string name;
  int most_dynamic_shared = 48 << 10;
};

namespace {

thread_local CUctx_st* current = nullptr;

CUctx_st* contexts(int device) {
  static std::map<int, CUctx_st> all;
  const std::lock_guard lock(state().mutex);
  CUctx_st& context = all[device];
  context.device = device;
  return &context;
}

// What every call on a context says first.
CUresult ready() {
  if (!current) return CUDA_ERROR_INVALID_CONTEXT;
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const auto device = static_cast<size_t>(current->device);
  if (device >= s.devices.size() || s.devices[device].context_users == 0) {
    return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  }
  return s.devices[device].error;
}

#define SLUICE_READY() \
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result

// Bytes of a device, and of one allocation there.
bool holds_device(CUdeviceptr address, size_t size) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  auto next = s.blocks.upper_bound(address);
  if (next == s.blocks.begin()) return false;
  --next;
  return address - next->first <= next->second.size &&
         size <= next->second.size - (address - next->first);
}

bool is_pinned(const void* data, size_t size) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  auto next = s.pinned.upper_bound(data);
  if (next == s.pinned.begin()) return false;
  --next;
  const auto* const first = static_cast<const std::byte*>(next->first);
  const auto* const wanted = static_cast<const std::byte*>(data);
  return wanted + size <= first + next->second;
}

std::byte* bytes_at(CUdeviceptr address) { return reinterpret_cast<std::byte*>(address); }

CUresult copy_to_device(CUdeviceptr to, const void* from, size_t size) {
  const std::lock_guard lock(state().emulator);
  std::memcpy(bytes_at(to), from, size);
  sluice::simt::mark_defined(bytes_at(to), size);
  return CUDA_SUCCESS;
}

CUresult run_kernel(const std::string& name, sluice::simt::Size3 grid, sluice::simt::Size3 block,
                    size_t shared_bytes, const std::vector<std::byte>& args) {
  State& s = state();
  Options options;
  {
    const std::lock_guard lock(s.mutex);
    options.checks_memory = s.settings.checks != "none";
    options.checks_races = s.settings.checks == "races";
    options.counts = false;
  }
  if (is_turn(s.settings.fail_kernel)) return CUDA_ERROR_LAUNCH_FAILED;
  const std::lock_guard lock(s.emulator);
  const sluice::simt::Report report =
      sluice::simt::launch(name, grid, block, shared_bytes, args.data(), args.size(), options);
  if (report.errors.empty()) return CUDA_SUCCESS;
  std::fputs(report.problems().c_str(), stderr);
  return CUDA_ERROR_ILLEGAL_ADDRESS;
}

// Runs `body` unless its device has failed before.
Operation guarded(CUstream_st* stream, std::function<CUresult()> body) {
  return {[stream, body = std::move(body)] {
    return stream->current_error() == CUDA_SUCCESS ? body() : CUDA_SUCCESS;
  }};
}

}  // namespace

extern "C" {

void fake_cuda_configure(const char* text) { configure(text); }
void fake_cuda_change(const char* text) { configure(text, false); }

long fake_cuda_counter(const char* name) {
  const std::lock_guard lock(state().mutex);
  return state().counters[name];
}

// ---- driver and devices
// --------------------------------------------------------------------------

CUresult cuInit(unsigned) {
  static std::once_flag once;
  std::call_once(once, [] {
    if (const char* text = std::getenv("SLUICE_FAKECUDA")) {
      configure(text);
    } else if (state().devices.empty()) {
      configure("");
    }
  });
  const bool hides_all = state().visible.empty() && std::getenv("CUDA_VISIBLE_DEVICES");
  return state().settings.starts && !hides_all ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int* version) {
  cuInit(0);
  *version = state().settings.version;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** text) {
  static const std::unordered_map<int, const char*> names = {
      {CUDA_SUCCESS, "CUDA_SUCCESS"},
      {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
      {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
      {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
      {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
      {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
      {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"}};
  const auto found = names.find(error);
  *text = found == names.end() ? "an error of the fake driver" : found->second;
  return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult, const char** text) {
  *text = "said by the fake driver";
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* number) {
  *number = static_cast<int>(state().visible.size());
  return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice* device, int index) {
  if (index < 0 || index >= static_cast<int>(state().visible.size())) {
    return CUDA_ERROR_INVALID_DEVICE;
  }
  *device = state().visible[static_cast<size_t>(index)];
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  std::snprintf(name, static_cast<size_t>(length), "Emulated GPU %d", device);
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetPCIBusId(char* name, int length, CUdevice device) {
  std::snprintf(name, static_cast<size_t>(length), "0000:%02X:00.0", device);
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice) {
  const int capability = state().settings.capability;
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = capability / 10;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = capability % 10;
      break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = 4;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = (capability >= 90 ? 227 : 163) << 10;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice) {
  *bytes = state().settings.memory;
  return CUDA_SUCCESS;
}

// ---- contexts
// ------------------------------------------------------------------------------------

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice, unsigned) { return CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  *context = contexts(device);
  const std::lock_guard lock(state().mutex);
  FakeDevice& fake = state().devices[static_cast<size_t>(device)];
  if (fake.context_users++ == 0) {
    if (!state().settings.loses_for_good) fake.error = CUDA_SUCCESS;
    ++state().counters["contexts"];
  }
  return fake.error;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  const std::lock_guard lock(state().mutex);
  FakeDevice& fake = state().devices[static_cast<size_t>(device)];
  if (fake.context_users == 0) return CUDA_ERROR_INVALID_CONTEXT;
  --fake.context_users;
  return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext context) {
  current = context;
  return CUDA_SUCCESS;
}

// ---- memory
// --------------------------------------------------------------------------------------

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  SLUICE_READY();
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const size_t used = used_bytes(s, current->device);
  *total = s.settings.memory;
  *free = s.settings.memory - std::min(s.settings.memory, used);
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t size) {
  SLUICE_READY();
  State& s = state();
  if (size == 0) return CUDA_ERROR_INVALID_VALUE;
  if (is_turn(s.settings.fail_alloc)) return CUDA_ERROR_OUT_OF_MEMORY;
  const size_t rounded = (size + 511) / 512 * 512;
  {
    const std::lock_guard lock(s.mutex);
    if (used_bytes(s, current->device) + rounded > s.settings.memory) {
      return CUDA_ERROR_OUT_OF_MEMORY;
    }
    s.devices[static_cast<size_t>(current->device)].allocated += rounded;
  }
  auto* const data = static_cast<std::byte*>(std::aligned_alloc(512, rounded));
  if (!data) return CUDA_ERROR_OUT_OF_MEMORY;
  std::memset(data, 0xff, rounded);
  *address = reinterpret_cast<CUdeviceptr>(data);
  {
    const std::lock_guard lock(s.mutex);
    s.blocks[*address] = {current->device, rounded};
  }
  const std::lock_guard lock(s.emulator);
  sluice::simt::add_memory(data, size, "memory of " + std::to_string(size) + " bytes", false);
  return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  if (!current) return CUDA_ERROR_INVALID_CONTEXT;
  State& s = state();
  {
    const std::lock_guard lock(s.mutex);
    const auto found = s.blocks.find(address);
    if (found == s.blocks.end()) return CUDA_ERROR_INVALID_VALUE;
    s.devices[static_cast<size_t>(found->second.device)].allocated -= found->second.size;
    s.blocks.erase(found);
  }
  const std::lock_guard lock(s.emulator);
  sluice::simt::remove_memory(bytes_at(address));
  std::free(bytes_at(address));
  return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void** data, size_t size, unsigned) {
  SLUICE_READY();
  if (is_turn(state().settings.fail_pinned)) return CUDA_ERROR_OUT_OF_MEMORY;
  *data = std::aligned_alloc(4096, (size + 4095) / 4096 * 4096);
  if (!*data) return CUDA_ERROR_OUT_OF_MEMORY;
  {
    const std::lock_guard lock(state().mutex);
    state().pinned[*data] = size;
  }
  // Kernels may read and write it; what the host writes there is not seen, so all of it counts as
  // written.
  const std::lock_guard lock(state().emulator);
  sluice::simt::add_memory(static_cast<std::byte*>(*data), size, "pinned memory", true);
  return CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void* data) {
  {
    const std::lock_guard lock(state().mutex);
    if (state().pinned.erase(data) == 0) return CUDA_ERROR_INVALID_VALUE;
  }
  {
    const std::lock_guard lock(state().emulator);
    sluice::simt::remove_memory(static_cast<std::byte*>(data));
  }
  std::free(data);
  return CUDA_SUCCESS;
}

// Pinned memory is read and written when the stream comes to it, other memory at once, as on a GPU.
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t size, CUstream stream) {
  SLUICE_READY();
  if (!holds_device(to, size)) return CUDA_ERROR_INVALID_VALUE;
  if (is_pinned(from, size)) {
    stream->put(guarded(stream, [=] { return copy_to_device(to, from, size); }));
  } else {
    const auto* const first = static_cast<const std::byte*>(from);
    const std::vector<std::byte> bytes(first, first + size);
    stream->put(guarded(stream, [=] { return copy_to_device(to, bytes.data(), bytes.size()); }));
  }
  return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t size, CUstream stream) {
  SLUICE_READY();
  if (!holds_device(from, size)) return CUDA_ERROR_INVALID_VALUE;
  const bool waits = !is_pinned(to, size);
  stream->put(guarded(stream, [=] {
    std::memcpy(to, bytes_at(from), size);
    return CUDA_SUCCESS;
  }));
  if (waits) stream->wait();
  return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream) {
  SLUICE_READY();
  if (!holds_device(to, size) || !holds_device(from, size)) return CUDA_ERROR_INVALID_VALUE;
  stream->put(guarded(stream, [=] { return copy_to_device(to, bytes_at(from), size); }));
  return CUDA_SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t size, CUstream stream) {
  SLUICE_READY();
  if (!holds_device(to, size)) return CUDA_ERROR_INVALID_VALUE;
  stream->put(guarded(stream, [=] {
    const std::vector<std::byte> bytes(size, static_cast<std::byte>(value));
    return copy_to_device(to, bytes.data(), size);
  }));
  return CUDA_SUCCESS;
}

// ---- streams and events
// --------------------------------------------------------------------------

CUresult cuStreamCreate(CUstream* stream, unsigned) {
  SLUICE_READY();
  *stream = new CUstream_st(current);
  return CUDA_SUCCESS;
}
CUresult cuStreamDestroy_v2(CUstream stream) {
  delete stream;
  return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream stream) {
  count("waits");
  stream->wait();
  return ready();
}
CUresult cuEventCreate(CUevent* event, unsigned) {
  SLUICE_READY();
  *event = new CUevent_st;
  return CUDA_SUCCESS;
}
CUresult cuEventDestroy_v2(CUevent event) {
  delete event;
  return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
  SLUICE_READY();
  uint64_t number = 0;
  {
    const std::lock_guard lock(event->mutex);
    number = ++event->recorded;
  }
  stream->put({[=] {
    const std::lock_guard lock(event->mutex);
    event->reached = number;
    event->changed.notify_all();
    return CUDA_SUCCESS;
  }});
  return CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent event) {
  count("waits");
  {
    std::unique_lock lock(event->mutex);
    const uint64_t number = event->recorded;
    event->changed.wait(lock, [&] { return event->reached >= number; });
  }
  return ready();
}

// ---- kernels
// -------------------------------------------------------------------------------------

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  SLUICE_READY();
  uint32_t magic = 0;
  std::memcpy(&magic, image, sizeof(magic));
  if (magic != 0xba55ed50) return CUDA_ERROR_INVALID_IMAGE;  // of a fatbin
  if (!state().settings.has_binaries) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  if (!state().settings.has_good_images) return CUDA_ERROR_INVALID_IMAGE;
  if (!state().settings.has_compiler) return CUDA_ERROR_JIT_COMPILER_NOT_FOUND;
  *module = new CUmod_st;
  return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule module) {
  delete module;
  return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
  SLUICE_READY();
  if (!sluice::simt::has_kernel(name)) return CUDA_ERROR_NOT_FOUND;
  static std::map<std::string, CUfunc_st> functions;
  const std::lock_guard lock(state().mutex);
  CUfunc_st& found = functions[name];
  found.name = name;
  *function = &found;
  return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value) {
  SLUICE_READY();
  if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_ERROR_INVALID_VALUE;
  function->most_dynamic_shared = value;
  return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int* value, CUfunction_attribute which, CUfunction) {
  SLUICE_READY();
  if (which != CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) return CUDA_ERROR_INVALID_VALUE;
  *value = 1024;  // of a __shared__ array, which the emulator does not know
  return CUDA_SUCCESS;
}
CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** params,
                          void** extra) {
  SLUICE_READY();
  const std::string& name = function->name;
  const sluice::simt::Size3 grid = {config->gridDimX, config->gridDimY, config->gridDimZ};
  const sluice::simt::Size3 block = {config->blockDimX, config->blockDimY, config->blockDimZ};
  const unsigned shared_bytes = config->sharedMemBytes;
  CUstream const stream = config->hStream;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (extra || grid.x == 0 || grid.y == 0 || grid.z == 0 || threads == 0 || grid.x > 0x7fffffff ||
      grid.y > 65535 || grid.z > 65535 || threads > 1024 ||
      static_cast<int>(shared_bytes) > function->most_dynamic_shared) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    if (config->attrs[i].id != CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    count("early-launches");
  }
  if (threads > static_cast<uint64_t>(sluice::simt::kernel_max_threads(name))) {
    return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  }
  count("kernels");
  if (is_turn(state().settings.fail_launch)) {
    const std::lock_guard lock(state().mutex);
    return stream->error() = CUDA_ERROR_LAUNCH_FAILED;
  }
  const auto* const first = static_cast<const std::byte*>(params[0]);
  const std::vector<std::byte> args(first, first + sluice::simt::kernel_args_bytes(name));
  stream->put(guarded(stream, [=] { return run_kernel(name, grid, block, shared_bytes, args); }));
  return CUDA_SUCCESS;
}

// ---- graphs
// --------------------------------------------------------------------------------------

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode) {
  SLUICE_READY();
  const std::lock_guard lock(stream->mutex);
  if (stream->captured) return CUDA_ERROR_ILLEGAL_STATE;
  stream->captured = new CUgraph_st;
  return CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  const std::lock_guard lock(stream->mutex);
  *graph = std::exchange(stream->captured, nullptr);
  return *graph ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_STATE;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long) {
  SLUICE_READY();
  if (is_turn(state().settings.fail_graph)) return CUDA_ERROR_OUT_OF_MEMORY;
  count("graphs");
  *exec = new CUgraphExec_st{graph->operations};
  return CUDA_SUCCESS;
}
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
  SLUICE_READY();
  if (is_turn(state().settings.fail_graph)) return CUDA_ERROR_OUT_OF_MEMORY;
  count("graph-launches");
  for (const Operation& operation : exec->operations) stream->put(operation);
  return CUDA_SUCCESS;
}
CUresult cuGraphExecDestroy(CUgraphExec exec) {
  delete exec;
  return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph graph) {
  delete graph;
  return CUDA_SUCCESS;
}

}  // extern "C"
