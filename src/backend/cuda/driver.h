#pragma once

#include <cuda.h>

#include <memory>
#include <string>

// The CUDA driver, opened at run time: the program also runs where there is none. Only the calls in
// use are looked up, by the names that the library exports; their types are those of cuda.h.
namespace sluice::backend::cuda {

// clang-format off
#define SLUICE_DRIVER_CALLS(X) \
  X(cuInit) X(cuDriverGetVersion) X(cuGetErrorName) X(cuGetErrorString) X(cuDeviceGetCount) \
  X(cuDeviceGet) X(cuDeviceGetName) X(cuDeviceGetAttribute) X(cuDeviceTotalMem_v2) \
  X(cuDeviceGetPCIBusId) X(cuDevicePrimaryCtxSetFlags_v2) X(cuDevicePrimaryCtxRetain) \
  X(cuDevicePrimaryCtxRelease_v2) X(cuCtxSetCurrent) \
  X(cuMemGetInfo_v2) X(cuMemAlloc_v2) X(cuMemFree_v2) X(cuMemHostAlloc) X(cuMemFreeHost) \
  X(cuMemcpyHtoDAsync_v2) X(cuMemcpyDtoHAsync_v2) X(cuMemcpyDtoDAsync_v2) \
  X(cuMemsetD8Async) X(cuStreamCreate) X(cuStreamDestroy_v2) X(cuStreamSynchronize) \
  X(cuEventCreate) X(cuEventDestroy_v2) X(cuEventRecord) \
  X(cuEventSynchronize) X(cuModuleLoadData) X(cuModuleUnload) X(cuModuleGetFunction) \
  X(cuFuncSetAttribute) X(cuFuncGetAttribute) X(cuLaunchKernelEx) \
  X(cuStreamBeginCapture_v2) X(cuStreamEndCapture) X(cuGraphInstantiateWithFlags) X(cuGraphLaunch) X(cuGraphExecDestroy) \
  X(cuGraphDestroy)
// clang-format on

// Oldest driver that has these calls, as cuDriverGetVersion says it. Whether it takes the kernels
// depends on what compiled them, too (device.cpp).
inline constexpr int kOldestDriver = 12000;
std::string version_text(int version);  // "12.4"

class Driver {
 public:
  // Throws Error(kUnsupported): no such library, no GPU, or a driver that is too old.
  explicit Driver(const std::string& library);
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

#define SLUICE_DECLARE_CALL(name) decltype(&::name) name = nullptr;
  SLUICE_DRIVER_CALLS(SLUICE_DECLARE_CALL)
#undef SLUICE_DECLARE_CALL

  int version() const { return version_; }  // 13000: 13.0

  // Throws Error for a call that failed: kOutOfMemory, or kInternal with the driver's own words.
  void check(CUresult result, const char* what) const;
  // "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered".
  std::string text_of(CUresult result) const;

 private:
  void* library_ = nullptr;
  int version_ = 0;
};

// Opened once a process and library; the library stays open, as CUDA wants it.
const Driver& driver(const std::string& library);
inline constexpr const char* kDriverLibrary = "libcuda.so.1";

}  // namespace sluice::backend::cuda
