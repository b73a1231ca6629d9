#include "measure/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/print.h"
#include "base/units.h"
#include "measure/distribution_json.h"

namespace sluice::measure {
namespace {

using nlohmann::ordered_json;

double mean(const std::vector<double>& values) {
  if (values.empty()) return kNone;
  double sum = 0;
  for (double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Output tokens of all waves, over the time that the waves took (from the first sending to the last
// byte; the pauses between waves do not count).
double total_rate(const std::vector<const LoadRecord*>& requests) {
  std::map<int, std::pair<std::chrono::nanoseconds, std::chrono::nanoseconds>> waves;
  double num_tokens = 0;
  for (const LoadRecord* request : requests) {
    num_tokens += request->num_output_tokens;
    const auto [wave, is_new] =
        waves.emplace(request->wave, std::pair(request->sent, request->ended));
    wave->second.first = std::min(wave->second.first, request->sent);
    wave->second.second = std::max(wave->second.second, request->ended);
  }
  double seconds = 0;
  for (const auto& [number, span] : waves) {
    seconds += std::chrono::duration<double>(span.second - span.first).count();
  }
  return seconds > 0 ? num_tokens / seconds : kNone;
}

ReportRow make_row(const std::vector<const LoadRecord*>& requests) {
  ReportRow row;
  row.workload = requests.front()->workload;
  row.concurrency = requests.front()->concurrency;
  std::vector<const LoadRecord*> successes;
  std::vector<double> prompt_tokens, output_tokens, seconds, rates, ttfts;
  for (const LoadRecord* request : requests) {
    if (!request->is_success()) {
      ++row.num_errors;
      continue;
    }
    successes.push_back(request);
    if (request->figures.num_prompt_tokens >= 0) {
      prompt_tokens.push_back(request->figures.num_prompt_tokens);
    }
    output_tokens.push_back(request->num_output_tokens);
    seconds.push_back(request->total_seconds());
    rates.push_back(request->num_output_tokens / std::max(request->total_seconds(), 1e-9));
    if (const auto ttft = request->first_token_seconds()) ttfts.push_back(*ttft);
    row.has_usage = row.has_usage && request->has_usage;
    row.num_cached_tokens += std::max(request->figures.num_cached_tokens, 0);
  }
  row.num_requests = static_cast<int>(successes.size());
  row.mean_prompt_tokens = mean(prompt_tokens);
  row.mean_output_tokens = mean(output_tokens);
  row.mean_seconds = mean(seconds);
  row.tokens_per_second = mean(rates);
  row.total_tokens_per_second = total_rate(successes);
  row.mean_ttft_seconds = mean(ttfts);
  row.p95_ttft_seconds = percentile(ttfts, 0.95);
  row.seconds = distribution_of(std::move(seconds));
  row.ttft_seconds = distribution_of(std::move(ttfts));
  row.speed = distribution_of(std::move(rates));
  return row;
}

std::string table_of(const std::vector<ReportRow>& rows, WorkloadKind kind) {
  std::string lines;
  for (const ReportRow& row : rows) {
    if (row.workload.kind != kind) continue;
    lines += print("%6d %9d", row.workload.num_words, row.concurrency) +
             cell(row.mean_output_tokens, 12, 1) + cell(row.mean_seconds, 10, 2) +
             cell(row.tokens_per_second, 14, 1) + cell(row.total_tokens_per_second, 12, 1) +
             cell(row.mean_ttft_seconds * 1e3, 12, 0) + cell(row.p95_ttft_seconds * 1e3, 10, 0) +
             (row.num_errors > 0 ? print("  %d failed", row.num_errors) : "") + "\n";
  }
  if (lines.empty()) return "";
  const char* prompt = kind == WorkloadKind::kOutput
                           ? "Output test: tell a story in N words:"
                           : "Input test: give a title for below text in 10 words: (484 words)";
  return std::string(prompt) +
         "\n"
         " words  requests  avg tokens  time, s  tokens/s each      in all    TTFT, ms       "
         "p95\n" +
         lines;
}

std::string notes_of(const std::vector<ReportRow>& rows, const std::vector<LoadRecord>& requests) {
  std::string notes;
  int num_cached = 0;
  bool has_usage = true;
  for (const ReportRow& row : rows) {
    num_cached += row.num_cached_tokens;
    has_usage = has_usage && row.has_usage;
  }
  if (!has_usage) {
    notes += "The server did not count the tokens of every reply; pieces of text were counted.\n";
  }
  if (num_cached > 0) {
    notes += print("%d prompt tokens came from the server's prefix cache.\n", num_cached);
  }
  int num_failed = 0;
  const LoadRecord* first_failed = nullptr;
  FailureCounts failures;
  for (const LoadRecord& request : requests) {
    if (request.error.empty() || request.was_cancelled) continue;
    ++num_failed;
    failures.add(request);
    if (first_failed == nullptr) first_failed = &request;
  }
  if (first_failed != nullptr) {
    notes += print("%d of %zu requests failed: ", num_failed, requests.size()) + failures.text() +
             "; the first: " + first_failed->error + "\n";
  }
  return notes;
}

// JSON has no NaN.
ordered_json row_json(const ReportRow& row) {
  return {{"test", workload_name(row.workload.kind)},
          {"words", row.workload.num_words},
          {"requests_at_a_time", row.concurrency},
          {"num_requests", row.num_requests},
          {"num_errors", row.num_errors},
          {"mean_prompt_tokens", number_json(row.mean_prompt_tokens)},
          {"mean_output_tokens", number_json(row.mean_output_tokens)},
          {"mean_seconds", number_json(row.mean_seconds)},
          {"tokens_per_second_each", number_json(row.tokens_per_second)},
          {"tokens_per_second_in_all", number_json(row.total_tokens_per_second)},
          {"ttft_mean_seconds", number_json(row.mean_ttft_seconds)},
          {"ttft_p95_seconds", number_json(row.p95_ttft_seconds)},
          {"e2e_seconds", distribution_json(row.seconds)},
          {"ttft_seconds", distribution_json(row.ttft_seconds)},
          {"reply_tokens_per_second", distribution_json(row.speed)},
          {"tokens_counted_by", row.has_usage ? "server" : "client"},
          {"num_cached_tokens", row.num_cached_tokens}};
}

ordered_json request_json(const LoadRecord& request) {
  ordered_json pieces = ordered_json::array();
  for (const auto time : request.pieces) pieces.push_back(time.count());
  const auto count = [](int64_t value) { return value < 0 ? ordered_json() : ordered_json(value); };
  return {{"index", request.index},
          {"test", workload_name(request.workload.kind)},
          {"words", request.workload.num_words},
          {"requests_at_a_time", request.concurrency},
          {"wave", request.wave},
          {"seed", request.seed},
          {"http_status", request.http_status},
          {"error", request.error.empty() ? ordered_json() : ordered_json(request.error)},
          {"failure_kind", request.failure_kind},
          {"finish_reason", request.figures.finish_reason},
          {"prompt_tokens", count(request.figures.num_prompt_tokens)},
          {"cached_tokens", count(request.figures.num_cached_tokens)},
          {"output_tokens", request.num_output_tokens},
          {"tokens_counted_by", request.has_usage ? "server" : "client"},
          {"server_load_ns", count(request.figures.load_duration.count())},
          {"server_prefill_ns", count(request.figures.prefill_duration.count())},
          {"server_queue_ns", count(request.figures.queue_duration.count())},
          {"server_decode_ns", count(request.figures.decode_duration.count())},
          {"sent_ns", request.sent.count()},
          {"ended_ns", request.ended.count()},
          {"pieces_ns", std::move(pieces)}};
}

}  // namespace

std::vector<ReportRow> summarize(std::span<const LoadRecord> requests) {
  using Key = std::tuple<WorkloadKind, int, int>;
  std::vector<Key> order;
  std::map<Key, std::vector<const LoadRecord*>> groups;
  for (const LoadRecord& request : requests) {
    if (request.was_cancelled) continue;
    const Key key{request.workload.kind, request.workload.num_words, request.concurrency};
    std::vector<const LoadRecord*>& group = groups[key];
    if (group.empty()) order.push_back(key);
    group.push_back(&request);
  }
  std::vector<ReportRow> rows;
  for (const Key& key : order) rows.push_back(make_row(groups[key]));
  return rows;
}

std::string header_text(const LoadTestOptions& options, const LoadTestResult& result) {
  std::string text =
      options.model + " at " + options.url.text() + " (" + std::string(api_name(options.api)) +
      " API), seed " + std::to_string(options.seed) +
      (options.same_prompt ? ", the same prompt and seed for every request" : "") + "\n";
  if (options.warm_up) {
    text += print("first request, not counted (it may load the model): %.2f s\n",
                  result.warm_up_seconds);
  }
  return text;
}

std::string table_text(const std::vector<ReportRow>& rows,
                       const std::vector<LoadRecord>& requests) {
  const std::string output = table_of(rows, WorkloadKind::kOutput);
  const std::string input = table_of(rows, WorkloadKind::kInput);
  const std::string notes = notes_of(rows, requests);
  std::string text;
  for (const std::string& part : {output, input, notes}) {
    if (!text.empty() && !part.empty()) text += "\n";
    text += part;
  }
  return text;
}

std::string table_csv(const std::vector<ReportRow>& rows) {
  std::string text =
      "test,words,requests,avg_tokens,time_s,tokens_per_s_each,tokens_per_s_in_all,ttft_mean_s,"
      "ttft_p95_s,num_requests,num_errors\r\n";
  auto field = [](double value) {
    return std::isnan(value) ? std::string() : print("%.6g", value);
  };
  for (const ReportRow& row : rows) {
    text += std::string(workload_name(row.workload.kind)) +
            print(",%d,%d,", row.workload.num_words, row.concurrency) +
            field(row.mean_output_tokens) + "," + field(row.mean_seconds) + "," +
            field(row.tokens_per_second) + "," + field(row.total_tokens_per_second) + "," +
            field(row.mean_ttft_seconds) + "," + field(row.p95_ttft_seconds) +
            print(",%d,%d\r\n", row.num_requests, row.num_errors);
  }
  return text;
}

std::string lines_json(const std::vector<ReportRow>& rows) {
  ordered_json lines = ordered_json::array();
  for (const ReportRow& row : rows) lines.push_back(row_json(row));
  return lines.dump();
}

nlohmann::ordered_json report_document(const LoadTestOptions& options, const LoadTestResult& result,
                                       const nlohmann::json& beside) {
  const auto optional = [](const auto& value) {
    return value ? ordered_json(*value) : ordered_json();
  };
  ordered_json rows = ordered_json::array();
  for (const ReportRow& row : summarize(result.requests)) rows.push_back(row_json(row));
  ordered_json requests = ordered_json::array();
  for (const LoadRecord& request : result.requests) requests.push_back(request_json(request));
  ordered_json report = {{"program", "sluice loadtest"},
                         {"started_at", format_rfc3339(result.started_at)},
                         {"url", options.url.text()},
                         {"api", api_name(options.api)},
                         {"model", options.model},
                         {"repeat", options.repeat},
                         {"seed", options.seed},
                         {"same_prompt", options.same_prompt},
                         {"temperature", optional(options.temperature)},
                         {"max_tokens", optional(options.max_tokens)},
                         {"warm_up_seconds", result.warm_up_seconds},
                         {"was_stopped", result.was_stopped},
                         {"rows", std::move(rows)},
                         {"requests", std::move(requests)}};
  for (const auto& [name, value] : beside.items()) report[name] = value;
  return report;
}

std::string progress_text(const LoadTestProgress& progress) {
  if (progress.is_warm_up) return "warming up: waiting for the first reply";
  std::string text = print("%s %d words, %d at a time: ",
                           progress.workload.kind == WorkloadKind::kOutput ? "output" : "input",
                           progress.workload.num_words, progress.concurrency);
  if (!progress.is_last) text += print("%d running, ", progress.num_running);
  text += print("%d of %d done, %.1f tokens/s", progress.num_done, progress.num_total,
                progress.tokens_per_second);
  if (progress.num_errors > 0) text += print(", %d failed", progress.num_errors);
  return text;
}

}  // namespace sluice::measure
