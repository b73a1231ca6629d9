// Products of few rows with matrices of 4-bit codes (see linear_low.cuh).

#include "backend/cuda/linear_low.cuh"

namespace sluice::backend::cuda {

SLUICE_LOW_KERNELS(q4_0, kQ4_0)
SLUICE_LOW_KERNELS(q4_1, kQ4_1)

}  // namespace sluice::backend::cuda
