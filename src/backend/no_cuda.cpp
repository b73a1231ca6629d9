// In place of backend/cuda where there is no nvcc.

#include "backend/cuda/cuda_backend.h"
#include "base/error.h"

namespace sluice::backend {
namespace {

constexpr const char* kReason = "this program was built without CUDA (nvcc was not found)";

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions&) {
  throw Error(ErrorCode::kUnsupported, kReason);
}

bool has_cuda() { return false; }

std::vector<CudaDevice> list_cuda_devices(const std::string&, std::string& reason) {
  reason = kReason;
  return {};
}

}  // namespace sluice::backend
