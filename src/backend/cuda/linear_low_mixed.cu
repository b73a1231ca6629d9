// Products of few rows with matrices of the types that files mix (see linear_low.cuh,
// linear_mixed.h).

#include "backend/cuda/linear_low.cuh"

namespace sluice::backend::cuda {

SLUICE_KERNEL(linear_8_mixed, MixedArgs<LowArgs>, low_warps(1) * 32, 1) { low::run_types<1>(args); }
SLUICE_KERNEL(linear_16_mixed, MixedArgs<LowArgs>, low_warps(2) * 32, 1) {
  low::run_types<2>(args);
}

}  // namespace sluice::backend::cuda
