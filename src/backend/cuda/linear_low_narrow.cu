// Products of few rows with matrices of 2 and 3 bits (see linear_low.cuh).

#include "backend/cuda/linear_low.cuh"

namespace sluice::backend::cuda {

SLUICE_LOW_KERNELS(q2_k, kQ2_K)
SLUICE_LOW_KERNELS(q3_k, kQ3_K)

}  // namespace sluice::backend::cuda
