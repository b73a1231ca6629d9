#include "measure/traffic_report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace sluice::measure {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TrafficRecord reply(int index, int due_ms, const std::vector<int>& pieces_ms, int num_tokens) {
  TrafficRecord record;
  record.index = index;
  record.due = record.sent = milliseconds(due_ms);
  for (int time : pieces_ms) record.pieces.push_back(milliseconds(time));
  record.ended = pieces_ms.empty() ? record.sent : record.pieces.back();
  record.has_usage = true;
  record.num_output_tokens = num_tokens;
  record.figures.num_prompt_tokens = 30;
  record.http_status = 200;
  return record;
}

// 10 s of two clients: two replies (one over the end), a refusal, a failure and two cut off.
TrafficPoint point_of_everything() {
  TrafficPoint point{.arrivals = {.num_clients = 2}, .begin = seconds(1), .end = seconds(11)};
  point.client_cpu_seconds = 0.5;
  point.requests = {reply(0, 1000, {1100, 1200, 1400, 1500}, 8),
                    reply(1, 1000, {1300, 12000}, 4),
                    reply(2, 2000, {}, 0),
                    reply(3, 2000, {2500}, 1),
                    reply(4, 9000, {9400, 9500}, 2),
                    reply(5, 10000, {}, 0)};
  point.requests[2].http_status = 503;
  point.requests[2].error = "HTTP 503: busy";
  point.requests[2].failure_kind = "HTTP 503";
  point.requests[3].error = "broken";
  point.requests[4].was_cancelled = point.requests[5].was_cancelled = true;
  return point;
}

TEST(TrafficReport, CountsEveryRequestOnce) {
  const TrafficRow row = summarize(point_of_everything());
  EXPECT_EQ(row.num_completed, 2);
  EXPECT_EQ(row.num_refused, 1);
  EXPECT_EQ(row.num_errors, 1);
  EXPECT_EQ(row.num_cut_off, 2);
  EXPECT_EQ(row.num_unanswered, 1);
  EXPECT_DOUBLE_EQ(row.seconds, 10);
  EXPECT_DOUBLE_EQ(row.requests_per_second, 0.6);
  EXPECT_DOUBLE_EQ(row.mean_output_tokens, 6);
  EXPECT_DOUBLE_EQ(row.mean_prompt_tokens, 30);
  EXPECT_DOUBLE_EQ(row.client_cpu_share, 0.05);
}

TEST(TrafficReport, RatesCountWhatArrivedInTheSpan) {
  // 8 tokens; 2 of the 4 of the second (its other piece came too late); one piece of the broken
  // one and two of the one cut off, each worth 12 / 6 tokens as in the replies that completed.
  EXPECT_DOUBLE_EQ(summarize(point_of_everything()).tokens_per_second, (8 + 2 + 3 * 2) / 10.0);
}

TEST(TrafficReport, LatenciesAreOverAllRepliesTogether) {
  const TrafficRow row = summarize(point_of_everything());
  EXPECT_NEAR(row.ttft_seconds.p50, 0.3, 1e-9);  // of 0.1, 0.3, 0.4, 0.5
  EXPECT_NEAR(row.ttft_seconds.p99, 0.5, 1e-9);
  EXPECT_NEAR(row.itl_seconds.p50, 0.1, 1e-9);  // of 0.1, 0.1, 0.1, 0.2, 10.7
  EXPECT_NEAR(row.itl_seconds.p95, 10.7, 1e-9);
}

// As guidellm and aiperf have it: time from the first token to the last, over the tokens less one.
TEST(TrafficReport, ReplyItlIsTheMeanOfEachCompletedReply) {
  const TrafficRow row = summarize(point_of_everything());
  EXPECT_NEAR(row.reply_itl_seconds.p50, 0.4 / 7, 1e-9);
  EXPECT_NEAR(row.reply_itl_seconds.p95, 10.7 / 3, 1e-9);
  EXPECT_FALSE(reply(0, 1000, {1500}, 1).itl_seconds().has_value());
  EXPECT_FALSE(reply(0, 1000, {}, 0).itl_seconds().has_value());
}

TEST(TrafficReport, TtftCountsFromTheArrivalNotFromALateSending) {
  TrafficRecord record = reply(0, 1000, {1500}, 1);
  record.sent = milliseconds(1400);
  EXPECT_NEAR(record.ttft_seconds().value(), 0.5, 1e-9);
  EXPECT_FALSE(reply(0, 1000, {}, 0).ttft_seconds().has_value());
}

TEST(TrafficReport, PrintsTheTable) {
  TrafficResult result;
  result.points = {point_of_everything()};
  result.points.push_back({.arrivals = {.rate = 2.5}, .begin = seconds(0), .end = seconds(10)});
  result.points[0].requests[0].figures.num_cached_tokens = 16;
  EXPECT_EQ(traffic_table_text(summarize(result), result),
            "                       requests              tokens      end to end, s          TTFT, "
            "ms           ITL, ms\n"
            "traffic             done       /s  of a reply   /s in all      p50      p95      p50  "
            "    p95      p50      p95\n"
            "2 clients              2     0.10         6.0         1.6     0.50    11.00      300  "
            "    500    100.0  10700.0  1 refused  1 failed  2 cut off\n"
            "2.5 requests/s         0     0.00           -         0.0        -        -        -  "
            "      -        -        -\n"
            "\n"
            "2 clients                            mean      min      p50      p90      p95      "
            "p99      max       +-\n"
            "  end to end, s                      5.75     0.50     0.50    11.00    11.00    "
            "11.00    11.00     7.42\n"
            "  first token (TTFT), ms              325      100      300      500      500      "
            "500      500      171\n"
            "  first to second token, ms        3633.3    100.0    100.0  10700.0  10700.0  "
            "10700.0  10700.0   6119.9\n"
            "  between tokens (ITL), ms         2240.0    100.0    100.0  10700.0  10700.0  "
            "10700.0  10700.0   4729.5\n"
            "  a reply's mean ITL (TPOT), ms    1811.9     57.1     57.1   3566.7   3566.7   "
            "3566.7   3566.7   2481.6\n"
            "  speed of a reply, tokens/s          8.9      0.3      0.3     17.5     17.5     "
            "17.5     17.5     12.2\n"
            "\n"
            "16 prompt tokens came from the server's prefix cache.\n"
            "1 requests were cut off before their first token: the TTFT leaves them out.\n"
            "Failures with 2 clients: 1 HTTP 503, 1 other.\n"
            "The first failure: broken\n");
}

TEST(TrafficReport, SaysHowTheGoalWasMet) {
  TrafficResult result;
  result.points = {point_of_everything()};
  const Goal goal = parse_goal("ttft_p95<1s,e2e_max<8s");
  const std::string text = traffic_table_text(summarize(result, goal), result, goal);
  EXPECT_NE(text.find("Goal ttft_p95<1s,e2e_max<8s:\n"
                      "  2 clients        missed; goodput 0.1 requests/s (16.7% of the requests "
                      "hold it); 2 of 6 requests were refused or failed\n"),
            std::string::npos)
      << text;
}

TEST(TrafficReport, PrintsCsv) {
  TrafficResult result;
  result.points = {point_of_everything()};
  result.points[0].requests.resize(1);
  const std::string csv = traffic_table_csv(summarize(result));
  EXPECT_EQ(
      csv.find(
          "clients,rate,speedup,seconds,completed,refused,failed,cancelled,cut_off,prompt_tokens,"
          "output_tokens,tokens_per_s,completed_per_s,client_cpu_share,e2e_mean_s,"
          "e2e_min_s,e2e_p50_s,e2e_p90_s,e2e_p95_s,e2e_p99_s,e2e_max_s,e2e_deviation_s,"
          "ttft_mean_s,"),
      0u);
  // One value has no deviation.
  EXPECT_NE(
      csv.find("\r\n2,,,10,1,0,0,0,0,30,8,0.8,0.1,0.05,0.5,0.5,0.5,0.5,0.5,0.5,0.5,,0.1,0.1,"),
      std::string::npos)
      << csv;
  EXPECT_TRUE(csv.ends_with("0.0571429,\r\n"));
  const size_t num_lines = std::count(csv.begin(), csv.end(), '\n');
  EXPECT_EQ(num_lines, 2u);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), ','),
            2 * std::count(csv.begin(), csv.begin() + csv.find('\r'), ','));
}

TEST(TrafficReport, WritesEverythingAsJson) {
  TrafficOptions options;
  options.url = http::parse_url("127.0.0.1");
  options.model = "m\"\xff";  // not UTF-8
  options.kind = TrafficKind::kMixed;
  TrafficResult result;
  result.points = {point_of_everything()};
  const auto report =
      traffic_document(options, result, summarize(result), std::nullopt, nlohmann::json::object());
  EXPECT_EQ(report["test"], "mixed");
  EXPECT_EQ(report["mix"], "sharegpt");
  const auto& point = report["points"].at(0);
  EXPECT_EQ(point["clients"], 2);
  EXPECT_TRUE(point["rate"].is_null());
  EXPECT_EQ(point["num_refused"], 1);
  EXPECT_NEAR(point["ttft_seconds"]["p95"].get<double>(), 0.5, 1e-9);
  ASSERT_EQ(point["requests"].size(), 6u);
  EXPECT_EQ(point["requests"][0]["pieces_ns"][1], 1'200'000'000);
  EXPECT_EQ(point["requests"][3]["error"], "broken");
  EXPECT_EQ(point["requests"][4]["is_cut_off"], true);
}

TEST(TrafficReport, SaysWhenTheLoadGeneratorWasBusyOrCountedItself) {
  TrafficResult result;
  result.points = {point_of_everything()};
  result.points[0].client_cpu_seconds = 6;
  result.points[0].requests[0].has_usage = false;
  const std::string text = traffic_table_text(summarize(result), result);
  EXPECT_NE(text.find("took more than half a core"), std::string::npos);
  EXPECT_NE(text.find("pieces of text were counted"), std::string::npos);
}

TEST(TrafficReport, DescribesProgressInOneLine) {
  TrafficProgress progress{.arrivals = {.num_clients = 16},
                           .num_running = 16,
                           .num_done = 25,
                           .num_refused = 3,
                           .num_errors = 1,
                           .tokens_per_second = 61.23};
  EXPECT_EQ(progress_text(progress),
            "16 clients: 16 running, 25 done, 61.2 tokens/s, 3 refused, 1 failed");
  progress = {.arrivals = {.rate = 0.5}, .num_done = 2, .is_last = true};
  EXPECT_EQ(progress_text(progress), "0.5 requests/s: 2 done, 0.0 tokens/s");
}

}  // namespace
}  // namespace sluice::measure
