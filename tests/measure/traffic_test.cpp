#include "measure/traffic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "base/error.h"
#include "measure/fake_chat_server.h"
#include "measure/load_search.h"
#include "measure/traffic_report.h"

namespace sluice::measure {
namespace {

using namespace std::chrono_literals;
using test::FakeChat;
using test::FakeChatServer;

const auto kNoProgress = [](const TrafficProgress&) {};
const FakeChat kQuick{.first_delay = 0ms, .gap = 0ms, .num_tokens = 3};

TrafficOptions options_for(const std::string& url, Arrivals arrivals) {
  TrafficOptions options;
  options.url = http::parse_url(url);
  options.model = "m";
  options.arrivals = {arrivals};
  options.num_requests = 20;
  options.warm_up = false;
  options.seed = 100;
  return options;
}

TrafficResult run(const TrafficOptions& options) {
  return run_traffic(options, std::atomic<bool>{false}, kNoProgress);
}

int most_at_a_time(const std::vector<TrafficRecord>& requests) {
  std::vector<std::pair<std::chrono::nanoseconds, int>> changes;
  for (const TrafficRecord& request : requests) {
    changes.emplace_back(request.sent, 1);
    changes.emplace_back(request.ended, -1);
  }
  std::sort(changes.begin(), changes.end());
  int num_running = 0, most = 0;
  for (const auto& [time, change] : changes) most = std::max(most, num_running += change);
  return most;
}

class TrafficOfBothApis : public ::testing::TestWithParam<Api> {};
INSTANTIATE_TEST_SUITE_P(Apis, TrafficOfBothApis, ::testing::Values(Api::kOllama, Api::kOpenai),
                         [](const auto& api) { return std::string(api_name(api.param)); });

TEST_P(TrafficOfBothApis, ClientsSendTheNumberAskedForAndNeverMoreAtATime) {
  FakeChatServer server({.first_delay = 5ms, .gap = 1ms, .num_tokens = 4});
  TrafficOptions options = options_for(server.url(), {.num_clients = 3});
  options.api = GetParam();
  const TrafficResult result = run(options);
  ASSERT_EQ(result.points.size(), 1u);
  EXPECT_FALSE(result.was_stopped);
  const TrafficPoint& point = result.points[0];
  ASSERT_EQ(point.requests.size(), 20u);
  EXPECT_LE(most_at_a_time(point.requests), 3);
  std::set<int> indexes;
  for (const TrafficRecord& request : point.requests) {
    EXPECT_EQ(request.error, "");
    EXPECT_EQ(request.num_output_tokens, 4);
    EXPECT_GE(request.ttft_seconds(), 0.005);
    EXPECT_LE(request.ended, point.end);
    EXPECT_GE(request.sent, point.begin);
    indexes.insert(request.index);
  }
  EXPECT_EQ(indexes.size(), 20u);
  const TrafficRow row = summarize(point);
  EXPECT_EQ(row.num_completed, 20);
  EXPECT_DOUBLE_EQ(row.mean_output_tokens, 4);
  EXPECT_GT(row.tokens_per_second, 0);
}

TEST(Traffic, ClientsKeepSendingForTheDuration) {
  FakeChatServer server(kQuick);
  TrafficOptions options = options_for(server.url(), {.num_clients = 2});
  options.num_requests = 0;
  options.duration = 700ms;
  const TrafficPoint point = run(options).points.at(0);
  EXPECT_GE(point.end - point.begin, 700ms);
  EXPECT_GE(point.requests.size(), 1u);  // some thousand on an idle machine
  for (const TrafficRecord& request : point.requests) {
    EXPECT_LE(request.due, point.begin + 700ms);
    EXPECT_EQ(request.error, "");
  }
}

TEST(Traffic, SendsStoriesWithTheirOwnSeeds) {
  FakeChatServer server(kQuick);
  TrafficOptions options = options_for(server.url(), {.num_clients = 2});
  options.story_words = 50;
  options.max_tokens = 12;
  options.temperature = 0.25;
  options.ignore_end = true;
  run(options);
  std::set<uint64_t> seeds;
  for (const auto& request : server.requests()) {
    seeds.insert(request["seed"].get<uint64_t>());
    EXPECT_EQ(request["messages"][0]["content"], "tell a story in 50 words:");
    EXPECT_EQ(request["max_tokens"], 12);
    EXPECT_EQ(request["temperature"], 0.25);
    EXPECT_EQ(request["ignore_eos"], true);
  }
  EXPECT_EQ(seeds.size(), 20u);
  EXPECT_EQ(*seeds.begin(), 100u);
}

TEST(Traffic, MixedRequestsAreThoseOfTheMixAndNoneComesTwice) {
  FakeChatServer server(kQuick);
  TrafficOptions options = options_for(server.url(), {.num_clients = 2});
  options.arrivals.push_back({.rate = 500});
  options.kind = TrafficKind::kMixed;
  options.warm_up = true;
  run(options);
  std::set<std::pair<std::string, int>> wanted, sent;
  for (uint64_t i = 0; i < 40; ++i) {
    const MixedRequest request = make_mixed_request(options.mix, options.seed, i);
    wanted.emplace(request.prompt, request.max_tokens);
  }
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 41u);
  EXPECT_EQ(requests[0]["max_tokens"], 1);
  for (size_t i = 1; i < requests.size(); ++i) {
    sent.emplace(requests[i]["messages"][0]["content"].get<std::string>(),
                 requests[i]["max_tokens"].get<int>());
    EXPECT_NE(requests[i]["messages"][0]["content"], requests[0]["messages"][0]["content"]);
  }
  EXPECT_EQ(sent, wanted);
}

TEST(Traffic, SendsTheUsersOwnPromptsInTurn) {
  FakeChatServer server(kQuick);
  TrafficOptions options = options_for(server.url(), {.num_clients = 1});
  options.kind = TrafficKind::kPrompts;
  options.prompts = {{"one", 5}, {"two"}};
  options.max_tokens = 9;
  options.num_requests = 3;
  run(options);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0]["messages"][0]["content"], "one");
  EXPECT_EQ(requests[0]["max_tokens"], 5);
  EXPECT_EQ(requests[1]["messages"][0]["content"], "two");
  EXPECT_EQ(requests[1]["max_tokens"], 9);
  EXPECT_EQ(requests[2]["messages"][0]["content"], "one");
}

TEST(Traffic, SendsTheLengthsAskedFor) {
  FakeChatServer server(kQuick);
  TrafficOptions options = options_for(server.url(), {.num_clients = 2});
  options.kind = TrafficKind::kSized;
  options.input = parse_length("30", "input");
  options.output = parse_length("5-7", "output");
  run(options);
  std::set<int> limits;
  std::set<std::string> prompts;
  for (const auto& request : server.requests()) {
    const std::string prompt = request["messages"][0]["content"];
    EXPECT_EQ(std::count(prompt.begin(), prompt.end(), ' ') +
                  std::count(prompt.begin(), prompt.end(), '\n') + 1,
              30 - 8 + 7);  // words and a question of seven, which is eight tokens
    limits.insert(request["max_tokens"].get<int>());
    prompts.insert(prompt);
  }
  EXPECT_EQ(limits, (std::set<int>{5, 6, 7}));
  EXPECT_EQ(prompts.size(), 20u);
}

TEST(Traffic, SearchesTheHighestLoadThatMeetsTheGoal) {
  // Whoever comes while five are being answered waits longer than the goal allows.
  std::atomic<int> num_running{0};
  test::ScriptedServer server([&](test::ScriptedConnection& connection) {
    test::ScriptedRequest request;
    while (connection.read_request(request)) {
      const bool is_late = ++num_running > 5;
      std::this_thread::sleep_for(is_late ? 900ms : 60ms);
      --num_running;
      connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      connection.write_chunk("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n");
      connection.write_chunk("data: [DONE]\n\n");
      connection.write_chunk("");
    }
  });
  TrafficOptions options = options_for(server.url(), {.num_clients = 1});
  options.num_requests = 12;
  const Goal goal = parse_goal("ttft_max<500ms");
  const TrafficResult result =
      search_highest_load(options, goal, std::atomic<bool>{false}, kNoProgress);
  std::vector<int> tried;
  for (const TrafficPoint& point : result.points) tried.push_back(point.arrivals.num_clients);
  EXPECT_EQ(tried, (std::vector<int>{1, 2, 4, 8, 6, 5}));
}

TEST(Traffic, ArrivalsDoNotWaitForReplies) {
  // No reply before the eighth request is there: clients that wait would wait for ever.
  std::atomic<int> num_requests{0};
  test::ScriptedServer server([&](test::ScriptedConnection& connection) {
    test::ScriptedRequest request;
    if (!connection.read_request(request)) return;
    ++num_requests;
    for (int i = 0; i < 3000 && num_requests < 8; ++i) std::this_thread::sleep_for(10ms);
    connection.reply(num_requests < 8 ? 500 : 200, "data: [DONE]\n\n");
  });
  TrafficOptions options = options_for(server.url(), {.rate = 200});
  options.num_requests = 8;
  const TrafficPoint point = run(options).points.at(0);
  ASSERT_EQ(point.requests.size(), 8u);
  for (const TrafficRecord& request : point.requests) EXPECT_EQ(request.error, "");
}

TEST(Traffic, ArrivalsAreRepeatableAndOfTheRateAskedFor) {
  FakeChatServer server(kQuick);
  TrafficOptions options = options_for(server.url(), {.rate = 1000});
  options.num_requests = 300;
  const auto gaps = [&] {
    std::vector<TrafficRecord> requests = run(options).points.at(0).requests;
    std::sort(requests.begin(), requests.end(),
              [](const auto& a, const auto& b) { return a.index < b.index; });
    std::vector<std::chrono::nanoseconds> gaps;
    for (size_t i = 1; i < requests.size(); ++i) {
      gaps.push_back(requests[i].due - requests[i - 1].due);
      EXPECT_GE(requests[i].sent, requests[i].due);
    }
    return gaps;
  };
  const auto first = gaps();
  ASSERT_EQ(first.size(), 299u);
  EXPECT_EQ(gaps(), first);
  std::chrono::nanoseconds sum{};
  for (const auto gap : first) sum += gap;
  EXPECT_NEAR(std::chrono::duration<double>(sum).count(), 0.299, 0.05);  // drawn, not timed
}

TEST(Traffic, RecordsRefusalsAndGoesOn) {
  FakeChatServer server(
      {.first_delay = 0ms, .gap = 0ms, .num_tokens = 2, .refuse_from_request = 2});
  TrafficOptions options = options_for(server.url(), {.num_clients = 2});
  options.num_requests = 5;
  const TrafficResult result = run(options);
  EXPECT_FALSE(result.was_stopped);
  const TrafficRow row = summarize(result.points.at(0));
  EXPECT_EQ(row.num_completed, 2);
  EXPECT_EQ(row.num_refused, 3);
  EXPECT_EQ(row.num_errors, 0);
}

TEST(Traffic, CutsOffWhatStillRunsAfterTheDrain) {
  // One piece of text, then nothing more until the client goes away.
  test::ScriptedServer server([](test::ScriptedConnection& connection) {
    test::ScriptedRequest request;
    if (!connection.read_request(request)) return;
    connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.write_chunk("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n");
    connection.wait_closed();
  });
  TrafficOptions options = options_for(server.url(), {.num_clients = 2});
  options.num_requests = 2;
  options.drain = 10ms;
  const TrafficPoint point = run(options).points.at(0);
  ASSERT_EQ(point.requests.size(), 2u);
  for (const TrafficRecord& request : point.requests) EXPECT_TRUE(request.was_cancelled);
  const TrafficRow row = summarize(point);
  EXPECT_EQ(row.num_cut_off, 2);
  EXPECT_EQ(row.num_errors, 0);
}

TEST(Traffic, LetsRequestsEndInTheDrain) {
  FakeChatServer server({.first_delay = 200ms, .gap = 0ms, .num_tokens = 2});
  TrafficOptions options = options_for(server.url(), {.num_clients = 2});
  options.num_requests = 2;
  options.drain = 60s;
  const TrafficPoint point = run(options).points.at(0);
  ASSERT_EQ(point.requests.size(), 2u);
  for (const TrafficRecord& request : point.requests) EXPECT_TRUE(request.is_success());
}

TEST(Traffic, EndsEarlyWhenTheServerIsGone) {
  std::string url;
  { url = FakeChatServer(FakeChat{}).url(); }
  TrafficOptions options = options_for(url, {.num_clients = 8});
  options.num_requests = 1'000'000;
  options.arrivals.push_back({.num_clients = 1});
  const TrafficResult result = run(options);
  EXPECT_TRUE(result.was_stopped);
  ASSERT_EQ(result.points.size(), 1u);
  EXPECT_GE(result.points[0].requests.size(), 32u);
  EXPECT_NE(result.points[0].requests[0].error.find("could not connect"), std::string::npos);
  options.warm_up = true;
  EXPECT_THROW(run(options), Error);
}

TEST(Traffic, StopsAtOnceWhenAskedToAndKeepsWhatIsDone) {
  for (const Arrivals arrivals : {Arrivals{.num_clients = 2}, Arrivals{.rate = 100}}) {
    FakeChatServer server({.first_delay = 0ms, .gap = 10ms, .num_tokens = 5});
    TrafficOptions options = options_for(server.url(), arrivals);
    options.num_requests = 1'000'000;
    std::atomic<bool> stop{false};
    int num_last = 0;
    const TrafficResult result = run_traffic(options, stop, [&](const TrafficProgress& progress) {
      if (progress.num_done >= 4) stop = true;
      num_last += progress.is_last;
      EXPECT_EQ(progress.num_errors, 0);
    });
    EXPECT_TRUE(result.was_stopped);
    EXPECT_EQ(num_last, 1);
    EXPECT_GE(summarize(result.points.at(0)).num_completed, 4);
  }
}

TEST(Traffic, TellsItsFiguresOnTheWay) {
  FakeChatServer server({.first_delay = 30ms, .gap = 10ms, .num_tokens = 5});
  TrafficOptions options = options_for(server.url(), {.num_clients = 2});
  options.arrivals.push_back({.num_clients = 1});
  options.num_requests = 8;
  std::vector<TrafficProgress> told;
  run_traffic(options, std::atomic<bool>{false},
              [&](const TrafficProgress& progress) { told.push_back(progress); });
  std::vector<TrafficProgress> last;
  for (const TrafficProgress& progress : told) {
    EXPECT_GE(progress.share_done, 0);
    EXPECT_LE(progress.share_done, 1);
    if (progress.is_last) last.push_back(progress);
  }
  ASSERT_EQ(last.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(last[i].place, static_cast<int>(i) + 1);
    EXPECT_EQ(last[i].num_pieces, 8 * 5);
    EXPECT_DOUBLE_EQ(last[i].share_done, 1);
    EXPECT_GT(last[i].latency.ttft_p50, 0.025);
    EXPECT_GT(last[i].latency.itl_p50, 0.005);
    EXPECT_LT(last[i].latency.itl_p50, last[i].latency.ttft_p50);
  }
}

TEST(Traffic, RefusesOptionsOutOfRange) {
  const TrafficOptions good = options_for("127.0.0.1:1", {.num_clients = 1});
  const auto expect_refused = [](TrafficOptions options, auto change) {
    change(options);
    EXPECT_THROW(run(options), Error);
  };
  expect_refused(good, [](TrafficOptions& options) { options.model.clear(); });
  expect_refused(good, [](TrafficOptions& options) { options.arrivals.clear(); });
  expect_refused(good, [](TrafficOptions& options) { options.arrivals = {Arrivals{}}; });
  expect_refused(good, [](TrafficOptions& options) {
    options.arrivals = {Arrivals{.num_clients = kMaxClients + 1}};
  });
  expect_refused(good, [](TrafficOptions& options) { options.arrivals = {Arrivals{.rate = 1e6}}; });
  expect_refused(good, [](TrafficOptions& options) { options.num_requests = -1; });
  expect_refused(good, [](TrafficOptions& options) { options.max_tokens = 0; });
  expect_refused(good, [](TrafficOptions& options) {
    options.num_requests = 0;
    options.duration = 0ms;
  });
}

TEST(Traffic, ReplaysATraceAtItsOwnTimes) {
  FakeChatServer server(kQuick);
  TrafficOptions options = options_for(server.url(), {.speedup = 10});
  options.arrivals.push_back({.speedup = 100});
  options.kind = TrafficKind::kTrace;
  options.num_requests = 0;
  options.duration = 0ms;
  options.api = Api::kOllama;
  options.trace.requests = {{.input_tokens = 30, .output_tokens = 4},
                            {.due = 1s, .input_tokens = 30, .output_tokens = 5},
                            {.due = 3s, .input_tokens = 30, .output_tokens = 6}};
  const TrafficResult result = run(options);
  ASSERT_EQ(result.points.size(), 2u);
  const TrafficPoint& point = result.points[0];
  ASSERT_EQ(point.requests.size(), 3u);
  for (const TrafficRecord& request : point.requests) {
    const auto& line = options.trace.requests[static_cast<size_t>(request.place)];
    EXPECT_EQ(request.due, point.begin + line.due / 10);
    EXPECT_EQ(request.max_tokens, line.output_tokens);
    EXPECT_LE(request.ended, point.end);
  }
  EXPECT_GE(point.end - point.begin, 300ms);
  EXPECT_EQ(result.points[1].requests.size(), 3u);
  std::set<std::string> prompts;
  std::multiset<int> lengths;
  for (const auto& request : server.requests()) {
    prompts.insert(request["messages"][0]["content"].get<std::string>());
    lengths.insert(request["options"]["num_predict"].get<int>());
  }
  EXPECT_EQ(prompts.size(), 6u);  // the second time with other words
  EXPECT_EQ(lengths, (std::multiset<int>{4, 4, 5, 5, 6, 6}));
  options.num_requests = 2;
  EXPECT_EQ(run(options).points[0].requests.size(), 2u);
  options.num_requests = 0;
  options.duration = 150ms;
  EXPECT_EQ(run(options).points[0].requests.size(), 2u);
  options.arrivals = {{.num_clients = 1}};
  EXPECT_THROW(run(options), Error);
}

TEST_P(TrafficOfBothApis, ChatsBringAlongWhatWasSaid) {
  FakeChatServer server(kQuick);
  TrafficOptions options = options_for(server.url(), {.num_clients = 1});
  options.api = GetParam();
  options.kind = TrafficKind::kSized;
  options.input.first = options.output.first = 9;
  options.num_turns = 3;
  options.num_requests = 5;
  options.shared_prefix_tokens = 50;
  const TrafficResult result = run(options);
  const auto sent = server.requests();
  ASSERT_EQ(sent.size(), 5u);
  const auto first = sent[0]["messages"], third = sent[2]["messages"], fourth = sent[3]["messages"];
  ASSERT_EQ(first.size(), 1u);
  ASSERT_EQ(third.size(), 5u);
  EXPECT_EQ(third[0], first[0]);
  EXPECT_EQ(third[1], (nlohmann::json{{"role", "assistant"}, {"content", "xxx"}}));
  EXPECT_EQ(third[3], third[1]);
  ASSERT_EQ(fourth.size(), 1u);  // a new chat, with the same beginning
  const std::string a = first[0]["content"], b = fourth[0]["content"];
  EXPECT_EQ(std::count(a.begin(), a.begin() + static_cast<long>(a.find('\n')), ' '), 49);
  EXPECT_EQ(a.substr(0, a.find('\n')), b.substr(0, b.find('\n')));
  EXPECT_NE(a, b);
  EXPECT_EQ(std::string(third[2]["content"]).find(a.substr(0, a.find('\n'))), std::string::npos);
  const TrafficRow row = summarize(result.points[0]);
  ASSERT_EQ(row.turn_ttft_seconds.size(), 3u);
  EXPECT_EQ(row.turn_ttft_seconds[0].count, 2u);
  EXPECT_EQ(row.turn_ttft_seconds[2].count, 1u);
  options.arrivals = {{.rate = 5}};
  EXPECT_THROW(run(options), Error);
}

TEST(Traffic, AFailedTurnEndsItsChat) {
  FakeChatServer server({.first_delay = 0ms, .gap = 0ms, .refuse_from_request = 1});
  TrafficOptions options = options_for(server.url(), {.num_clients = 1});
  options.num_turns = 9;
  options.num_requests = 3;
  run(options);
  const auto sent = server.requests();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[1]["messages"].size(), 3u);
  EXPECT_EQ(sent[2]["messages"].size(), 1u);
}

TEST_P(TrafficOfBothApis, ClientsThatLeaveAreCountedApart) {
  FakeChatServer server({.first_delay = 0ms, .gap = 1ms, .num_tokens = 40});
  TrafficOptions options = options_for(server.url(), {.num_clients = 4});
  options.api = GetParam();
  options.num_requests = 60;
  options.cancel_rate = 0.5;
  const TrafficResult result = run(options);
  const TrafficPoint& point = result.points[0];
  const TrafficRow row = summarize(point, parse_goal("ttft<60s,e2e<60s"));
  EXPECT_EQ(row.num_completed + row.num_left, 60);
  EXPECT_GT(row.num_left, 15);
  EXPECT_LT(row.num_left, 45);
  EXPECT_EQ(row.num_errors + row.num_cut_off, 0);
  EXPECT_DOUBLE_EQ(row.goal->share_good, 1);
  EXPECT_TRUE(row.goal->is_met) << row.goal->missed;
  for (const TrafficRecord& request : point.requests) {
    EXPECT_EQ(request.error, "");
    EXPECT_EQ(request.has_left, request.leaves_at > 0);
    if (!request.has_left) continue;
    EXPECT_GE(request.pieces.size(), static_cast<size_t>(request.leaves_at));
    EXPECT_LT(request.pieces.size(), 40u);
  }
  EXPECT_NE(traffic_table_text(summarize(result), result).find(" cancelled"), std::string::npos);
  options.cancel_rate = 1;
  options.num_requests = 8;
  EXPECT_EQ(summarize(run(options).points[0]).num_left, 8);
  options.cancel_rate = 1.5;
  EXPECT_THROW(run(options), Error);
}

}  // namespace
}  // namespace sluice::measure
