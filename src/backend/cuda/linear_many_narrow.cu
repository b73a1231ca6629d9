// Products of many rows with matrices of 2 and 3 bits (see linear_many.cuh).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_MANY_KERNELS(q2_k, kQ2_K)
SLUICE_MANY_KERNELS(q3_k, kQ3_K)

}  // namespace sluice::backend::cuda
