#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>

// Logits may come with the highest of each kMaximaStride neighbours, taken by the core that
// computed them while they were at hand: choosing a token then reads a sixteenth of what a
// vocabulary takes.
namespace sluice::backend {

inline constexpr size_t kMaximaStride = 16;

// How many maxima a row of logits has; the last may be of fewer than kMaximaStride.
constexpr size_t num_maxima(size_t vocab_size) {
  return (vocab_size + kMaximaStride - 1) / kMaximaStride;
}

// The highest of `values`; NaN is none of them, minus infinity when there are no others.
inline float highest_of(const float* values, size_t count) {
  // Four at once, spelled out: the compiler does not vectorise loops with float comparisons unless
  // allowed to ignore floating-point exceptions.
  using Floats = float __attribute__((vector_size(16)));
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  Floats highest = {kNone, kNone, kNone, kNone};
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    Floats next;
    std::memcpy(&next, values + i, sizeof(next));
    highest = next > highest ? next : highest;  // false for NaN
  }
  float result = std::max(std::max(highest[0], highest[1]), std::max(highest[2], highest[3]));
  for (; i < count; ++i) result = values[i] > result ? values[i] : result;
  return result;
}

// The same of `count` values from `begin` on, or as many as there are.
inline float highest_of(std::span<const float> values, size_t begin, size_t count) {
  return highest_of(values.data() + begin, std::min(count, values.size() - begin));
}

}  // namespace sluice::backend
