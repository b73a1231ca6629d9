// Products of many rows with matrices of the types that files mix (see linear_many.cuh,
// linear_mixed.h).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_MIXED_KERNEL(linear_32_mixed, SLUICE_HAS_MANY, Many32)
SLUICE_MIXED_KERNEL(linear_64_mixed, SLUICE_HAS_MANY, Many64)
SLUICE_MIXED_KERNEL(linear_128_mixed, SLUICE_HAS_MANY, Many128)

}  // namespace sluice::backend::cuda
