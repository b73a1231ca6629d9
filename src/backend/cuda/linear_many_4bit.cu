// Products of many rows with matrices of 4-bit codes (see linear_many.cuh).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_MANY_KERNELS(q4_0, kQ4_0)
SLUICE_MANY_KERNELS(q4_1, kQ4_1)

}  // namespace sluice::backend::cuda
