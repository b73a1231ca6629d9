#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/error.h"

// How much of the memory the cache gets.
namespace sluice::model {

// What the cache should have room for.
struct CacheWish {
  int default_context = 4096;    // num_ctx of a request that does not say
  int num_sequences = 8;         // of that length, at once
  int longest_sequence = 32768;  // tokens of one that should have room as well
  int64_t exact_blocks = 0;      // just so many, whatever else is said; 0: as above
};

// In blocks, for a model that was trained for so many tokens (0: unknown): what is wished, what the
// sequences at once want, what one of them wants, and what must be there.
struct CacheGoals {
  int64_t wanted = 0, several = 0, one = 0, least = 0;
};
CacheGoals cache_goals(const CacheWish& wish, int trained_context);

// The memory of one device that layers lie on.
struct CacheRoom {
  size_t block_bytes = 0;        // one block, over these layers
  uint64_t available_bytes = 0;  // for the cache: what the rest of the model has left
  double most_share = 0.5;       // of that, for more than the first tokens
  // Of that rest, for the message when nothing is left.
  uint64_t weights_bytes = 0;
  uint64_t workspace_bytes = 0;
};
struct CacheNeeds {
  CacheWish wish;
  int trained_context = 0;  // tokens; 0: unknown
  std::vector<CacheRoom> rooms;
};
struct CachePlan {
  int num_blocks = 0;
  int context_length = 0;  // most tokens of one sequence
};
// Room for num_sequences of the default context, or one of longest_sequence, whichever is more, but
// on each device at most most_share of the available memory (all of it for the first 256 tokens). A
// single sequence may use the whole cache, up to what the model was trained for. Throws
// Error(kOutOfMemory) with what was needed and what was free when not even 256 tokens fit.
CachePlan plan_cache(const CacheNeeds& needs);

// Error(kOutOfMemory) for a model that does not fit: "not enough memory for the model: it needs 92
// MB of weights + .., and 50 MB are free for it; ..". Zero parts are left out.
struct MemoryShortage {
  uint64_t weights_bytes = 0;
  uint64_t cache_bytes = 0;  // at least
  uint64_t workspace_bytes = 0;
  uint64_t free_bytes = 0;
};
Error memory_shortage(const MemoryShortage& shortage);

}  // namespace sluice::model
