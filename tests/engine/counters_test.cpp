#include "engine/counters.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>

namespace sluice::engine {
namespace {

TEST(Counters, EachHasANameOfItsOwnAndSaysWhatItIs) {
  std::set<std::string> names;
  for (const Counter& counter : engine_counters()) {
    EXPECT_TRUE(names.insert(counter.name).second) << counter.name;
    EXPECT_FALSE(std::string_view(counter.help).empty()) << counter.name;
    const bool is_time = std::string_view(counter.name).ends_with("_ns");
    EXPECT_EQ(counter.unit == CounterUnit::kNanoseconds, is_time) << counter.name;
  }
}

TEST(Counters, AreReadAndSetEachOnItsOwn) {
  EngineCounts counts;
  uint64_t next = 0;
  for (const Counter& counter : engine_counters()) counter.set(counts, ++next);
  next = 0;
  for (const Counter& counter : engine_counters()) EXPECT_EQ(counter.get(counts), ++next);
  EXPECT_EQ(counts.num_running, 1);
}

TEST(Counters, WhatIsTooLargeBecomesTheLargest) {
  EngineCounts counts;
  for (const Counter& counter : engine_counters()) counter.set(counts, ~uint64_t{0});
  EXPECT_EQ(counts.num_running, 0x7FFFFFFF);
  EXPECT_EQ(counts.forward_time, std::chrono::nanoseconds::max());
  EXPECT_EQ(counts.num_steps, ~uint64_t{0});
}

TEST(Counters, TotalsAddUp) {
  EngineCounts one, two;
  for (const Counter& counter : engine_counters()) {
    counter.set(one, 5);
    counter.set(two, 8);
  }
  EngineTotals sum = one;
  sum += two;
  for (const Counter& counter : engine_counters()) {
    const bool is_total = counter.kind == CounterKind::kTotal;
    EXPECT_EQ(counter.get({{}, sum}), is_total ? 13u : 0u) << counter.name;
  }
}

}  // namespace
}  // namespace sluice::engine
