// Products of many rows with matrices of 4-bit codes that are looked up (see linear_many.cuh).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_MANY_KERNELS(iq4_nl, kIQ4_NL)
SLUICE_MANY_KERNELS(iq4_xs, kIQ4_XS)
SLUICE_MANY_KERNELS(mxfp4, kMXFP4)

}  // namespace sluice::backend::cuda
