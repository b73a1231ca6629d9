#include "measure/distribution.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::measure {
namespace {

TEST(Distribution, SaysWhatValuesAreLike) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  const Distribution all = distribution_of(values);
  EXPECT_EQ(all.count, 100u);
  EXPECT_DOUBLE_EQ(all.mean, 50.5);
  EXPECT_DOUBLE_EQ(all.min, 1);
  EXPECT_DOUBLE_EQ(all.max, 100);
  EXPECT_DOUBLE_EQ(all.p50, 50);
  EXPECT_DOUBLE_EQ(all.p90, 90);
  EXPECT_DOUBLE_EQ(all.p95, 95);
  EXPECT_DOUBLE_EQ(all.p99, 99);
  EXPECT_NEAR(all.deviation, 29.0115, 1e-4);  // of a sample
}

TEST(Distribution, OfOneValueOrNone) {
  const Distribution one = distribution_of({3});
  EXPECT_DOUBLE_EQ(one.p99, 3);
  EXPECT_TRUE(std::isnan(one.deviation));
  const Distribution none = distribution_of({});
  EXPECT_EQ(none.count, 0u);
  EXPECT_TRUE(std::isnan(none.mean) && std::isnan(none.p50) && std::isnan(none.max));
}

}  // namespace
}  // namespace sluice::measure
