#include "backend/cuda/driver.h"

#include <dlfcn.h>

#include <map>
#include <mutex>

#include "base/error.h"

namespace sluice::backend::cuda {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

namespace {

[[noreturn]] void no_gpu(const std::string& why) {
  throw Error(ErrorCode::kUnsupported, "no GPU can be used: " + why);
}

}  // namespace

Driver::Driver(const std::string& library) {
  library_ = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library_) {
    no_gpu("the NVIDIA driver is not installed (" + library + " cannot be opened)");
  }
  // First what says which driver it is: an older one lacks calls.
  cuDriverGetVersion =
      reinterpret_cast<decltype(cuDriverGetVersion)>(::dlsym(library_, "cuDriverGetVersion"));
  if (!cuDriverGetVersion || cuDriverGetVersion(&version_) != CUDA_SUCCESS) {
    no_gpu(library + " is no CUDA driver");
  }
  if (version_ < kOldestDriver) {
    no_gpu("the NVIDIA driver knows CUDA " + version_text(version_) + ", needed is " +
           version_text(kOldestDriver) + " or newer");
  }
#define SLUICE_FIND_CALL(call)                                       \
  call = reinterpret_cast<decltype(call)>(::dlsym(library_, #call)); \
  if (!call) no_gpu("the NVIDIA driver lacks " #call);
  SLUICE_DRIVER_CALLS(SLUICE_FIND_CALL)
#undef SLUICE_FIND_CALL
  const CUresult started = cuInit(0);
  if (started == CUDA_ERROR_NO_DEVICE) no_gpu("there is none, or CUDA_VISIBLE_DEVICES hides it");
  if (started != CUDA_SUCCESS) no_gpu("the driver does not start (" + text_of(started) + ")");
}

Driver::~Driver() = default;

std::string Driver::text_of(CUresult result) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (cuGetErrorName(result, &name) != CUDA_SUCCESS) {
    return "error " + std::to_string(static_cast<int>(result));
  }
  cuGetErrorString(result, &text);
  return std::string(name) + (text ? std::string(": ") + text : "");
}

void Driver::check(CUresult result, const char* what) const {
  if (result == CUDA_SUCCESS) return;
  const ErrorCode code =
      result == CUDA_ERROR_OUT_OF_MEMORY ? ErrorCode::kOutOfMemory : ErrorCode::kInternal;
  throw Error(code, std::string("the GPU failed: ") + what + ": " + text_of(result));
}

const Driver& driver(const std::string& library) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<Driver>> drivers;
  const std::lock_guard lock(mutex);
  std::unique_ptr<Driver>& found = drivers[library];
  if (!found) found = std::make_unique<Driver>(library);
  return *found;
}

}  // namespace sluice::backend::cuda
