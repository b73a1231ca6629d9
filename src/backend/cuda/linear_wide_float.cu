// Products of many rows by warpgroups, for sm_90, with matrices of floats and halves (see
// linear_many.cuh).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_WIDE_KERNELS(f32, kF32)
SLUICE_WIDE_KERNELS(f16, kF16)
SLUICE_WIDE_KERNELS(bf16, kBF16)

}  // namespace sluice::backend::cuda
