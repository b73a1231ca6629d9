// Products of many rows with matrices of floats and halves (see linear_many.cuh).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_MANY_KERNELS(f32, kF32)
SLUICE_MANY_KERNELS(f16, kF16)
SLUICE_MANY_KERNELS(bf16, kBF16)

}  // namespace sluice::backend::cuda
