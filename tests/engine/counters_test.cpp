#include "engine/counters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
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

// As Prometheus' own conventions are: `promtool check metrics` looks for these.
TEST(Counters, MetricsAreNamedAsPrometheusWantsThem) {
  std::set<std::string> names;
  const auto check_name = [&](std::string_view name) {
    EXPECT_TRUE(names.emplace(name).second) << name;
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"), name.npos) << name;
  };
  for (const Counter& counter : engine_counters()) {
    const std::string_view name = counter.metric;
    check_name(name);
    EXPECT_EQ(counter.kind == CounterKind::kTotal, name.ends_with("_total")) << name;
    const bool is_time = counter.unit == CounterUnit::kNanoseconds;
    EXPECT_EQ(is_time, name.find("_seconds") != name.npos) << name;
  }
  for (const HistogramInfo& info : engine_histograms()) {
    check_name(info.metric);
    EXPECT_FALSE(std::string_view(info.help).empty()) << info.metric;
    EXPECT_FALSE(std::string_view(info.metric).ends_with("_total")) << info.metric;
  }
}

TEST(Histograms, CountEachValueUnderTheFirstBoundThatHoldsIt) {
  static constexpr std::array kBounds = {1.0, 2.0, 5.0};
  Histogram histogram(kBounds);
  for (const double value : {0.0, 1.0, 1.5, 2.0, 5.0, 5.5, 1e9}) histogram.add(value);
  EXPECT_EQ(histogram.counts[0], 2u);
  EXPECT_EQ(histogram.counts[1], 2u);
  EXPECT_EQ(histogram.counts[2], 1u);
  EXPECT_EQ(histogram.counts[3], 2u);
  EXPECT_EQ(histogram.num_values(), 7u);
  EXPECT_DOUBLE_EQ(histogram.sum, 15 + 1e9);
  histogram.add(std::chrono::milliseconds(1500));
  EXPECT_EQ(histogram.counts[1], 3u);
}

TEST(Histograms, BoundsAscend) {
  EngineTotals totals;
  for (const HistogramInfo& info : engine_histograms()) {
    const auto bounds = (totals.*info.member).bounds;
    ASSERT_FALSE(bounds.empty()) << info.metric;
    EXPECT_LE(bounds.size(), Histogram::kMostBounds) << info.metric;
    EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end())) << info.metric;
  }
}

TEST(Counters, AreReadAndSetEachOnItsOwn) {
  EngineCounts counts;
  uint64_t next = 0;
  for (const Counter& counter : engine_counters()) counter.set(counts, ++next);
  next = 0;
  for (const Counter& counter : engine_counters()) EXPECT_EQ(counter.get(counts), ++next);
  EXPECT_EQ(counts.num_places, 1);
  EXPECT_EQ(counts.num_running, 2);
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
  one.num_ended[2] = 3;
  for (const HistogramInfo& info : engine_histograms()) (one.*info.member).add(1.0);
  sum += one;
  sum += one;
  EXPECT_EQ(sum.num_ended[2], 6u);
  for (const HistogramInfo& info : engine_histograms()) {
    EXPECT_EQ((sum.*info.member).num_values(), 2u) << info.metric;
    EXPECT_EQ((sum.*info.member).sum, 2.0) << info.metric;
  }
}

}  // namespace
}  // namespace sluice::engine
