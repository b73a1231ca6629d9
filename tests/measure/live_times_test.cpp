#include "measure/live_times.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

namespace sluice::measure {
namespace {

using namespace std::chrono_literals;

TEST(LiveTimes, ArePercentilesToWithinSomePercent) {
  LiveTimes times;
  EXPECT_TRUE(std::isnan(times.percentile(0.5)));
  for (int i = 1; i <= 1000; ++i) times.add(i * 100us);
  EXPECT_NEAR(times.percentile(0.5), 0.05, 0.05 * 0.05);
  EXPECT_NEAR(times.percentile(0.95), 0.095, 0.095 * 0.05);
  times.add(0ns);
  times.add(-5s);
  times.add(24h * 365);
  EXPECT_GT(times.percentile(1), 86400 * 30);
  EXPECT_LE(times.percentile(0), 1e-6);
}

TEST(LiveTimes, LoseNoneOfManyThreads) {
  LiveTimes times;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 10'000; ++j) times.add(j % 2 == 0 ? 1ms : 1s);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_NEAR(times.percentile(0.5), 1e-3, 1e-4);
  EXPECT_NEAR(times.percentile(0.5001), 1, 0.05);
}

TEST(LiveLatencies, TellTheFirstTokenFromThoseBehindIt) {
  LiveLatencies latencies;
  EXPECT_TRUE(std::isnan(latencies.figures().ttft_p50));
  ExchangeRecord record;
  record.pieces = {130ms};
  latencies.add(record, 100ms, 1);
  EXPECT_NEAR(latencies.figures().ttft_p50, 0.03, 0.0015);
  EXPECT_TRUE(std::isnan(latencies.figures().itl_p50));
  record.pieces = {130ms, 150ms, 150ms};  // two that came at once
  latencies.add(record, 100ms, 2);
  EXPECT_NEAR(latencies.figures().itl_p95, 0.02, 0.001);
  EXPECT_NEAR(latencies.figures().ttft_p95, 0.03, 0.0015);
}

}  // namespace
}  // namespace sluice::measure
