#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <span>

namespace sluice::backend {

// Root mean square of the difference, by that of what is expected.
inline double relative_error(std::span<const float> got, std::span<const float> expected) {
  EXPECT_EQ(got.size(), expected.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(double{got[i]} - expected[i], 2);
    size += std::pow(double{expected[i]}, 2);
  }
  EXPECT_TRUE(std::isfinite(difference));
  return std::sqrt(difference / size);
}

}  // namespace sluice::backend
