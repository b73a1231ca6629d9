// Products of few rows with matrices of 5 bits and more (see linear_low.cuh).

#include "backend/cuda/linear_low.cuh"

namespace sluice::backend::cuda {

SLUICE_LOW_KERNELS(q5_0, kQ5_0)
SLUICE_LOW_KERNELS(q5_1, kQ5_1)
SLUICE_LOW_KERNELS(q8_0, kQ8_0)

}  // namespace sluice::backend::cuda
