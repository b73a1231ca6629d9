#include "measure/steady.h"

#include <gtest/gtest.h>

#include <cmath>

#include "measure/distribution.h"
#include "measure/fake_chat_server.h"
#include "measure/run_book.h"

namespace sluice::measure {
namespace {

using namespace std::chrono_literals;

TEST(Steady, KnowsTheMeanToStudentsInterval) {
  const MeanEstimate estimate = estimate_mean({10, 12, 11, kNone});
  EXPECT_DOUBLE_EQ(estimate.mean, 11);
  EXPECT_NEAR(estimate.error, 4.303 * 1 / std::sqrt(3.0) / 11, 1e-9);
  EXPECT_TRUE(std::isinf(estimate_mean({5}).error));
  EXPECT_TRUE(std::isinf(estimate_mean({}).error));
  EXPECT_TRUE(std::isinf(estimate_mean({0, 0, 0}).error));
  EXPECT_NEAR(estimate_mean(std::vector<double>(60, 3)).error, 0, 1e-12);
}

TEST(Steady, EndsWhenBothAreKnownOrAtTheMost) {
  const std::vector<double> same = {10, 10, 10}, wild = {1, 10, 30};
  EXPECT_TRUE(steadiness_of(same, same).is_within(0.05));
  EXPECT_FALSE(steadiness_of(same, wild).is_within(0.05));
  EXPECT_FALSE(steadiness_of(wild, same).is_within(0.05));
  EXPECT_FALSE(steadiness_of({10, 10}, {10, 10}).is_within(0.05));
  EXPECT_TRUE(steadiness_of(wild, wild).must_go_on(0.05));
  const std::vector<double> many(kMostRepeats, kNone);
  EXPECT_FALSE(steadiness_of(many, many).must_go_on(0.05));
}

TrafficOptions steady_options(const std::string& url) {
  TrafficOptions options;
  options.url = http::parse_url(url);
  options.model = "m";
  options.arrivals = {{.num_clients = 1}, {.num_clients = 2}};
  options.num_requests = 4;
  options.warm_up = false;
  return options;
}

TEST(Steady, RepeatsEachLoadOfTraffic) {
  test::FakeChatServer server({.first_delay = 5ms, .gap = 1ms, .num_tokens = 5});
  const TrafficResult result = run_traffic_until_steady(steady_options(server.url()), 10, {false},
                                                        [](const TrafficProgress&) {});
  ASSERT_EQ(result.points.size(), 2u * kFewestRepeats);  // to 1000%: as few as may be
  const std::string text = steady_text(result, 10);
  EXPECT_NE(text.find("1 client "), std::string::npos) << text;
  EXPECT_NE(text.find("2 clients"), std::string::npos) << text;
  EXPECT_NE(text.find(" 3 times: "), std::string::npos) << text;
  EXPECT_EQ(text.find("not steady"), std::string::npos) << text;
  const TrafficResult never = run_traffic_until_steady(steady_options(server.url()), 1e-9, {false},
                                                       [](const TrafficProgress&) {});
  EXPECT_EQ(never.points.size(), 2u * kMostRepeats);
  EXPECT_NE(steady_text(never, 1e-9).find("not steady"), std::string::npos);
}

TEST(Steady, RepeatsWavesAndGivesUpOnAServerThatFails) {
  LoadTestOptions options;
  options.model = "m";
  options.workloads = {output_workload(5)};
  options.concurrency = {2};
  options.steady_limit = 10;
  options.warm_up = false;
  test::FakeChatServer server({.first_delay = 5ms, .gap = 1ms, .num_tokens = 5});
  options.url = http::parse_url(server.url());
  const LoadTestResult result = run_load_test(options, {false}, [](const LoadTestProgress&) {});
  EXPECT_EQ(result.requests.size(), 2u * kFewestRepeats);
  EXPECT_FALSE(result.was_stopped);
  EXPECT_NE(steady_text(result, 10).find("output, 5 words, 2 at a time"), std::string::npos);
  test::FakeChatServer refusing({.refuse_from_request = 0});
  options.url = http::parse_url(refusing.url());
  const LoadTestResult refused = run_load_test(options, {false}, [](const LoadTestProgress&) {});
  EXPECT_EQ(refused.requests.size(), 2u * kMostRepeats);
  EXPECT_NE(steady_text(refused, 10).find("not steady"), std::string::npos);
}

TEST(Steady, RepeatsGiveTheNoiseOfAComparison) {
  RunFacts before, after;
  before.lines = R"([{"clients":4,"tokens_per_second":98},{"clients":4,"tokens_per_second":100},
                     {"clients":4,"tokens_per_second":102},{"clients":1,"tokens_per_second":5}])";
  after.lines = R"([{"clients":4,"tokens_per_second":110}])";
  const auto comparisons = compare_runs(before, after);
  ASSERT_EQ(comparisons.size(), 1u);
  EXPECT_DOUBLE_EQ(comparisons[0].before, 100);
  EXPECT_TRUE(std::isnan(comparisons[0].noise));  // one line has none
  after.lines = R"([{"clients":4,"tokens_per_second":110},{"clients":4,"tokens_per_second":110}])";
  EXPECT_NEAR(compare_runs(before, after)[0].noise, 1.1 * 4.303 * 2 / std::sqrt(3.0) / 100, 1e-9);
}

}  // namespace
}  // namespace sluice::measure
