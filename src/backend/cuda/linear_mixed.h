#pragma once

#include <cstdint>

#include "quant/types.h"

// Products of matrices of several types that read the same rows, in one launch: each type has its
// own blocks of the grid. Models have q and k in few bits and v, which is small, in more: alone it
// would leave most of a GPU idle.
namespace sluice::backend::cuda {

// Those that files mix; one kernel has the code for all of them, and there are none for each.
inline constexpr quant::Type kMixedTypes[] = {quant::Type::kQ4_K, quant::Type::kQ5_K,
                                              quant::Type::kQ6_K};
inline constexpr int kNumMixed = 3;

constexpr int mixed_index(quant::Type type) {  // -1: it has kernels of its own
  for (int i = 0; i < kNumMixed; ++i) {
    if (kMixedTypes[i] == type) return i;
  }
  return -1;
}

template <class Args>
struct MixedArgs {
  Args of[kNumMixed];            // by type
  int32_t end_block[kNumMixed];  // behind the blocks of each; a type may have none
};

}  // namespace sluice::backend::cuda
