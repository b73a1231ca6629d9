#include "measure/goodput.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "measure/load_search.h"

namespace sluice::measure {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TrafficRecord reply(int due_ms, const std::vector<int>& pieces_ms) {
  TrafficRecord record;
  record.due = record.sent = milliseconds(due_ms);
  for (int time : pieces_ms) record.pieces.push_back(milliseconds(time));
  record.ended = record.pieces.back();
  record.num_output_tokens = static_cast<int>(pieces_ms.size());
  record.http_status = 200;
  return record;
}

TrafficRecord cut_off(int due_ms, int ended_ms) {
  TrafficRecord record;
  record.due = record.sent = milliseconds(due_ms);
  record.ended = milliseconds(ended_ms);
  record.was_cancelled = true;
  return record;
}

TrafficRecord refused() {
  TrafficRecord record;
  record.http_status = 503;
  record.error = "HTTP 503: busy";
  return record;
}

TrafficPoint point_of(std::vector<TrafficRecord> requests) {
  return {.arrivals = {.num_clients = 1},
          .begin = seconds(0),
          .end = seconds(10),
          .requests = std::move(requests)};
}

TEST(Goal, ReadsMetricsStatisticsAndTimes) {
  const Goal goal =
      parse_goal("ttft_p95<500ms, itl_mean<=50ms,e2e_max<10s,tpot<0.02s,ttft_p99.9<2s");
  ASSERT_EQ(goal.bounds.size(), 5u);
  EXPECT_EQ(goal.bounds[0].metric, GoalMetric::kTtft);
  EXPECT_DOUBLE_EQ(goal.bounds[0].share, 0.95);
  EXPECT_DOUBLE_EQ(goal.bounds[0].limit_seconds, 0.5);
  EXPECT_DOUBLE_EQ(goal.bounds[1].share, 0);
  EXPECT_DOUBLE_EQ(goal.bounds[2].share, 1);
  EXPECT_EQ(goal.bounds[3].metric, GoalMetric::kTpot);
  EXPECT_DOUBLE_EQ(goal.bounds[3].share, 0.95);
  EXPECT_DOUBLE_EQ(goal.bounds[4].share, 0.999);
}

TEST(Goal, SaysWhatIsWrong) {
  for (const char* text : {"", "ttft", "ttft<", "ttft<5", "ttft<0ms", "ttft<-5ms", "ttft<nans",
                           "ttft<infs", "latency<5s", "ttft_p100<5s", "ttft_p0<5s", "ttft_px<5s",
                           "ttft_median<5s", "ttft<5s,", ",ttft<5s", "ttft>5s", "<5s", "_p95<5s"}) {
    EXPECT_THROW(parse_goal(text), Error) << text;
  }
}

TEST(Goal, IsMetWhenAllBoundsHold) {
  const TrafficPoint point = point_of({reply(0, {100, 150, 200}), reply(0, {300, 340, 380})});
  EXPECT_TRUE(judge(parse_goal("ttft_p95<300ms,itl_p95<50ms"), point).is_met);
  const GoalResult missed = judge(parse_goal("ttft_p95<299ms,itl_p95<50ms"), point);
  EXPECT_FALSE(missed.is_met);
  EXPECT_EQ(missed.missed, "ttft_p95 is 300 ms, not below 299 ms");
  EXPECT_DOUBLE_EQ(missed.goodput, 0.1);  // one of two holds it by itself, in 10 s
  EXPECT_DOUBLE_EQ(missed.share_good, 0.5);
}

TEST(Goal, WhoWaitsInVainCountsWithTheTimeThatWasWaited) {
  const TrafficPoint point = point_of({reply(0, {100}), cut_off(1000, 9000)});
  const GoalResult result = judge(parse_goal("ttft_max<5s"), point);
  EXPECT_EQ(result.missed, "ttft_max is 8 s, not below 5 s");
  EXPECT_DOUBLE_EQ(result.share_good, 0.5);
}

TEST(Goal, IsMissedWhenRequestsAreLost) {
  const GoalResult result = judge(parse_goal("ttft<1s"), point_of({reply(0, {100}), refused()}));
  EXPECT_EQ(result.missed, "1 of 2 requests were refused or failed");
  EXPECT_FALSE(judge(parse_goal("ttft<1s"), point_of({})).is_met);
  EXPECT_TRUE(std::isnan(judge(parse_goal("ttft<1s"), point_of({})).share_good));
}

// What a search tries against a server that holds the goal up to `limit`.
std::vector<Trial> search(const LoadRange& range, double limit) {
  std::vector<Trial> trials;
  while (const auto load = next_load(range, trials)) {
    trials.push_back({*load, *load <= limit});
    if (trials.size() > 100) break;
  }
  return trials;
}

TEST(LoadSearch, ClosesInOnTheHighestRate) {
  for (const double limit : {0.03, 0.2, 0.9, 1.0, 3.7, 55.0, 700.0}) {
    const auto trials = search({.first = 1, .least = 1.0 / 64, .most = 1e5}, limit);
    EXPECT_LE(trials.size(), static_cast<size_t>(kMostTrials));
    const auto best = best_load(trials);
    ASSERT_TRUE(best) << limit;
    EXPECT_LE(*best, limit);
    EXPECT_GE(*best, limit / 1.12) << limit;
  }
}

TEST(LoadSearch, ClientsComeWhole) {
  for (const int limit : {1, 2, 5, 37, 1024}) {
    const auto trials = search({.first = 4, .least = 1, .most = 1024, .is_whole = true}, limit);
    for (const Trial& trial : trials) EXPECT_EQ(trial.load, std::floor(trial.load));
    ASSERT_TRUE(best_load(trials)) << limit;
    EXPECT_GE(*best_load(trials), std::floor(limit / 1.08)) << limit;
    EXPECT_LE(*best_load(trials), limit);
  }
}

TEST(LoadSearch, EndsWhenNothingMeetsTheGoal) {
  const auto trials = search({.first = 4, .least = 1, .most = 1024, .is_whole = true}, 0);
  EXPECT_FALSE(best_load(trials));
  EXPECT_EQ(trials.back().load, 1);
}

// A lucky trial above one that missed is not believed.
TEST(LoadSearch, TheBestIsBelowWhatMisses) {
  EXPECT_EQ(best_load({{1, true}, {2, false}, {4, true}}), 1);
  EXPECT_FALSE(best_load({{2, false}, {4, true}}));
}

TEST(LoadSearch, SaysWhatItFound) {
  TrafficResult result;
  result.points = {point_of({reply(0, {100})}), point_of({reply(0, {900})})};
  result.points[1].arrivals.num_clients = 2;
  EXPECT_EQ(search_text(parse_goal("ttft<500ms"), result),
            "The highest load that meets the goal: 1 clients (2 clients miss it).\n");
  EXPECT_EQ(search_text(parse_goal("ttft<50ms"), result),
            "No load that was tried meets the goal; the lowest was 1 clients.\n");
}

}  // namespace
}  // namespace sluice::measure
