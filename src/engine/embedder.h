#pragma once

#include <span>
#include <vector>

#include "engine/request.h"

namespace sluice::engine {

// Pools the hidden states of a text, as they come chunk by chunk, into one vector.
class Embedder {
 public:
  // The states that the pooling asks for, [n, embedding_length], n may be 0. `is_start`: the chunk
  // begins with the text's first token; what came before (until a preemption) is forgotten.
  void add(std::span<const float> states, size_t embedding_length, bool is_start);

  // Length 1 in the Euclidean norm; all zeros if the states are. Throws Error(kInternal) when they
  // are not numbers.
  std::vector<float> normalized() const;

 private:
  std::vector<double> sum_;
};

}  // namespace sluice::engine
