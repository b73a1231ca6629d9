#pragma once

#include <algorithm>

#include "engine/sequence.h"

namespace sluice::engine {

// A shift that comes soon for a sequence of so many tokens, fewer than `most`. `between` draws.
template <typename Between>
ContextShift random_shift(int num_tokens, int most, Between between) {
  ContextShift shift;
  shift.limit = std::min(most, num_tokens + between(1, 60));
  shift.num_keep = between(0, std::max(0, shift.limit - 2));
  const int movable = shift.limit - shift.num_keep;
  shift.num_tokens = between(0, 1) ? movable / 2 : between(1, movable - 1);
  return shift;
}

}  // namespace sluice::engine
