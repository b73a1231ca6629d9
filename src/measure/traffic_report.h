#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "measure/distribution.h"
#include "measure/goodput.h"
#include "measure/traffic.h"

// From raw records of lasting traffic to its table: pure functions.
namespace sluice::measure {

// One line of the table.
struct TrafficRow {
  Arrivals arrivals;
  double seconds = 0;  // the span of sending, that rates are taken over
  int num_completed = 0;
  int num_refused = 0;              // 503 or 429
  int num_errors = 0;               // others that failed
  int num_left = 0;                 // cancelled by their client, as asked for
  int num_cut_off = 0;              // still running when the test ended
  int num_unanswered = 0;           // of these: without a first token, hence missing in the TTFT
  FailureCounts failures = {};      // of num_errors and num_refused
  double requests_per_second = 0;   // sent, refused ones included
  double completed_per_second = 0;  // of those whose last byte came in the span
  double mean_prompt_tokens = 0;    // of the completed; NaN where there is none or no count
  double mean_output_tokens = 0;
  // Tokens that arrived in the span, of all requests together. A piece of text counts as many
  // tokens as its reply had for each of its pieces (as the completed ones' mean when cut off).
  double tokens_per_second = 0;
  Distribution e2e_seconds = {};   // of the completed, since they were due, to the last byte
  Distribution ttft_seconds = {};  // of all that got a first token
  Distribution second_token_seconds = {};  // behind the first one
  Distribution queue_seconds = {};         // of the completed, as the server tells it
  Distribution itl_seconds = {};  // gaps between the pieces of a reply, of all replies together
  // The mean ITL of each completed reply: what guidellm and aiperf call the ITL, vLLM the TPOT.
  Distribution reply_itl_seconds = {};
  Distribution reply_speed = {};  // one over it: tokens a second, as one reader sees them come
  std::vector<Distribution> turn_ttft_seconds = {};  // of chats of several turns, by turn
  std::optional<GoalResult> goal = {};
  double client_cpu_share = 0;  // of one core, taken by the load generator itself
  bool has_usage = true;        // every count came from the server
  int num_cached_tokens = 0;    // prompt tokens from the server's cache, where it tells them
};

TrafficRow summarize(const TrafficPoint& point, const std::optional<Goal>& goal = {});
std::vector<TrafficRow> summarize(const TrafficResult& result,
                                  const std::optional<Goal>& goal = {});  // a row a point

std::string arrivals_text(const Arrivals& arrivals);  // "16 clients"

// What the table is about, in two or three lines.
std::string traffic_header_text(const TrafficOptions& options, const TrafficResult& result);

// The table for people, with notes on what needs saying.
std::string traffic_table_text(const std::vector<TrafficRow>& rows, const TrafficResult& result,
                               const std::optional<Goal>& goal = {});

// The table for programs, with a header line (RFC 4180).
std::string traffic_table_csv(const std::vector<TrafficRow>& rows);

// The rows alone as a JSON array: what is kept of a run (run_book.h).
std::string traffic_lines_json(const std::vector<TrafficRow>& rows);

// Options, rows and every request with its raw times, as one JSON object, with the members of
// `beside` (an object: "machine", "model_facts", "timeline"; see run.h) at its end.
nlohmann::ordered_json traffic_document(const TrafficOptions& options, const TrafficResult& result,
                                        const std::vector<TrafficRow>& rows,
                                        const std::optional<Goal>& goal,
                                        const nlohmann::json& beside);

// "16 clients: 16 running, 25 done, 61.2 tokens/s, 3 refused, 1 failed"
std::string progress_text(const TrafficProgress& progress);

}  // namespace sluice::measure
