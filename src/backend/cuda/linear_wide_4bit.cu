// Products of many rows by warpgroups, for sm_90, with matrices of 4-bit codes (see
// linear_many.cuh).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_WIDE_KERNELS(q4_0, kQ4_0)
SLUICE_WIDE_KERNELS(q4_1, kQ4_1)

}  // namespace sluice::backend::cuda
