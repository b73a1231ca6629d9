#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"

// NVIDIA GPUs of compute capability 8.0 and up. In a program built without nvcc (no_cuda.cpp) there
// are none.
namespace sluice::backend {

struct CudaOptions {
  int device = 0;              // as CUDA counts, after CUDA_VISIBLE_DEVICES
  std::string driver_library;  // "": the system's
};
// Throws Error(kUnsupported) with the reason when no GPU can be used, Error(kInvalidArgument) for a
// device that is not there.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

// Whether the backend is in this program.
bool has_cuda();

// A GPU that is there.
struct CudaDevice {
  int index = 0;
  std::string name;
  uint64_t memory_bytes = 0;
  std::string bus_id;      // "0000:3B:00.0", as NVML has it
  bool is_in_use = false;  // by this process: what a context takes there is taken already
  std::string fault;       // why it cannot be used: "too old (...)"
};
// Those that there are; none when no GPU can be used, and then why in `reason`.
std::vector<CudaDevice> list_cuda_devices(const std::string& driver_library, std::string& reason);

}  // namespace sluice::backend
