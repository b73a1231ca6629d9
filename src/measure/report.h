#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "measure/distribution.h"
#include "measure/loadtest.h"

// From raw records to the article's table: pure functions.
namespace sluice::measure {

// One line of the table: all requests of one workload at one concurrency. Means are over the
// requests that succeeded; NaN where there is none.
struct ReportRow {
  Workload workload;
  int concurrency = 0;
  int num_requests = 0;  // that succeeded
  int num_errors = 0;
  double mean_prompt_tokens = 0;
  double mean_output_tokens = 0;
  double mean_seconds = 0;             // from sending to the last byte
  double tokens_per_second = 0;        // of one request: mean of output tokens / seconds
  double total_tokens_per_second = 0;  // of all together: tokens of a wave / length of the wave
  double mean_ttft_seconds = 0;
  double p95_ttft_seconds = 0;
  Distribution seconds = {}, ttft_seconds = {}, speed = {};  // of which those are means
  bool has_usage = true;                                     // every count came from the server
  int num_cached_tokens = 0;  // prompt tokens from the server's cache, where it tells them
};

// Rows in the order of the records; cancelled requests are left out.
std::vector<ReportRow> summarize(std::span<const LoadRecord> requests);

// What the table is about, in two or three lines.
std::string header_text(const LoadTestOptions& options, const LoadTestResult& result);

// The table for people; empty for no rows. Notes below it say what needs saying (counts that are
// not the server's, cache hits, failures with the first one's text).
std::string table_text(const std::vector<ReportRow>& rows, const std::vector<LoadRecord>& requests);

// The table for programs, with a header line (RFC 4180).
std::string table_csv(const std::vector<ReportRow>& rows);

// The rows alone as a JSON array: what is kept of a run (run_book.h).
std::string lines_json(const std::vector<ReportRow>& rows);

// Options, rows and every request with its raw times, as one JSON object, with the members of
// `beside` (an object: "machine", "model_facts", "timeline"; see run.h) at its end.
nlohmann::ordered_json report_document(const LoadTestOptions& options, const LoadTestResult& result,
                                       const nlohmann::json& beside);

// "output 100 words, 4 at a time: 3 running, 5 of 12 done, 61.2 tokens/s, 1 failed"
std::string progress_text(const LoadTestProgress& progress);

}  // namespace sluice::measure
