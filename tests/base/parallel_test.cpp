#include "base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace sluice {
namespace {

TEST(ParallelFor, DoesEachTurnOnce) {
  std::vector<std::atomic<int>> turns(1000);
  parallel_for("test", 4, 1000, [&](int64_t i) { ++turns[static_cast<size_t>(i)]; });
  for (const auto& count : turns) ASSERT_EQ(count, 1);
  parallel_for("test", 4, 0, [](int64_t) { FAIL(); });
}

TEST(ParallelFor, ThrowsWhatATurnThrowsAndBeginsNoMore) {
  std::atomic<int> begun = 0;
  const auto work = [&](int64_t i) {
    ++begun;
    if (i == 3) throw std::runtime_error("three");
  };
  EXPECT_THROW(parallel_for("test", 2, 1'000'000, work), std::runtime_error);
  EXPECT_LT(begun, 1'000'000);
}

}  // namespace
}  // namespace sluice
