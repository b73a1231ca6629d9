#pragma once

// Blocks of a launch for matrices of several types (linear_mixed.h).

#include "backend/cuda/linear_mixed.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {

// Calls run.operator()<type>(args, block, number of blocks), as that block of its type's own grid.
template <class Args, class Run>
SLUICE_DEVICE void run_mixed(const MixedArgs<Args>& args, const Run& run) {
  const int block = static_cast<int>(blockIdx.x);
  const int first = args.end_block[0], second = args.end_block[1];
  if (block < first) {
    run.template operator()<kMixedTypes[0]>(args.of[0], block, first);
  } else if (block < second) {
    run.template operator()<kMixedTypes[1]>(args.of[1], block - first, second - first);
  } else {
    run.template operator()<kMixedTypes[2]>(args.of[2], block - second, args.end_block[2] - second);
  }
}

}  // namespace sluice::backend::cuda
