// Products of few rows with matrices of 4-bit codes that are looked up (see linear_low.cuh).

#include "backend/cuda/linear_low.cuh"

namespace sluice::backend::cuda {

SLUICE_LOW_KERNELS(iq4_nl, kIQ4_NL)
SLUICE_LOW_KERNELS(iq4_xs, kIQ4_XS)
SLUICE_LOW_KERNELS(mxfp4, kMXFP4)

}  // namespace sluice::backend::cuda
