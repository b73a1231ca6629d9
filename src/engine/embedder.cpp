#include "engine/embedder.h"

#include <cmath>

#include "base/error.h"

namespace sluice::engine {

void Embedder::add(std::span<const float> states, size_t embedding_length, bool is_start) {
  if (is_start) sum_.clear();
  sum_.resize(embedding_length);
  for (size_t i = 0; i < states.size(); ++i) sum_[i % embedding_length] += states[i];
}

std::vector<float> Embedder::normalized() const {
  double squares = 0;
  for (const double value : sum_) squares += value * value;
  if (!std::isfinite(squares)) {
    throw Error(ErrorCode::kInternal,
                "the model gave a hidden state that is no number; its file or a kernel is broken");
  }
  const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
  std::vector<float> result;
  result.reserve(sum_.size());
  for (const double value : sum_) result.push_back(static_cast<float>(value * scale));
  return result;
}

}  // namespace sluice::engine
