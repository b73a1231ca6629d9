// Products of many rows with matrices of 5 bits and more (see linear_many.cuh).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_MANY_KERNELS(q5_0, kQ5_0)
SLUICE_MANY_KERNELS(q5_1, kQ5_1)
SLUICE_MANY_KERNELS(q8_0, kQ8_0)

}  // namespace sluice::backend::cuda
