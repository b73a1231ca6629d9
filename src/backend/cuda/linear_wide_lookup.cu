// Products of many rows by warpgroups, for sm_90, with matrices of 4-bit codes that are looked up
// (see linear_many.cuh).

#include "backend/cuda/linear_many.cuh"

namespace sluice::backend::cuda {

SLUICE_WIDE_KERNELS(iq4_nl, kIQ4_NL)
SLUICE_WIDE_KERNELS(iq4_xs, kIQ4_XS)
SLUICE_WIDE_KERNELS(mxfp4, kMXFP4)

}  // namespace sluice::backend::cuda
