// Products of many rows by warpgroups, for sm_90, with matrices of the types that files mix (see
// linear_many.cuh, linear_mixed.h).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_MIXED_KERNEL(linear_wide32_mixed, SLUICE_HAS_WARPGROUPS, Wide32)
SLUICE_MIXED_KERNEL(linear_wide64_mixed, SLUICE_HAS_WARPGROUPS, Wide64)
SLUICE_MIXED_KERNEL(linear_wide128_mixed, SLUICE_HAS_WARPGROUPS, Wide128)

}  // namespace sluice::backend::cuda
