#include "measure/traffic_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/print.h"
#include "base/units.h"
#include "measure/distribution_json.h"

namespace sluice::measure {
namespace {

using nlohmann::ordered_json;

double ratio(double sum, double count) { return count > 0 ? sum / count : kNone; }

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
  const bool has_failed = !request.error.empty() && !request.was_cancelled && !request.has_left;
  if (has_failed) row.failures.add(request);
  if (request.was_cancelled) {
    ++row.num_cut_off;
    if (request.pieces.empty()) ++row.num_unanswered;
  } else if (request.has_left) {
    ++row.num_left;
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

std::string cells(const Distribution& values, double unit, int digits) {
  return cell(values.p50 / unit, 9, digits) + cell(values.p95 / unit, 9, digits);
}

// A line of what a point's values are like; none where there are no values.
std::string spread_line(const char* name, const Distribution& values, double unit, int digits) {
  if (values.count == 0) return "";
  std::string line = print("  %-30s", name);
  for (const double value : {values.mean, values.min, values.p50, values.p90, values.p95,
                             values.p99, values.max, values.deviation}) {
    line += cell(value / unit, 9, digits);
  }
  return line + "\n";
}

// Of embeddings, which have no tokens of a reply.
std::string prompt_rate_text(const TrafficRow& row) {
  if (row.mean_output_tokens != 0 || std::isnan(row.mean_prompt_tokens)) return "";
  return print("  %-30s%9.1f\n", "prompt tokens/s in all",
               row.mean_prompt_tokens * row.completed_per_second);
}

std::string spread_text(const TrafficRow& row) {
  constexpr double kMilli = 1e-3;
  constexpr size_t kMostTurns = 8;
  std::string turns;
  for (size_t i = 0; i < std::min(row.turn_ttft_seconds.size(), kMostTurns); ++i) {
    const std::string name = print("TTFT of turn %zu, ms", i + 1);
    turns += spread_line(name.c_str(), row.turn_ttft_seconds[i], kMilli, 0);
  }
  return print("%-32s%9s%9s%9s%9s%9s%9s%9s%9s\n", arrivals_text(row.arrivals).c_str(), "mean",
               "min", "p50", "p90", "p95", "p99", "max", "+-") +
         spread_line("end to end, s", row.e2e_seconds, 1, 2) +
         spread_line("in the server's queue, ms", row.queue_seconds, kMilli, 1) +
         spread_line("first token (TTFT), ms", row.ttft_seconds, kMilli, 0) + turns +
         spread_line("first to second token, ms", row.second_token_seconds, kMilli, 1) +
         spread_line("between tokens (ITL), ms", row.itl_seconds, kMilli, 1) +
         spread_line("a reply's mean ITL (TPOT), ms", row.reply_itl_seconds, kMilli, 1) +
         spread_line("speed of a reply, tokens/s", row.reply_speed, 1, 1) + prompt_rate_text(row);
}

std::string goal_text(const TrafficRow& row) {
  if (!row.goal) return "";
  std::string text =
      print("  %-16s %s; goodput %.3g requests/s", arrivals_text(row.arrivals).c_str(),
            row.goal->is_met ? "met" : "missed", row.goal->goodput);
  if (!std::isnan(row.goal->share_good)) {
    text += print(" (%.1f%% of the requests hold it)", row.goal->share_good * 100);
  }
  if (!row.goal->is_met) text += "; " + row.goal->missed;
  return text + "\n";
}

std::string failures_text(const TrafficRow& row) {
  std::string text;
  if (row.num_refused > 0) text += print("  %d refused", row.num_refused);
  if (row.num_errors > 0) text += print("  %d failed", row.num_errors);
  if (row.num_left > 0) text += print("  %d cancelled", row.num_left);
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
  for (const TrafficRow& row : rows) {
    if (row.failures.by_kind().empty()) continue;
    notes += "Failures with " + arrivals_text(row.arrivals) + ": " + row.failures.text() + ".\n";
  }
  for (const TrafficPoint& point : result.points) {
    for (const TrafficRecord& request : point.requests) {
      if (request.error.empty() || request.was_cancelled || request.is_refused()) continue;
      return notes + "The first failure: " + request.error + "\n";
    }
  }
  return notes;
}

ordered_json arrivals_json(const Arrivals& arrivals) {
  ordered_json json = {{"clients", nullptr}, {"rate", nullptr}, {"speedup", nullptr}};
  if (arrivals.rate > 0) {
    json["rate"] = arrivals.rate;
  } else if (arrivals.speedup > 0) {
    json["speedup"] = arrivals.speedup;
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
  json["num_cancelled"] = row.num_left;
  json["num_cut_off"] = row.num_cut_off;
  json["num_unanswered"] = row.num_unanswered;
  json["requests_per_second"] = number_json(row.requests_per_second);
  json["completed_per_second"] = number_json(row.completed_per_second);
  json["mean_prompt_tokens"] = number_json(row.mean_prompt_tokens);
  json["mean_output_tokens"] = number_json(row.mean_output_tokens);
  json["tokens_per_second"] = number_json(row.tokens_per_second);
  json["e2e_seconds"] = distribution_json(row.e2e_seconds);
  json["failures"] = row.failures.by_kind();
  json["queue_seconds"] = distribution_json(row.queue_seconds);
  json["ttft_seconds"] = distribution_json(row.ttft_seconds);
  json["second_token_seconds"] = distribution_json(row.second_token_seconds);
  if (!row.turn_ttft_seconds.empty()) {
    ordered_json turns = ordered_json::array();
    for (const Distribution& turn : row.turn_ttft_seconds) turns.push_back(distribution_json(turn));
    json["turn_ttft_seconds"] = std::move(turns);
  }
  json["itl_seconds"] = distribution_json(row.itl_seconds);
  json["reply_itl_seconds"] = distribution_json(row.reply_itl_seconds);
  json["reply_tokens_per_second"] = distribution_json(row.reply_speed);
  if (row.goal) {
    json["goal"] = {{"is_met", row.goal->is_met},
                    {"missed", row.goal->missed},
                    {"goodput", row.goal->goodput},
                    {"share_good", number_json(row.goal->share_good)}};
  }
  json["client_cpu_share"] = number_json(row.client_cpu_share);
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
          {"is_cancelled", request.has_left},
          {"turn", request.turn},
          {"failure_kind", request.failure_kind},
          {"finish_reason", request.figures.finish_reason},
          {"prompt_tokens", count(request.figures.num_prompt_tokens)},
          {"cached_tokens", count(request.figures.num_cached_tokens)},
          {"output_tokens", request.num_output_tokens},
          {"server_queue_ns", count(request.figures.queue_duration.count())},
          {"due_ns", request.due.count()},
          {"sent_ns", request.sent.count()},
          {"ended_ns", request.ended.count()},
          {"pieces_ns", std::move(pieces)}};
}

std::string trace_text(const TrafficOptions& options) {
  const std::vector<TraceRequest>& requests = options.trace.requests;
  std::string text = print("%zu requests of %s, which came in %.1f s", requests.size(),
                           options.trace_name.c_str(), seconds_of(requests.back().due));
  if (options.trace.num_left_out > 0) {
    text += print(" (%zu without a reply are left out)", options.trace.num_left_out);
  }
  return text;
}

// What makes the traffic another one than its kind.
std::string ways_text(const TrafficOptions& options) {
  std::string text;
  if (options.num_turns > 1) text += print(", chats of %d turns", options.num_turns);
  if (options.shared_prefix_tokens > 0) {
    text += print(", after the same %d words", options.shared_prefix_tokens);
  }
  if (options.cancel_rate > 0) {
    text += print(", %g%% cancelled by their client", options.cancel_rate * 100);
  }
  return text;
}

std::vector<Distribution> ttft_by_turn(const TrafficPoint& point) {
  std::vector<std::vector<double>> values;
  for (const TrafficRecord& request : point.requests) {
    const auto turn = static_cast<size_t>(std::max(request.turn, 1));
    if (values.size() < turn) values.resize(turn);
    if (const auto ttft = request.ttft_seconds()) values[turn - 1].push_back(*ttft);
  }
  if (values.size() < 2) return {};
  std::vector<Distribution> by_turn;
  for (std::vector<double>& of_turn : values)
    by_turn.push_back(distribution_of(std::move(of_turn)));
  return by_turn;
}

}  // namespace

std::string arrivals_text(const Arrivals& arrivals) {
  if (arrivals.rate > 0) return print("%g requests/s", arrivals.rate);
  if (arrivals.speedup > 0) return print("trace, speed x%g", arrivals.speedup);
  return print("%d client%s", arrivals.num_clients, arrivals.num_clients == 1 ? "" : "s");
}

TrafficRow summarize(const TrafficPoint& point, const std::optional<Goal>& goal) {
  TrafficRow row{.arrivals = point.arrivals, .seconds = seconds_of(point.end - point.begin)};
  std::vector<double> ttfts, seconds, gaps, reply_itls, reply_speeds, e2es, queued;
  double num_in_span = 0;
  double prompt_tokens = 0, num_prompts = 0, output_tokens = 0;
  for (const TrafficRecord& request : point.requests) {
    count_request(request, row);
    if (request.is_success()) {
      if (const auto itl = request.itl_seconds()) {
        reply_itls.push_back(*itl);
        if (*itl > 0) reply_speeds.push_back(1 / *itl);
      }
      const std::chrono::nanoseconds in_queue = request.figures.queue_duration;
      if (in_queue.count() >= 0) queued.push_back(seconds_of(in_queue));
      e2es.push_back(seconds_of(request.ended - request.due));
      if (request.ended <= point.end) ++num_in_span;
      output_tokens += request.num_output_tokens;
      if (request.figures.num_prompt_tokens >= 0) {
        prompt_tokens += request.figures.num_prompt_tokens;
        ++num_prompts;
      }
    }
    if (const auto ttft = request.ttft_seconds()) ttfts.push_back(*ttft);
    if (const auto second = request.second_token_seconds()) seconds.push_back(*second);
    for (size_t i = 1; i < request.pieces.size(); ++i) {
      gaps.push_back(seconds_of(request.pieces[i] - request.pieces[i - 1]));
    }
  }
  row.mean_prompt_tokens = ratio(prompt_tokens, num_prompts);
  row.mean_output_tokens = ratio(output_tokens, row.num_completed);
  row.requests_per_second = ratio(static_cast<double>(point.requests.size()), row.seconds);
  row.tokens_per_second = ratio(tokens_in_span(point), row.seconds);
  row.client_cpu_share = ratio(point.client_cpu_seconds, row.seconds);
  row.completed_per_second = ratio(num_in_span, row.seconds);
  row.e2e_seconds = distribution_of(std::move(e2es));
  row.ttft_seconds = distribution_of(std::move(ttfts));
  row.second_token_seconds = distribution_of(std::move(seconds));
  row.queue_seconds = distribution_of(std::move(queued));
  row.itl_seconds = distribution_of(std::move(gaps));
  row.reply_itl_seconds = distribution_of(std::move(reply_itls));
  row.reply_speed = distribution_of(std::move(reply_speeds));
  row.turn_ttft_seconds = ttft_by_turn(point);
  if (goal) row.goal = judge(*goal, point);
  return row;
}

std::vector<TrafficRow> summarize(const TrafficResult& result, const std::optional<Goal>& goal) {
  std::vector<TrafficRow> rows;
  for (const TrafficPoint& point : result.points) rows.push_back(summarize(point, goal));
  return rows;
}

std::string traffic_header_text(const TrafficOptions& options, const TrafficResult& result) {
  std::string text = options.model + " at " + options.url.text() + " (" +
                     std::string(api_name(options.api)) + " API), seed " +
                     std::to_string(options.seed) + "\n";
  if (options.kind == TrafficKind::kMixed) {
    text += "prompts and replies of mixed length (" + std::string(mix_name(options.mix)) + ")";
  } else if (options.kind == TrafficKind::kSized) {
    text += "prompts of about " + options.input.text() + " tokens, replies of at most " +
            options.output.text();
  } else if (options.kind == TrafficKind::kPrompts) {
    text += print("%zu prompts from a file", options.prompts.size());
  } else if (options.kind == TrafficKind::kTrace) {
    text += trace_text(options);
  } else {
    text += print("\"tell a story in %d words:\", replies of at most %d tokens",
                  options.story_words, options.max_tokens);
  }
  text += ways_text(options);
  if (options.num_requests > 0) {
    text += print(", %d requests a line\n", options.num_requests);
  } else if (options.duration.count() == 0) {
    text += "\n";
  } else {
    text += print(", %.0f s a line\n", std::chrono::duration<double>(options.duration).count());
  }
  if (options.warm_up) {
    text += print("first request, not counted (it may load the model): %.2f s\n",
                  result.warm_up_seconds);
  }
  return text;
}

std::string traffic_table_text(const std::vector<TrafficRow>& rows, const TrafficResult& result,
                               const std::optional<Goal>& goal) {
  if (rows.empty()) return "";
  std::string text =
      "                       requests              tokens      end to end, s          TTFT, ms"
      "           ITL, ms\n"
      "traffic             done       /s  of a reply   /s in all      p50      p95      p50"
      "      p95      p50      p95\n";
  for (const TrafficRow& row : rows) {
    text += print("%-16s %7d", arrivals_text(row.arrivals).c_str(), row.num_completed) +
            cell(row.completed_per_second, 9, 2) + cell(row.mean_output_tokens, 12, 1) +
            cell(row.tokens_per_second, 12, 1) + cells(row.e2e_seconds, 1, 2) +
            cells(row.ttft_seconds, 1e-3, 0) + cells(row.itl_seconds, 1e-3, 1) +
            failures_text(row) + "\n";
  }
  for (const TrafficRow& row : rows) {
    if (row.num_completed > 0) text += "\n" + spread_text(row);
  }
  if (goal) {
    text += "\nGoal " + goal->text + ":\n";
    for (const TrafficRow& row : rows) text += goal_text(row);
  }
  const std::string notes = notes_of(rows, result);
  return notes.empty() ? text : text + "\n" + notes;
}

std::string traffic_table_csv(const std::vector<TrafficRow>& rows) {
  const bool has_goal =
      std::any_of(rows.begin(), rows.end(), [](const TrafficRow& row) { return row.goal; });
  std::string text =
      "clients,rate,speedup,seconds,completed,refused,failed,cancelled,cut_off,prompt_tokens,"
      "output_tokens,"
      "tokens_per_s,completed_per_s,client_cpu_share";
  constexpr std::array kSpreads = {"e2e", "ttft", "itl", "reply_itl"};
  constexpr std::array kStatistics = {"mean", "min", "p50", "p90",
                                      "p95",  "p99", "max", "deviation"};
  for (const char* spread : kSpreads) {
    for (const char* statistic : kStatistics) text += print(",%s_%s_s", spread, statistic);
  }
  text += has_goal ? ",goal_met,goodput\r\n" : "\r\n";
  const auto field = [](double value) {
    return std::isnan(value) ? std::string(",") : print(",%.6g", value);
  };
  for (const TrafficRow& row : rows) {
    text += row.arrivals.rate > 0      ? print(",%g,", row.arrivals.rate)
            : row.arrivals.speedup > 0 ? print(",,%g", row.arrivals.speedup)
                                       : print("%d,,", row.arrivals.num_clients);
    text += field(row.seconds) + print(",%d,%d,%d,%d,%d", row.num_completed, row.num_refused,
                                       row.num_errors, row.num_left, row.num_cut_off);
    for (const double value :
         {row.mean_prompt_tokens, row.mean_output_tokens, row.tokens_per_second,
          row.completed_per_second, row.client_cpu_share}) {
      text += field(value);
    }
    for (const Distribution* values :
         {&row.e2e_seconds, &row.ttft_seconds, &row.itl_seconds, &row.reply_itl_seconds}) {
      for (const double value : {values->mean, values->min, values->p50, values->p90, values->p95,
                                 values->p99, values->max, values->deviation}) {
        text += field(value);
      }
    }
    if (row.goal) text += print(",%d", row.goal->is_met ? 1 : 0) + field(row.goal->goodput);
    text += "\r\n";
  }
  return text;
}

std::string traffic_lines_json(const std::vector<TrafficRow>& rows) {
  ordered_json lines = ordered_json::array();
  for (const TrafficRow& row : rows) lines.push_back(row_json(row));
  return lines.dump();
}

nlohmann::ordered_json traffic_document(const TrafficOptions& options, const TrafficResult& result,
                                        const std::vector<TrafficRow>& rows,
                                        const std::optional<Goal>& goal,
                                        const nlohmann::json& beside) {
  const bool is_mixed = options.kind == TrafficKind::kMixed;
  const bool is_stories = options.kind == TrafficKind::kStories;
  const bool is_sized = options.kind == TrafficKind::kSized;
  const bool is_trace = options.kind == TrafficKind::kTrace;
  ordered_json points = ordered_json::array();
  for (size_t i = 0; i < result.points.size(); ++i) {
    const TrafficPoint& point = result.points[i];
    ordered_json requests = ordered_json::array();
    for (const TrafficRecord& request : point.requests) requests.push_back(request_json(request));
    ordered_json json = row_json(rows[i]);
    json["begin_ns"] = point.begin.count();
    json["end_ns"] = point.end.count();
    json["requests"] = std::move(requests);
    points.push_back(std::move(json));
  }
  ordered_json report = {
      {"program", "sluice loadtest"},
      {"test", traffic_name(options.kind)},
      {"started_at", format_rfc3339(result.started_at)},
      {"url", options.url.text()},
      {"api", api_name(options.api)},
      {"model", options.model},
      {"mix", is_mixed ? ordered_json(mix_name(options.mix)) : ordered_json()},
      {"input_tokens", is_sized ? ordered_json(options.input.text()) : ordered_json()},
      {"output_tokens", is_sized ? ordered_json(options.output.text()) : ordered_json()},
      {"words", is_stories ? ordered_json(options.story_words) : ordered_json()},
      {"trace", is_trace ? ordered_json(options.trace_name) : ordered_json()},
      {"max_tokens",
       is_mixed || is_sized || is_trace ? ordered_json() : ordered_json(options.max_tokens)},
      {"goal", goal ? ordered_json(goal->text) : ordered_json()},
      {"shared_prefix_tokens", options.shared_prefix_tokens},
      {"turns", options.num_turns},
      {"cancel_rate", options.cancel_rate},
      {"seed", options.seed},
      {"temperature", options.temperature ? ordered_json(*options.temperature) : ordered_json()},
      {"ignore_end", options.ignore_end},
      {"warm_up_seconds", result.warm_up_seconds},
      {"was_stopped", result.was_stopped},
      {"points", std::move(points)}};
  for (const auto& [name, value] : beside.items()) report[name] = value;
  return report;
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
