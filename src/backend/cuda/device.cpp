#include "backend/cuda/device.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <utility>

#include "backend/cuda/images.h"
#include "base/error.h"
#include "base/units.h"

namespace sluice::backend::cuda {
namespace {

constexpr int kOldestCapability = 80;
// Failures behind which a context answers nothing else any more.
bool loses_context(CUresult result) {
  switch (result) {
    case CUDA_SUCCESS:
    case CUDA_ERROR_OUT_OF_MEMORY:
    case CUDA_ERROR_INVALID_VALUE:
    case CUDA_ERROR_INVALID_HANDLE:
    case CUDA_ERROR_NOT_FOUND:
    case CUDA_ERROR_NOT_READY:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
      return false;
    default:
      return true;
  }
}

// What the driver says of kernels that it cannot make code of: nothing is wrong with the GPU.
bool is_about_kernels(CUresult result) {
  switch (result) {
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_JIT_COMPILATION_DISABLED:
      return true;
    default:
      return false;
  }
}

// Kernels want a driver of their compiler's major version or of a later one ("minor version
// compatibility"). An older one may take them all the same: only its refusal counts.
bool is_older_than_kernels(const Driver& driver) {
  return driver.version() / 1000 < CUDA_VERSION / 1000;
}
std::string needed_for_kernels(const Driver& driver) {
  const std::string major = std::to_string(CUDA_VERSION / 1000);
  return "it knows CUDA " + version_text(driver.version()) + ", and they were compiled by CUDA " +
         version_text(CUDA_VERSION) + ", which wants a driver of CUDA " + major +
         " or newer; or build with an older CUDA (-DSLUICE_NVCC=.../bin/nvcc)";
}

int attribute(const Driver& driver, CUdevice device, CUdevice_attribute which) {
  int value = 0;
  driver.check(driver.cuDeviceGetAttribute(&value, which, device), "asking for an attribute");
  return value;
}

DeviceInfo describe(const Driver& driver, int index) {
  DeviceInfo info;
  info.index = index;
  CUdevice device = 0;
  driver.check(driver.cuDeviceGet(&device, index), "asking for a device");
  std::array<char, 128> text{};
  driver.check(driver.cuDeviceGetName(text.data(), static_cast<int>(text.size()) - 1, device),
               "asking for its name");
  info.name = text.data();
  driver.check(driver.cuDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()) - 1, device),
               "asking for its bus");
  info.bus_id = text.data();
  driver.check(driver.cuDeviceTotalMem_v2(&info.memory_bytes, device), "asking for its memory");
  info.facts.compute_capability =
      10 * attribute(driver, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) +
      attribute(driver, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  info.facts.num_multiprocessors =
      attribute(driver, device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  info.facts.shared_bytes_per_block = static_cast<size_t>(
      attribute(driver, device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
  return info;
}

// Whether GPUs are lost: one place for all who use one, for as long as somebody does.
class Losses {
 public:
  std::shared_ptr<std::atomic<bool>> share(const Driver& driver, int index) {
    const std::lock_guard lock(mutex_);
    std::weak_ptr<std::atomic<bool>>& place = all_[{&driver, index}];
    std::shared_ptr<std::atomic<bool>> shared = place.lock();
    if (!shared) place = shared = std::make_shared<std::atomic<bool>>(false);
    return shared;
  }
  bool has_users(const Driver& driver, int index) {
    const std::lock_guard lock(mutex_);
    return !all_[{&driver, index}].expired();
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<const Driver*, int>, std::weak_ptr<std::atomic<bool>>> all_;
};

Losses& losses() {
  static Losses all;
  return all;
}

int count_devices(const Driver& driver) {
  int count = 0;
  driver.check(driver.cuDeviceGetCount(&count), "counting devices");
  return count;
}

}  // namespace

std::string DeviceInfo::fault() const {
  const int capability = facts.compute_capability;
  if (capability >= kOldestCapability) return "";
  return "too old (compute capability " + std::to_string(capability / 10) + "." +
         std::to_string(capability % 10) + "): 8.0 is needed";
}

std::vector<DeviceInfo> list_devices(const Driver& driver) {
  std::vector<DeviceInfo> devices;
  const int count = count_devices(driver);
  for (int index = 0; index < count; ++index) {
    devices.push_back(describe(driver, index));
    devices.back().is_in_use = losses().has_users(driver, index);
  }
  return devices;
}

Device::Device(const Driver& driver, int index) : driver_(driver) {
  const int count = count_devices(driver);
  if (index < 0 || index >= count) {
    throw Error(ErrorCode::kInvalidArgument, "there is no device cuda:" + std::to_string(index) +
                                                 ": the driver lists " + std::to_string(count));
  }
  info_ = describe(driver, index);
  if (const std::string fault = info_.fault(); !fault.empty()) {
    throw Error(ErrorCode::kUnsupported, "the GPU " + info_.name + " is " + fault);
  }
  is_lost_ = losses().share(driver, index);
  if (is_lost()) {
    throw Error(ErrorCode::kBusy, "the GPU " + info_.name +
                                      " has failed and is still in use: try again when the models "
                                      "on it are unloaded");
  }
  check(driver.cuDeviceGet(&device_, index), "asking for a device");
  // Who waits sleeps. Refused where the context is there already: then it was made by us.
  driver.cuDevicePrimaryCtxSetFlags_v2(device_, CU_CTX_SCHED_BLOCKING_SYNC);
  try {
    check(driver.cuDevicePrimaryCtxRetain(&context_, device_), "making a context");
    open_stream();
    load_kernels();
  } catch (...) {
    close_stream();
    throw;
  }
}

Device::~Device() { close_stream(); }

void Device::open_stream() {
  make_current();
  check(driver_.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "making a stream");
  check(driver_.cuEventCreate(&done_, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING),
        "making an event");
}

// What there is of it. Nothing can be done about failures here; a lost context fails all of these.
void Device::close_stream() {
  if (!context_) return;
  driver_.cuCtxSetCurrent(context_);
  for (CUmodule module : modules_) driver_.cuModuleUnload(module);
  if (done_) driver_.cuEventDestroy_v2(done_);
  if (stream_) driver_.cuStreamDestroy_v2(stream_);
  driver_.cuDevicePrimaryCtxRelease_v2(device_);
}

void Device::make_current() const {
  check(driver_.cuCtxSetCurrent(context_), "taking the context");
}

void Device::check(CUresult result, const char* what) const {
  if (loses_context(result)) *is_lost_ = true;
  driver_.check(result, what);
}

Device::Memory Device::memory() const {
  Memory memory;
  check(driver_.cuMemGetInfo_v2(&memory.free_bytes, &memory.total_bytes), "asking for memory");
  return memory;
}

void Device::load_kernels() {
  for (const KernelImage& image : kernel_images()) {
    CUmodule module = nullptr;
    const CUresult result = driver_.cuModuleLoadData(&module, image.data.data());
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU) continue;  // some are for one architecture alone
    if (is_about_kernels(result)) {
      throw Error(ErrorCode::kUnsupported,
                  "the NVIDIA driver cannot load this program's kernels (" +
                      driver_.text_of(result) + "): " +
                      (is_older_than_kernels(driver_)
                           ? needed_for_kernels(driver_)
                           : std::string("a newer or more complete one is needed")));
    }
    check(result, "loading kernels");
    modules_.push_back(module);
  }
  if (modules_.empty() && is_older_than_kernels(driver_)) {
    throw Error(ErrorCode::kUnsupported, "the NVIDIA driver finds no kernels for the GPU " +
                                             info_.name +
                                             " in this program: " + needed_for_kernels(driver_));
  }
  if (modules_.empty()) {
    throw Error(ErrorCode::kUnsupported,
                "this program was built without kernels for the GPU " + info_.name +
                    ": configure it with -DSLUICE_CUDA_ARCHITECTURES=native and build again");
  }
}

CUfunction Device::kernel(const char* name) const {
  CUfunction& found = kernels_[name];
  if (found) return found;
  for (CUmodule module : modules_) {
    CUfunction function = nullptr;
    const CUresult result = driver_.cuModuleGetFunction(&function, module, name);
    if (result == CUDA_ERROR_NOT_FOUND) continue;
    check(result, name);
    // More than 48 KiB of dynamic shared memory must be asked for once.
    check(driver_.cuFuncSetAttribute(
              function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
              static_cast<int>(info_.facts.shared_bytes_per_block) - static_shared_bytes(function)),
          name);
    return found = function;
  }
  throw Error(ErrorCode::kInternal, std::string("no kernel is called ") + name);
}

int Device::static_shared_bytes(CUfunction function) const {
  int bytes = 0;
  check(driver_.cuFuncGetAttribute(&bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function),
        "asking a kernel");
  return bytes;
}

void Device::run(const LaunchList& list) const {
  // In a graph, too, since CUDA 12.3.
  const bool can_overlap = info_.facts.compute_capability >= 90 && driver_.version() >= 12030;
  for (const Launch& launch : list) {
    CUlaunchAttribute early{};
    early.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    early.value.programmaticStreamSerializationAllowed = 1;
    CUlaunchConfig config{};
    config.gridDimX = launch.grid.x;
    config.gridDimY = launch.grid.y;
    config.gridDimZ = launch.grid.z;
    config.blockDimX = launch.block.x;
    config.blockDimY = launch.block.y;
    config.blockDimZ = launch.block.z;
    config.sharedMemBytes = launch.shared_bytes;
    config.hStream = stream_;
    config.attrs = &early;
    config.numAttrs = can_overlap && launch.may_start_early ? 1 : 0;
    void* args = const_cast<std::byte*>(launch.args.data());
    check(driver_.cuLaunchKernelEx(&config, kernel(launch.kernel), &args, nullptr), launch.kernel);
  }
}

void Device::wait() const {
  check(driver_.cuEventRecord(done_, stream_), "marking the stream");
  check(driver_.cuEventSynchronize(done_), "waiting for the GPU");
}

DeviceBuffer::DeviceBuffer(const Device& device, size_t size_bytes, const std::string& what)
    : device_(&device), size_(size_bytes) {
  if (size_bytes == 0) return;
  const CUresult result = device.driver().cuMemAlloc_v2(&address_, size_bytes);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    throw Error(ErrorCode::kOutOfMemory, "not enough memory on " + device.info().name + ": " +
                                             format_bytes(size_bytes) + " are needed for " + what +
                                             ", and " + format_bytes(device.memory().free_bytes) +
                                             " are free");
  }
  device.check(result, "allocating memory");
}

void DeviceBuffer::release() {
  if (address_ == 0) return;
  device_->driver().cuCtxSetCurrent(device_->context());
  device_->driver().cuMemFree_v2(address_);
  address_ = 0;
}

PinnedBuffer::PinnedBuffer(const Device& device, size_t size_bytes)
    : device_(&device), size_(size_bytes) {
  void* data = nullptr;
  if (size_bytes > 0) {
    device.check(device.driver().cuMemHostAlloc(&data, size_bytes, CU_MEMHOSTALLOC_PORTABLE),
                 "allocating pinned memory");
  }
  data_ = static_cast<std::byte*>(data);
}

PinnedBuffer::~PinnedBuffer() {
  if (data_) device_->driver().cuMemFreeHost(data_);
}

}  // namespace sluice::backend::cuda
