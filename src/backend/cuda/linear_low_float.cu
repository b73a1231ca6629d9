// Products of few rows with matrices of floats and halves (see linear_low.cuh).

#include "backend/cuda/linear_low.cuh"

namespace sluice::backend::cuda {

SLUICE_LOW_KERNELS(f32, kF32)
SLUICE_LOW_KERNELS(f16, kF16)
SLUICE_LOW_KERNELS(bf16, kBF16)

}  // namespace sluice::backend::cuda
