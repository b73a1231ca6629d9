#include "measure/loadtest.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "base/error.h"
#include "measure/fake_chat_server.h"
#include "measure/report.h"

namespace sluice::measure {
namespace {

using namespace std::chrono_literals;
using test::FakeChat;
using test::FakeChatServer;

const auto kNoLoadProgress = [](const LoadTestProgress&) {};

LoadTestOptions options_for(const std::string& url) {
  LoadTestOptions options;
  options.url = http::parse_url(url);
  options.model = "m";
  options.workloads = {output_workload(25)};
  options.concurrency = {1};
  options.warm_up = false;
  options.seed = 100;
  return options;
}

class LoadTestOfBothApis : public ::testing::TestWithParam<Api> {};
INSTANTIATE_TEST_SUITE_P(Apis, LoadTestOfBothApis, ::testing::Values(Api::kOllama, Api::kOpenai),
                         [](const auto& api) { return std::string(api_name(api.param)); });

TEST_P(LoadTestOfBothApis, MeasuresAServerOfKnownTiming) {
  FakeChatServer server({.first_delay = 60ms, .gap = 10ms, .num_tokens = 11});
  LoadTestOptions options = options_for(server.url());
  options.api = GetParam();
  options.concurrency = {1, 4};
  options.repeat = 2;
  const std::atomic<bool> stop{false};
  const LoadTestResult result = run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress);
  ASSERT_EQ(result.requests.size(), 10u);
  EXPECT_FALSE(result.was_stopped);
  for (const LoadRecord& request : result.requests) {
    EXPECT_EQ(request.error, "");
    EXPECT_EQ(request.http_status, 200);
    EXPECT_EQ(request.pieces.size(), 11u);
    EXPECT_TRUE(request.has_usage);
    EXPECT_EQ(request.num_output_tokens, 11);
    EXPECT_EQ(request.figures.num_prompt_tokens, 33);
    // The server sleeps at least this long; above it anything is possible on a busy machine.
    EXPECT_GE(request.first_token_seconds(), 0.060);
    EXPECT_GE(request.total_seconds(), 0.160);
    EXPECT_LT(request.total_seconds(), 60);
    EXPECT_GE(request.total_seconds(), request.first_token_seconds());
  }
  const std::vector<ReportRow> rows = summarize(result.requests);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].num_requests, 2);
  EXPECT_EQ(rows[1].num_requests, 8);
  EXPECT_EQ(rows[1].mean_output_tokens, 11);
  EXPECT_EQ(rows[1].mean_prompt_tokens, 33);
  EXPECT_LE(rows[1].tokens_per_second, 11 / 0.16);
  // Four at a time really overlap: more together than any one alone could have.
  EXPECT_GT(rows[1].total_tokens_per_second, 1.5 * rows[1].tokens_per_second);
}

TEST(LoadTest, GivesEveryRequestItsOwnSeedAndText) {
  FakeChatServer server({.first_delay = 0ms, .gap = 0ms, .num_tokens = 1});
  LoadTestOptions options = options_for(server.url());
  options.workloads = {input_workload()};
  options.concurrency = {2};
  options.repeat = 3;
  options.temperature = 0.25;
  options.max_tokens = 5;
  run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress);
  std::set<uint64_t> seeds;
  std::set<std::string> texts;
  for (const auto& request : server.requests()) {
    seeds.insert(request["options"]["seed"].get<uint64_t>());
    texts.insert(request["messages"][0]["content"].get<std::string>());
    EXPECT_EQ(request["options"]["temperature"], 0.25);
    EXPECT_EQ(request["options"]["num_predict"], 5);
  }
  EXPECT_EQ(seeds, (std::set<uint64_t>{100, 101, 102, 103, 104, 105}));
  EXPECT_EQ(texts.size(), 6u);
}

TEST(LoadTest, SendsAllAlikeWhenAskedTo) {
  FakeChatServer server({.first_delay = 0ms, .gap = 0ms, .num_tokens = 1});
  LoadTestOptions options = options_for(server.url());
  options.workloads = {input_workload()};
  options.repeat = 3;
  options.same_prompt = true;
  run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress);
  std::set<std::string> bodies;
  for (const auto& request : server.requests()) bodies.insert(request.dump());
  EXPECT_EQ(bodies.size(), 1u);
}

TEST(LoadTest, RunsThePointsInTheArticlesOrder) {
  FakeChatServer server({.first_delay = 0ms, .gap = 0ms, .num_tokens = 1});
  LoadTestOptions options = options_for(server.url());
  options.workloads = {input_workload(), output_workload(25), output_workload(50)};
  options.concurrency = {1, 2};
  const LoadTestResult result = run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress);
  std::vector<std::pair<int, int>> order;
  for (const ReportRow& row : summarize(result.requests)) {
    order.emplace_back(row.workload.num_words, row.concurrency);
  }
  EXPECT_EQ(order, (std::vector<std::pair<int, int>>{
                       {25, 1}, {50, 1}, {25, 2}, {50, 2}, {484, 1}, {484, 2}}));
}

TEST(LoadTest, CountsPiecesWhenTheServerCountsNothing) {
  FakeChatServer server({.first_delay = 0ms, .gap = 1ms, .num_tokens = 7, .has_usage = false});
  LoadTestOptions options = options_for(server.url());
  options.api = Api::kOpenai;
  const LoadTestResult result = run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress);
  ASSERT_EQ(result.requests.size(), 1u);
  EXPECT_FALSE(result.requests[0].has_usage);
  EXPECT_EQ(result.requests[0].num_output_tokens, 7);
}

TEST(LoadTest, DoesNotCountTheWarmUpRequest) {
  FakeChatServer server({.first_delay = 0ms, .gap = 0ms, .num_tokens = 2});
  LoadTestOptions options = options_for(server.url());
  options.warm_up = true;
  const LoadTestResult result = run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress);
  ASSERT_EQ(result.requests.size(), 1u);
  EXPECT_GT(result.warm_up_seconds, 0);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0]["options"]["num_predict"], 1);
  EXPECT_FALSE(requests[1]["options"].contains("num_predict"));
}

TEST(LoadTest, RecordsRefusedRequestsAndGoesOn) {
  FakeChatServer server(
      {.first_delay = 0ms, .gap = 0ms, .num_tokens = 2, .refuse_from_request = 1});
  LoadTestOptions options = options_for(server.url());
  options.repeat = 4;
  const LoadTestResult result = run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress);
  ASSERT_EQ(result.requests.size(), 4u);
  EXPECT_EQ(result.requests[0].error, "");
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(result.requests[i].http_status, 503);
    EXPECT_EQ(result.requests[i].error, "HTTP 503: server busy");
  }
  const std::vector<ReportRow> rows = summarize(result.requests);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].num_requests, 1);
  EXPECT_EQ(rows[0].num_errors, 3);
}

TEST(LoadTest, RecordsRepliesThatBreakOff) {
  FakeChatServer server({.first_delay = 0ms, .gap = 0ms, .num_tokens = 3, .break_from_request = 1});
  LoadTestOptions options = options_for(server.url());
  options.repeat = 2;
  const LoadTestResult result = run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress);
  ASSERT_EQ(result.requests.size(), 2u);
  EXPECT_EQ(result.requests[0].error, "");
  EXPECT_NE(result.requests[1].error.find("closed the connection"), std::string::npos);
  EXPECT_EQ(result.requests[1].pieces.size(), 1u);
}

TEST(LoadTest, EndsEarlyWhenTheServerIsGone) {
  std::string url;
  { url = FakeChatServer(FakeChat{}).url(); }
  LoadTestOptions options = options_for(url);
  options.concurrency = {2};
  options.repeat = 50;
  const LoadTestResult result = run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress);
  EXPECT_TRUE(result.was_stopped);
  ASSERT_EQ(result.requests.size(), 2u);
  EXPECT_NE(result.requests[0].error.find("could not connect"), std::string::npos);
  options.warm_up = true;
  EXPECT_THROW(run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress), Error);
}

TEST(LoadTest, StopsAtOnceWhenAskedToAndKeepsWhatIsDone) {
  FakeChatServer server({.first_delay = 0ms, .gap = 20ms, .num_tokens = 5});
  LoadTestOptions options = options_for(server.url());
  options.concurrency = {2};
  options.repeat = 1000;
  std::atomic<bool> stop{false};
  LoadTestProgress last;
  const auto begin = std::chrono::steady_clock::now();
  const LoadTestResult result = run_load_test(options, stop, [&](const LoadTestProgress& progress) {
    if (progress.num_done >= 4) stop = true;
    last = progress;
  });
  EXPECT_EQ(last.num_errors, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_TRUE(result.was_stopped);
  ASSERT_GE(result.requests.size(), 4u);
  EXPECT_EQ(summarize(result.requests)[0].num_errors, 0);
}

TEST(LoadTest, ReportsProgressWhileRequestsRun) {
  FakeChatServer server({.first_delay = 0ms, .gap = 30ms, .num_tokens = 12});
  LoadTestOptions options = options_for(server.url());
  options.concurrency = {3};
  bool was_running = false;
  int num_last = 0;
  run_load_test(options, std::atomic<bool>{false}, [&](const LoadTestProgress& progress) {
    was_running = was_running || (progress.num_running == 3 && progress.tokens_per_second > 0);
    if (!progress.is_last) return;
    ++num_last;
    EXPECT_EQ(progress.num_done, 3);
    EXPECT_EQ(progress.num_total, 3);
    EXPECT_EQ(progress.place, num_last);
    EXPECT_EQ(progress.num_places, 1);
    EXPECT_GT(progress.num_pieces, 3);
    EXPECT_GT(progress.seconds, 0);
    EXPECT_GT(progress.latency.ttft_p50, 0);
    EXPECT_GE(progress.latency.itl_p95, progress.latency.itl_p50);
  });
  EXPECT_TRUE(was_running);
  EXPECT_EQ(num_last, 1);
}

TEST(LoadTest, RefusesOptionsOutOfRange) {
  const LoadTestOptions good = options_for("127.0.0.1:1");
  const auto expect_refused = [](const LoadTestOptions& options) {
    EXPECT_THROW(run_load_test(options, std::atomic<bool>{false}, kNoLoadProgress), Error);
  };
  LoadTestOptions options = good;
  options.model.clear();
  expect_refused(options);
  options = good;
  options.concurrency = {0};
  expect_refused(options);
  options.concurrency = {kMaxConcurrency + 1};
  expect_refused(options);
  options = good;
  options.workloads.clear();
  expect_refused(options);
  options = good;
  options.repeat = 0;
  expect_refused(options);
}

}  // namespace
}  // namespace sluice::measure
