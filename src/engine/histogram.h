#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

// How values are spread, since a mean hides the slow ones.
namespace sluice::engine {

// The upper bounds of buckets, ascending; above the last one is a bucket more. Seconds of a
// request: from a token of a small model to a reply of hours.
inline constexpr std::array kRequestSeconds = {0.001, 0.0025, 0.005, 0.01,  0.025, 0.05,   0.1,
                                               0.25,  0.5,    1.0,   2.5,   5.0,   10.0,   20.0,
                                               40.0,  60.0,   120.0, 300.0, 600.0, 1800.0, 7200.0};
// Seconds of a token.
inline constexpr std::array kTokenSeconds = {0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015,
                                             0.02,  0.03,  0.05,  0.075, 0.1,    0.15, 0.2,
                                             0.3,   0.5,   1.0,   2.0,   5.0,    20.0};
// Tokens of a request or a step.
inline constexpr std::array kTokenCounts = {1.0,    2.0,    5.0,    10.0,    20.0,    50.0,
                                            100.0,  200.0,  500.0,  1000.0,  2000.0,  5000.0,
                                            10000., 20000., 50000., 100000., 200000., 1000000.};

struct Histogram {
  static constexpr size_t kMostBounds = 21;

  constexpr explicit Histogram(std::span<const double> bucket_bounds) : bounds(bucket_bounds) {}

  void add(double value) {
    ++counts[static_cast<size_t>(std::lower_bound(bounds.begin(), bounds.end(), value) -
                                 bounds.begin())];
    sum += value;
  }
  void add(std::chrono::nanoseconds time) { add(std::chrono::duration<double>(time).count()); }

  Histogram& operator+=(const Histogram& other) {
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
    sum += other.sum;
    return *this;
  }

  uint64_t num_values() const {
    uint64_t count = 0;
    for (const uint64_t bucket : counts) count += bucket;
    return count;
  }

  std::span<const double> bounds;  // at most kMostBounds
  // A value counts in the first bucket whose bound it does not pass; [bounds.size()] is for those
  // that pass all.
  std::array<uint64_t, kMostBounds + 1> counts{};
  double sum = 0;
};
static_assert(kRequestSeconds.size() <= Histogram::kMostBounds);
static_assert(kTokenSeconds.size() <= Histogram::kMostBounds);
static_assert(kTokenCounts.size() <= Histogram::kMostBounds);

}  // namespace sluice::engine
