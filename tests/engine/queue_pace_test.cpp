#include "engine/queue_pace.h"

#include <gtest/gtest.h>

#include <chrono>

namespace sluice::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// Counts up like the engine, in steps of 10 ms.
class Queue {
 public:
  explicit Queue(int max_running) : pace_(max_running) { pass(0, 0, 0, 0); }
  void pass(int num_started, int num_ended, int num_running, int num_waiting) {
    now_ += milliseconds(10);
    totals_.num_started += static_cast<uint64_t>(num_started);
    totals_.num_ended += static_cast<uint64_t>(num_ended);
    totals_.num_running = num_running;
    totals_.num_waiting = num_waiting;
    pace_.observe(now_, totals_);
  }
  double interval_ms() const { return 1e-6 * static_cast<double>(pace_.interval().count()); }

 private:
  QueuePace pace_;
  QueuePace::Totals totals_;
  Clock::time_point now_{milliseconds(1'000'000)};
};

TEST(QueuePace, IsUnknownAtFirst) {
  Queue queue(4);
  EXPECT_EQ(queue.interval_ms(), 0);
  for (int i = 0; i < 100; ++i) queue.pass(0, 0, 4, 3);
  EXPECT_EQ(queue.interval_ms(), 0) << "nobody has ended or started";
}

TEST(QueuePace, IsTheTimeBetweenStarts) {
  Queue queue(4);
  for (int i = 1; i <= 200; ++i) queue.pass(i % 5 == 0 ? 1 : 0, 0, 4, 10);
  EXPECT_NEAR(queue.interval_ms(), 50, 5);
}

TEST(QueuePace, BatchThatEndsAtOnceIsSpreadOverItsTime) {
  Queue queue(64);
  for (int i = 1; i <= 500; ++i) queue.pass(i % 100 == 0 ? 64 : 0, 0, 64, 200);
  const double expected = 1000.0 / 64;
  EXPECT_NEAR(queue.interval_ms(), expected, 0.35 * expected);
  for (int i = 1; i < 100; ++i) queue.pass(0, 0, 64, 200);
  EXPECT_NEAR(queue.interval_ms(), expected, 0.7 * expected) << "just before the next batch";
}

TEST(QueuePace, TimeInWhichNobodyWaitedDoesNotCount) {
  Queue queue(4);
  for (int i = 1; i <= 200; ++i) queue.pass(i % 5 == 0 ? 1 : 0, 0, 4, 10);
  for (int i = 0; i < 10'000; ++i) queue.pass(0, 0, 0, 0);
  queue.pass(0, 0, 4, 1);
  EXPECT_NEAR(queue.interval_ms(), 50, 5);
}

TEST(QueuePace, FollowsAChangeOfLoad) {
  Queue queue(4);
  for (int i = 1; i <= 500; ++i) queue.pass(i % 5 == 0 ? 1 : 0, 0, 4, 10);
  for (int i = 1; i <= 2000; ++i) queue.pass(i % 50 == 0 ? 1 : 0, 0, 4, 10);
  EXPECT_NEAR(queue.interval_ms(), 500, 60);
}

TEST(QueuePace, BeforeAnybodyWaitedTheDurationsSpeak) {
  Queue queue(8);
  // One at a time, 300 ms each.
  for (int i = 1; i <= 300; ++i) queue.pass(0, i % 30 == 0 ? 1 : 0, 1, 0);
  EXPECT_NEAR(queue.interval_ms(), 300, 10);
  queue.pass(0, 0, 8, 2);
  EXPECT_NEAR(queue.interval_ms(), 300.0 / 8, 5) << "eight at a time end more often";
}

}  // namespace
}  // namespace sluice::engine
