#include "measure/traffic_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/print.h"
#include "base/units.h"
#include "measure/report.h"

namespace sluice::measure {
namespace {

using nlohmann::ordered_json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double seconds_of(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

double ratio(double sum, double count) { return count > 0 ? sum / count : kNone; }

Percentiles percentiles(const std::vector<double>& values) {
  return {percentile(values, 0.5), percentile(values, 0.95), percentile(values, 0.99)};
}

bool counts_by_usage(const TrafficRecord& request) {
  return request.is_success() && request.has_usage && !request.pieces.empty();
}

double tokens_in_span(const TrafficPoint& point) {
  double num_tokens = 0, num_pieces = 0;
  for (const TrafficRecord& request : point.requests) {
    if (!counts_by_usage(request)) continue;
    num_tokens += request.num_output_tokens;
    num_pieces += static_cast<double>(request.pieces.size());
  }
  const double usual_weight = num_pieces > 0 ? num_tokens / num_pieces : 1;
  double sum = 0;
  for (const TrafficRecord& request : point.requests) {
    const auto in_span = std::count_if(request.pieces.begin(), request.pieces.end(),
                                       [&](const auto& time) { return time <= point.end; });
    const double weight = counts_by_usage(request) ? request.num_output_tokens /
                                                         static_cast<double>(request.pieces.size())
                                                   : usual_weight;
    sum += weight * static_cast<double>(in_span);
  }
  return sum;
}

void count_request(const TrafficRecord& request, TrafficRow& row) {
  if (request.was_cancelled) {
    ++row.num_cut_off;
    if (request.pieces.empty()) ++row.num_unanswered;
  } else if (request.is_refused()) {
    ++row.num_refused;
  } else if (!request.is_success()) {
    ++row.num_errors;
  } else {
    ++row.num_completed;
    row.has_usage = row.has_usage && request.has_usage;
    row.num_cached_tokens += std::max(request.figures.num_cached_tokens, 0);
  }
}

std::string arrivals_text(const Arrivals& arrivals) {
  if (arrivals.rate > 0) return print("%g requests/s", arrivals.rate);
  return print("%d client%s", arrivals.num_clients, arrivals.num_clients == 1 ? "" : "s");
}

// A number in a column of the table; "-" when there is none.
std::string cell(double value, int width, int digits) {
  if (std::isnan(value)) return print("%*s", width, "-");
  return print("%*.*f", width, digits, value);
}

std::string cells(const Percentiles& seconds, int digits) {
  return cell(seconds.p50 * 1e3, 9, digits) + cell(seconds.p95 * 1e3, 9, digits) +
         cell(seconds.p99 * 1e3, 9, digits);
}

std::string failures_text(const TrafficRow& row) {
  std::string text;
  if (row.num_refused > 0) text += print("  %d refused", row.num_refused);
  if (row.num_errors > 0) text += print("  %d failed", row.num_errors);
  if (row.num_cut_off > 0) text += print("  %d cut off", row.num_cut_off);
  return text;
}

std::string notes_of(const std::vector<TrafficRow>& rows, const TrafficResult& result) {
  std::string notes;
  int num_cached = 0, num_unanswered = 0;
  bool has_usage = true, is_busy = false;
  for (const TrafficRow& row : rows) {
    num_cached += row.num_cached_tokens;
    num_unanswered += row.num_unanswered;
    has_usage = has_usage && row.has_usage;
    is_busy = is_busy || row.client_cpu_share > 0.5;
  }
  if (!has_usage) {
    notes += "The server did not count the tokens of every reply; pieces of text were counted.\n";
  }
  if (num_cached > 0) {
    notes += print("%d prompt tokens came from the server's prefix cache.\n", num_cached);
  }
  if (num_unanswered > 0) {
    notes += print("%d requests were cut off before their first token: the TTFT leaves them out.\n",
                   num_unanswered);
  }
  if (is_busy) notes += "The load generator itself took more than half a core.\n";
  for (const TrafficPoint& point : result.points) {
    for (const TrafficRecord& request : point.requests) {
      if (request.is_success() || request.was_cancelled || request.is_refused()) continue;
      return notes + "The first failure: " + request.error + "\n";
    }
  }
  return notes;
}

ordered_json number(double value) {
  return std::isnan(value) ? ordered_json() : ordered_json(value);
}

ordered_json percentiles_json(const Percentiles& values) {
  return {{"p50", number(values.p50)}, {"p95", number(values.p95)}, {"p99", number(values.p99)}};
}

ordered_json arrivals_json(const Arrivals& arrivals) {
  ordered_json json = {{"clients", nullptr}, {"rate", nullptr}};
  if (arrivals.rate > 0) {
    json["rate"] = arrivals.rate;
  } else {
    json["clients"] = arrivals.num_clients;
  }
  return json;
}

ordered_json row_json(const TrafficRow& row) {
  ordered_json json = arrivals_json(row.arrivals);
  json["seconds"] = row.seconds;
  json["num_completed"] = row.num_completed;
  json["num_refused"] = row.num_refused;
  json["num_errors"] = row.num_errors;
  json["num_cut_off"] = row.num_cut_off;
  json["num_unanswered"] = row.num_unanswered;
  json["requests_per_second"] = number(row.requests_per_second);
  json["mean_prompt_tokens"] = number(row.mean_prompt_tokens);
  json["mean_output_tokens"] = number(row.mean_output_tokens);
  json["tokens_per_second"] = number(row.tokens_per_second);
  json["ttft_seconds"] = percentiles_json(row.ttft_seconds);
  json["itl_seconds"] = percentiles_json(row.itl_seconds);
  json["reply_itl_seconds"] = percentiles_json(row.reply_itl_seconds);
  json["client_cpu_share"] = number(row.client_cpu_share);
  json["tokens_counted_by"] = row.has_usage ? "server" : "client";
  json["num_cached_tokens"] = row.num_cached_tokens;
  return json;
}

ordered_json request_json(const TrafficRecord& request) {
  ordered_json pieces = ordered_json::array();
  for (const auto time : request.pieces) pieces.push_back(time.count());
  const auto count = [](int64_t value) { return value < 0 ? ordered_json() : ordered_json(value); };
  return {{"index", request.index},
          {"max_tokens", request.max_tokens},
          {"http_status", request.http_status},
          {"error", request.error.empty() ? ordered_json() : ordered_json(request.error)},
          {"is_cut_off", request.was_cancelled},
          {"finish_reason", request.figures.finish_reason},
          {"prompt_tokens", count(request.figures.num_prompt_tokens)},
          {"cached_tokens", count(request.figures.num_cached_tokens)},
          {"output_tokens", request.num_output_tokens},
          {"due_ns", request.due.count()},
          {"sent_ns", request.sent.count()},
          {"ended_ns", request.ended.count()},
          {"pieces_ns", std::move(pieces)}};
}

std::vector<TrafficRow> summarize_all(const TrafficResult& result) {
  std::vector<TrafficRow> rows;
  for (const TrafficPoint& point : result.points) rows.push_back(summarize(point));
  return rows;
}

}  // namespace

TrafficRow summarize(const TrafficPoint& point) {
  TrafficRow row{.arrivals = point.arrivals, .seconds = seconds_of(point.end - point.begin)};
  std::vector<double> ttfts, gaps, reply_itls;
  double prompt_tokens = 0, num_prompts = 0, output_tokens = 0;
  for (const TrafficRecord& request : point.requests) {
    count_request(request, row);
    if (request.is_success()) {
      if (const auto itl = request.itl_seconds()) reply_itls.push_back(*itl);
      output_tokens += request.num_output_tokens;
      if (request.figures.num_prompt_tokens >= 0) {
        prompt_tokens += request.figures.num_prompt_tokens;
        ++num_prompts;
      }
    }
    if (const auto ttft = request.ttft_seconds()) ttfts.push_back(*ttft);
    for (size_t i = 1; i < request.pieces.size(); ++i) {
      gaps.push_back(seconds_of(request.pieces[i] - request.pieces[i - 1]));
    }
  }
  row.mean_prompt_tokens = ratio(prompt_tokens, num_prompts);
  row.mean_output_tokens = ratio(output_tokens, row.num_completed);
  row.requests_per_second = ratio(static_cast<double>(point.requests.size()), row.seconds);
  row.tokens_per_second = ratio(tokens_in_span(point), row.seconds);
  row.client_cpu_share = ratio(point.client_cpu_seconds, row.seconds);
  row.ttft_seconds = percentiles(ttfts);
  row.itl_seconds = percentiles(gaps);
  row.reply_itl_seconds = percentiles(reply_itls);
  return row;
}

std::string traffic_header_text(const TrafficOptions& options, const TrafficResult& result) {
  std::string text = options.model + " at " + options.url.text() + " (" +
                     std::string(api_name(options.api)) + " API), seed " +
                     std::to_string(options.seed) + "\n";
  if (options.kind == TrafficKind::kMixed) {
    text += "prompts and replies of mixed length (" + std::string(mix_name(options.mix)) + ")";
  } else {
    text += print("\"tell a story in %d words:\", replies of at most %d tokens",
                  options.story_words, options.max_tokens);
  }
  if (options.num_requests > 0) {
    text += print(", %d requests a line\n", options.num_requests);
  } else {
    text += print(", %.0f s a line\n", std::chrono::duration<double>(options.duration).count());
  }
  if (options.warm_up) {
    text += print("first request, not counted (it may load the model): %.2f s\n",
                  result.warm_up_seconds);
  }
  return text;
}

std::string traffic_table_text(const TrafficResult& result) {
  const std::vector<TrafficRow> rows = summarize_all(result);
  if (rows.empty()) return "";
  std::string text =
      "                                        tokens     TTFT, ms                "
      "     ITL, ms: single gaps         means of replies\n"
      "traffic            requests  of tokens  /s in all      p50      p95      p99"
      "      p50      p95      p99      p50      p95      p99\n";
  for (const TrafficRow& row : rows) {
    text += print("%-18s %8d", arrivals_text(row.arrivals).c_str(), row.num_completed) +
            cell(row.mean_output_tokens, 11, 1) + cell(row.tokens_per_second, 11, 1) +
            cells(row.ttft_seconds, 0) + cells(row.itl_seconds, 1) +
            cells(row.reply_itl_seconds, 1) + failures_text(row) + "\n";
  }
  const std::string notes = notes_of(rows, result);
  return notes.empty() ? text : text + "\n" + notes;
}

std::string traffic_table_csv(const TrafficResult& result) {
  std::string text =
      "clients,rate,seconds,completed,refused,failed,cut_off,prompt_tokens,output_tokens,"
      "tokens_per_s,ttft_p50_s,ttft_p95_s,ttft_p99_s,itl_p50_s,itl_p95_s,itl_p99_s,"
      "reply_itl_p50_s,reply_itl_p95_s,reply_itl_p99_s,client_cpu_share\r\n";
  auto field = [](double value) {
    return std::isnan(value) ? std::string(",") : print(",%.6g", value);
  };
  for (const TrafficRow& row : summarize_all(result)) {
    text += row.arrivals.rate > 0 ? print(",%g", row.arrivals.rate)
                                  : print("%d,", row.arrivals.num_clients);
    text += field(row.seconds) + print(",%d,%d,%d,%d", row.num_completed, row.num_refused,
                                       row.num_errors, row.num_cut_off);
    for (double value :
         {row.mean_prompt_tokens, row.mean_output_tokens, row.tokens_per_second,
          row.ttft_seconds.p50, row.ttft_seconds.p95, row.ttft_seconds.p99, row.itl_seconds.p50,
          row.itl_seconds.p95, row.itl_seconds.p99, row.reply_itl_seconds.p50,
          row.reply_itl_seconds.p95, row.reply_itl_seconds.p99, row.client_cpu_share}) {
      text += field(value);
    }
    text += "\r\n";
  }
  return text;
}

std::string traffic_json(const TrafficOptions& options, const TrafficResult& result) {
  const bool is_mixed = options.kind == TrafficKind::kMixed;
  ordered_json points = ordered_json::array();
  for (const TrafficPoint& point : result.points) {
    ordered_json requests = ordered_json::array();
    for (const TrafficRecord& request : point.requests) requests.push_back(request_json(request));
    ordered_json json = row_json(summarize(point));
    json["begin_ns"] = point.begin.count();
    json["end_ns"] = point.end.count();
    json["requests"] = std::move(requests);
    points.push_back(std::move(json));
  }
  const ordered_json report = {
      {"program", "sluice loadtest"},
      {"test", is_mixed ? "mixed" : "clients"},
      {"started_at", format_rfc3339(result.started_at)},
      {"url", options.url.text()},
      {"api", api_name(options.api)},
      {"model", options.model},
      {"mix", is_mixed ? ordered_json(mix_name(options.mix)) : ordered_json()},
      {"words", is_mixed ? ordered_json() : ordered_json(options.story_words)},
      {"max_tokens", is_mixed ? ordered_json() : ordered_json(options.max_tokens)},
      {"seed", options.seed},
      {"temperature", options.temperature ? ordered_json(*options.temperature) : ordered_json()},
      {"ignore_end", options.ignore_end},
      {"warm_up_seconds", result.warm_up_seconds},
      {"was_stopped", result.was_stopped},
      {"points", std::move(points)}};
  return report.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string progress_text(const TrafficProgress& progress) {
  if (progress.is_warm_up) return "warming up: waiting for the first reply";
  std::string text = arrivals_text(progress.arrivals) + ": ";
  if (!progress.is_last) text += print("%d running, ", progress.num_running);
  text += print("%d done, %.1f tokens/s", progress.num_done, progress.tokens_per_second);
  if (progress.num_refused > 0) text += print(", %d refused", progress.num_refused);
  if (progress.num_errors > 0) text += print(", %d failed", progress.num_errors);
  return text;
}

}  // namespace sluice::measure
