#pragma once

#include <cstddef>
#include <cstdint>

// How much of the memory the cache gets.
namespace sluice::model {

struct CacheNeeds {
  size_t block_bytes = 0;        // one block, over all layers
  int trained_context = 0;       // tokens; 0: unknown
  int default_context = 4096;    // num_ctx of a request that does not say
  int num_sequences = 8;         // how many at once should have room
  int longest_sequence = 32768;  // tokens of one that should have room
  uint64_t available_bytes = 0;  // for the cache: what the rest of the model has left
  // Of that rest, for the message when nothing is left.
  uint64_t weights_bytes = 0;
  uint64_t workspace_bytes = 0;
};
struct CachePlan {
  int num_blocks = 0;
  int context_length = 0;  // most tokens of one sequence
};
// Room for num_sequences of the default context, or one of longest_sequence, whichever is more, but
// at most half of the available memory (all of it for the first 256 tokens). A single sequence may
// use the whole cache, up to what the model was trained for. Throws Error(kOutOfMemory) with what
// was needed and what was free when not even 256 tokens fit.
CachePlan plan_cache(const CacheNeeds& needs);

// Error(kOutOfMemory) for a model that does not fit: "not enough memory for the model: it needs 92
// MB of weights + .., and 50 MB are free for it; ..". Zero parts are left out.
struct MemoryShortage {
  uint64_t weights_bytes = 0;
  uint64_t cache_bytes = 0;  // at least
  uint64_t workspace_bytes = 0;
  uint64_t free_bytes = 0;
};
[[noreturn]] void throw_shortage(const MemoryShortage& shortage);

}  // namespace sluice::model
