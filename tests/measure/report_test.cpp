#include "measure/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace sluice::measure {
namespace {

using std::chrono::milliseconds;

LoadRecord record(int words, int concurrency, int wave, int sent_ms, int first_ms, int ended_ms,
                  int num_tokens) {
  LoadRecord request;
  request.workload = output_workload(words);
  request.concurrency = concurrency;
  request.wave = wave;
  request.sent = milliseconds(sent_ms);
  request.pieces = {milliseconds(first_ms)};
  request.ended = milliseconds(ended_ms);
  request.has_usage = true;
  request.num_output_tokens = num_tokens;
  request.figures.num_prompt_tokens = 12;
  request.http_status = 200;
  return request;
}

std::vector<LoadRecord> two_waves() {
  std::vector<LoadRecord> requests = {
      record(25, 1, 0, 0, 100, 1000, 50),     record(50, 2, 1, 5000, 5200, 7000, 100),
      record(50, 2, 1, 5000, 5400, 6000, 80), record(50, 2, 2, 8000, 8100, 9000, 60),
      record(50, 2, 2, 8000, 8300, 9000, 40),
  };
  for (size_t i = 0; i < requests.size(); ++i) requests[i].index = static_cast<int>(i);
  return requests;
}

TEST(Report, ComputesTheArticlesFigures) {
  const std::vector<ReportRow> rows = summarize(two_waves());
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_DOUBLE_EQ(rows[0].tokens_per_second, 50);
  EXPECT_DOUBLE_EQ(rows[0].mean_ttft_seconds, 0.1);
  const ReportRow& row = rows[1];
  EXPECT_EQ(row.num_requests, 4);
  EXPECT_DOUBLE_EQ(row.mean_prompt_tokens, 12);
  EXPECT_DOUBLE_EQ(row.mean_output_tokens, 70);
  EXPECT_DOUBLE_EQ(row.mean_seconds, (2.0 + 1 + 1 + 1) / 4);
  EXPECT_DOUBLE_EQ(row.tokens_per_second, (50.0 + 80 + 60 + 40) / 4);
  // 280 tokens in waves of 2 s and 1 s; the second between them does not count.
  EXPECT_DOUBLE_EQ(row.total_tokens_per_second, 280.0 / 3);
  EXPECT_DOUBLE_EQ(row.mean_ttft_seconds, (0.2 + 0.4 + 0.1 + 0.3) / 4);
  EXPECT_DOUBLE_EQ(row.p95_ttft_seconds, 0.4);
}

TEST(Report, LeavesFailuresOutOfTheMeansAndCancelledOnesOutAltogether) {
  std::vector<LoadRecord> requests = two_waves();
  requests[1].error = "HTTP 503: busy";
  requests[2].was_cancelled = true;
  const std::vector<ReportRow> rows = summarize(requests);
  EXPECT_EQ(rows[1].num_requests, 2);
  EXPECT_EQ(rows[1].num_errors, 1);
  EXPECT_DOUBLE_EQ(rows[1].mean_output_tokens, 50);
  EXPECT_DOUBLE_EQ(rows[1].total_tokens_per_second, 100);
}

TEST(Report, AReplyWithoutTokensHasNoTimeToTheFirst) {
  std::vector<LoadRecord> requests = two_waves();
  requests[1].pieces.clear();
  requests[1].num_output_tokens = 0;
  EXPECT_FALSE(requests[1].first_token_seconds().has_value());
  const std::vector<ReportRow> rows = summarize(requests);
  EXPECT_EQ(rows[1].num_requests, 4);
  EXPECT_DOUBLE_EQ(rows[1].mean_ttft_seconds, (0.4 + 0.1 + 0.3) / 3);
}

TEST(Report, PercentileIsTheNearestRank) {
  EXPECT_TRUE(std::isnan(percentile({}, 0.5)));
  EXPECT_EQ(percentile({3}, 0.95), 3);
  EXPECT_EQ(percentile({4, 1, 3, 2}, 0.5), 2);
  EXPECT_EQ(percentile({4, 1, 3, 2}, 0), 1);
  EXPECT_EQ(percentile({4, 1, 3, 2}, 1), 4);
  std::vector<double> hundred;
  for (int i = 1; i <= 100; ++i) hundred.push_back(i);
  EXPECT_EQ(percentile(hundred, 0.95), 95);
}

TEST(Report, PrintsTheTable) {
  std::vector<LoadRecord> requests = two_waves();
  requests[4].error = "HTTP 503: busy";
  requests.push_back(record(484, 1, 3, 0, 500, 2280, 16));
  requests.back().workload = input_workload();
  EXPECT_EQ(
      table_text(summarize(requests), requests),
      "Output test: tell a story in N words:\n"
      " words  requests  avg tokens  time, s  tokens/s each      in all    TTFT, ms       p95\n"
      "    25         1        50.0      1.00          50.0        50.0         100       100\n"
      "    50         2        80.0      1.33          63.3        80.0         233       400"
      "  1 failed\n"
      "\n"
      "Input test: give a title for below text in 10 words: (484 words)\n"
      " words  requests  avg tokens  time, s  tokens/s each      in all    TTFT, ms       p95\n"
      "   484         1        16.0      2.28           7.0         7.0         500       500\n"
      "\n"
      "1 of 6 requests failed: 1 other; the first: HTTP 503: busy\n");
}

TEST(Report, PrintsDashesWhereNothingSucceeded) {
  std::vector<LoadRecord> requests = {record(25, 1, 0, 0, 1, 2, 3)};
  requests[0].error = "broken";
  EXPECT_NE(table_text(summarize(requests), requests)
                .find("    25         1           -         -             -           -"
                      "           -         -  1 failed\n"),
            std::string::npos);
}

TEST(Report, SaysWhenTokensWereNotCountedByTheServerOrCameFromItsCache) {
  std::vector<LoadRecord> requests = two_waves();
  requests[0].has_usage = false;
  requests[1].figures.num_cached_tokens = 30;
  const std::string text = table_text(summarize(requests), requests);
  EXPECT_NE(text.find("pieces of text were counted"), std::string::npos);
  EXPECT_NE(text.find("30 prompt tokens came from the server's prefix cache"), std::string::npos);
}

TEST(Report, PrintsCsv) {
  std::vector<LoadRecord> requests = two_waves();
  requests[0].error = "broken";
  EXPECT_EQ(table_csv(summarize(requests)),
            "test,words,requests,avg_tokens,time_s,tokens_per_s_each,tokens_per_s_in_all,"
            "ttft_mean_s,ttft_p95_s,num_requests,num_errors\r\n"
            "output,25,1,,,,,,,0,1\r\n"
            "output,50,2,70,1.25,57.5,93.3333,0.25,0.4,4,0\r\n");
}

TEST(Report, WritesEveryRequestAsJson) {
  LoadTestOptions options;
  options.url = http::parse_url("127.0.0.1");
  options.model = "m\"\xff";  // not UTF-8
  LoadTestResult result;
  result.requests = two_waves();
  result.requests[0].error = "broken";
  const auto report = report_document(options, result, nlohmann::json::object());
  ASSERT_EQ(report["requests"].size(), 5u);
  EXPECT_EQ(report["rows"].size(), 2u);
  EXPECT_TRUE(report["rows"][0]["mean_seconds"].is_null());
  const auto& request = report["requests"][1];
  EXPECT_EQ(request["sent_ns"], 5'000'000'000);
  EXPECT_EQ(request["pieces_ns"][0], 5'200'000'000);
  EXPECT_EQ(request["ended_ns"], 7'000'000'000);
  EXPECT_EQ(request["output_tokens"], 100);
  EXPECT_EQ(request["prompt_tokens"], 12);
  EXPECT_TRUE(request["cached_tokens"].is_null());
  EXPECT_TRUE(request["error"].is_null());
  EXPECT_EQ(report["requests"][0]["error"], "broken");
}

TEST(Report, DescribesProgressInOneLine) {
  LoadTestProgress progress{.workload = output_workload(100),
                            .concurrency = 4,
                            .num_running = 3,
                            .num_done = 5,
                            .num_total = 12,
                            .num_errors = 1,
                            .tokens_per_second = 61.23};
  EXPECT_EQ(progress_text(progress),
            "output 100 words, 4 at a time: 3 running, 5 of 12 done, 61.2 tokens/s, 1 failed");
  progress.is_last = true;
  progress.num_errors = 0;
  EXPECT_EQ(progress_text(progress), "output 100 words, 4 at a time: 5 of 12 done, 61.2 tokens/s");
}

}  // namespace
}  // namespace sluice::measure
