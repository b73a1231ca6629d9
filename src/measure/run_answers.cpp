#include "measure/run_answers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "base/print.h"
#include "base/units.h"
#include "measure/distribution.h"

namespace sluice::measure {
namespace {

std::string bytes_text(double count) {
  return format_bytes(static_cast<uint64_t>(std::clamp(count, 0.0, 1e18)));
}

std::string speed_text(double tokens_per_second) {
  return print(tokens_per_second < 100 ? "%.1f" : "%.0f", tokens_per_second);
}

std::string percent_text(double share) { return print("%.0f%%", share * 100); }

// The row with the fewest users (or the most), of those the one with the longest replies; -1: none.
int row_of_users(const LoadRun& run, bool is_fewest) {
  int best = -1;
  for (size_t i = 0; i < run.rows.size(); ++i) {
    const RunRow& row = run.rows[i];
    if (row.users == 0 || row.num_completed == 0 || row.test == "input") continue;
    if (best < 0) {
      best = static_cast<int>(i);
      continue;
    }
    const RunRow& found = run.rows[static_cast<size_t>(best)];
    const bool is_better = is_fewest ? row.users < found.users : row.users > found.users;
    const bool is_longer =
        row.users == found.users && row.mean_output_tokens > found.mean_output_tokens;
    if (is_better || is_longer) best = static_cast<int>(i);
  }
  return best;
}

// Of a member over the stretches of a phase ("": all), by their length; nothing without any.
template <typename Get>
std::optional<double> mean_over(const LoadRun& run, std::string_view phase, Get get) {
  double sum = 0, length = 0;
  for (const TimelinePoint& point : run.timeline) {
    if (!phase.empty() && point.phase != phase) continue;
    sum += get(point) * point.length_seconds;
    length += point.length_seconds;
  }
  if (length <= 0) return std::nullopt;
  return sum / length;
}

double seconds_in(const LoadRun& run, std::string_view phase) {
  double seconds = 0;
  for (const TimelinePoint& point : run.timeline) {
    if (point.phase == phase) seconds += point.length_seconds;
  }
  return seconds;
}

// --- what bounds the speed ---

std::string bound_by_memory(const LoadRun& run, double measured, double bound) {
  const double share = measured / bound;
  std::string text = print(
      "A token of one reply reads %s of weights; this machine's memory gives %.1f GB/s, so "
      "one user gets %s tokens/s at most. Measured: %s, %s of that. ",
      bytes_text(run.facts.token_read_bytes).c_str(), run.machine.read_bytes_per_second / 1e9,
      speed_text(bound).c_str(), speed_text(measured).c_str(), percent_text(share).c_str());
  if (share > 1.05) {
    return text +
           "More than the bound means that weights come from the processor's caches, or that "
           "the server guesses tokens ahead.";
  }
  if (share >= 0.6) return text + "Reading the weights is what bounds one user.";
  return text + "Something else than reading the weights takes most of the time.";
}

std::string operations_text(double operations) {
  return operations >= 1e12  ? print("%.2f T", operations / 1e12)
         : operations >= 1e9 ? print("%.3g G", operations / 1e9)
                             : print("%.3g M", operations / 1e6);
}

std::string bound_by_arithmetic(const LoadRun& run, const RunRow& crowd) {
  const double bound = prefill_bound(run), measured = prefill_speed(run);
  if (bound <= 0) return "";
  std::string text = " A token takes " + operations_text(run.facts.token_operations) +
                     "FLOP of products, and this machine does " +
                     operations_text(run.machine.operations_per_second) +
                     "FLOP/s of them, so prompts, or replies of many users, come at " +
                     speed_text(bound) + " tokens/s at most.";
  if (!std::isnan(measured)) {
    text += " A prompt that had the machine for itself came at " + speed_text(measured) + ", " +
            percent_text(measured / bound) + " of that" +
            (measured >= 0.5 * bound ? ": arithmetic bounds the time to the first token." : ".");
  }
  if (crowd.users > 1 && crowd.tokens_per_second > 0) {
    text += print(" Replies to %d users together: ", crowd.users) +
            speed_text(crowd.tokens_per_second) + ", " +
            percent_text(crowd.tokens_per_second / bound) + " of it.";
  }
  return text;
}

std::string host_and_queue(const LoadRun& run) {
  std::string text;
  const auto forward = mean_over(run, "decode", [](const auto& p) { return p.forward_share; });
  const auto schedule = mean_over(run, "decode", [](const auto& p) { return p.schedule_share; });
  if (forward && *forward > 0) {
    text = "While replies were written, the engine spent " + percent_text(*forward) +
           " of the time in forward passes and " + print("%.1f%%", schedule.value_or(0) * 100) +
           " beside them.";
  }
  constexpr double kMuch = 0.1;  // a moment's wait is everyone's
  const auto waiting =
      mean_over(run, "", [](const auto& p) { return p.num_waiting > 0 ? 1.0 : 0; });
  if (waiting && *waiting > kMuch) {
    text +=
        (text.empty() ? "In " : " In ") + percent_text(*waiting) +
        " of the time requests waited for a place: the queue bounds the time to the first token.";
  }
  return text;
}

std::string gain_of_many(const RunRow& first, const RunRow& last) {
  if (last.users <= first.users || !(first.tokens_per_second > 0)) return "";
  const double gain = last.tokens_per_second / first.tokens_per_second;
  const std::string text = print("%d users together get %.2f times what %d get%s: ", last.users,
                                 gain, first.users, first.users == 1 ? "s" : "");
  return text + (gain > 0.7 * last.users / first.users
                     ? "the weights are read once for all of them, and there is room for more."
                 : gain > 1.3
                     ? "the weights are read once for all of them, but arithmetic and their "
                       "caches begin to count."
                     : "the machine, or the server, takes them one after the other.");
}

// Of requests that came by the clock: whether the server kept up.
std::string pace_of_arrivals(const LoadRun& run) {
  std::string text;
  for (const RunRow& row : run.rows) {
    if (row.rate <= 0 || !(row.sent_per_second > 0)) continue;
    constexpr double kKeepsUp = 0.8;  // the last ones are still under way at the end
    const bool keeps_up = row.completed_per_second >= kKeepsUp * row.sent_per_second;
    text += (text.empty() ? "" : " ") +
            print("Of %.2g requests a second that came %.2g were done in the time",
                  row.sent_per_second, row.completed_per_second) +
            (keeps_up ? "." : ": more came than the server does, so that they pile up.");
  }
  return text;
}

// Paragraphs, a line each.
std::string what_bounds(const LoadRun& run) {
  const int alone = row_of_users(run, true), crowd = row_of_users(run, false);
  const double bound = decode_bound(run);
  static const RunRow kNobody{};
  const RunRow& first = alone < 0 ? kNobody : run.rows[static_cast<size_t>(alone)];
  const RunRow& last = crowd < 0 ? kNobody : run.rows[static_cast<size_t>(crowd)];
  const double measured = alone < 0 ? kNone : decode_speed(run, alone);
  std::vector<std::string> paragraphs;
  if (first.users == 1 && bound > 0 && !std::isnan(measured)) {
    paragraphs.push_back(bound_by_memory(run, measured, bound));
  } else if (bound > 0 && !run.rows.empty()) {
    paragraphs.push_back("Reading the weights allows one user " + speed_text(bound) +
                         " tokens/s; no row had one user.");
  }
  paragraphs.push_back(gain_of_many(first, last));
  paragraphs.push_back(bound_by_arithmetic(run, last));
  paragraphs.push_back(pace_of_arrivals(run));
  paragraphs.push_back(host_and_queue(run));
  std::string text;
  for (const std::string& paragraph : paragraphs) {
    if (!paragraph.empty()) text += (text.empty() ? "" : "\n") + paragraph;
  }
  return text;
}

// --- the busy thread ---

std::string_view thread_task(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kTasks[] = {
      {"engine", "decides on each step and computes its part of it"},
      {"cpu-worker", "computes its part of each step"},
      {"loader", "reads a model and packs its weights"},
      {"http", "reads requests and writes replies"},
      {"prepare", "renders and tokenizes prompts"},
      {"llama", "a process of llama.cpp"},
      {"ollama", "a thread of Ollama"},
  };
  for (const auto& [begin, task] : kTasks) {
    if (name.starts_with(begin)) return task;
  }
  return "";
}

std::string busy_threads(const LoadRun& run) {
  std::vector<std::pair<double, std::string>> threads;
  double length = 0;
  for (const TimelinePoint& point : run.timeline) {
    if (point.phase == "idle" || point.phase == "load") continue;
    length += point.length_seconds;
    for (const TimelineThread& thread : point.threads) {
      const auto found = std::find_if(threads.begin(), threads.end(),
                                      [&](const auto& one) { return one.second == thread.name; });
      const double seconds = thread.cpu_share * point.length_seconds;
      if (found != threads.end()) {
        found->first += seconds;
      } else {
        threads.emplace_back(seconds, thread.name);
      }
    }
  }
  if (threads.empty()) return "";
  std::sort(threads.begin(), threads.end(), std::greater<>());
  std::string text = "While requests ran, of one core's time: ";
  constexpr size_t kMost = 5;
  constexpr double kLeastShare = 0.005;
  for (size_t i = 0; i < std::min(threads.size(), kMost); ++i) {
    if (i > 0 && threads[i].first < kLeastShare * length) break;
    const std::string_view task = thread_task(threads[i].second);
    text += (i > 0 ? "; " : "") + threads[i].second + " " +
            percent_text(threads[i].first / length) +
            (task.empty() ? "" : " (" + std::string(task) + ")");
  }
  const auto idle =
      mean_over(run, "idle", [](const auto& point) { return point.process_cpu_share; });
  constexpr double kLongEnough = 3;  // seconds: shorter pauses hold the end of what was before
  if (idle && seconds_in(run, "idle") >= kLongEnough)
    text += ". With nothing to do the server took " + percent_text(*idle) + " of a core";
  return text + ".";
}

// --- the others ---

std::string loading(const LoadRun& run) {
  const double seconds = seconds_in(run, "load");
  double read = 0;
  for (const TimelinePoint& point : run.timeline) {
    if (point.phase == "load") read += point.disk_read_bytes_per_second * point.length_seconds;
  }
  std::string text;
  if (seconds > 0) {
    text = print("Loading was seen for %.1f s", seconds) +
           (read > 0 ? ", in which " + bytes_text(read) +
                           " came from the disk; the rest was in the page cache"
                     : "; nothing came from the disk, the file was in the page cache") +
           ". ";
  }
  if (run.warm_up_seconds > 0) {
    text += print("The first request, which loads the model where it is not there, took %.2f s. ",
                  run.warm_up_seconds);
  }
  const auto cached = [&](const auto& first, const auto& last) {
    const auto found = std::find_if(
        first, last, [](const TimelinePoint& point) { return point.page_cache_share >= 0; });
    return found == last ? std::string() : percent_text(found->page_cache_share);
  };
  const std::string before = cached(run.timeline.begin(), run.timeline.end());
  const std::string after = cached(run.timeline.rbegin(), run.timeline.rend());
  if (!before.empty()) {
    text += "Of the model's file " + before + " was in the page cache at first";
    text += before == after ? " and at the end. " : ", " + after + " at the end. ";
  }
  const RunModel& model = run.facts;
  if (model.weights_bytes > 0) {
    text += "In memory: weights " + bytes_text(model.weights_bytes) + ", workspace " +
            bytes_text(model.workspace_bytes) + ", KV cache " + bytes_text(model.cache_bytes) + ".";
  }
  return text;
}

std::string concurrency(const LoadRun& run) {
  int running = 0, waiting = 0, used = 0, total = 0;
  for (const TimelinePoint& point : run.timeline) {
    running = std::max(running, point.num_running);
    waiting = std::max(waiting, point.num_waiting);
    used = std::max(used, point.num_blocks_used);
    total = std::max(total, point.num_blocks_total);
  }
  if (running == 0) return "";
  std::string text = print("At most %d ran at once and %d waited", running, waiting);
  if (total > 0) {
    text += print("; the KV cache was at most %s full",
                  percent_text(static_cast<double>(used) / total).c_str());
  }
  return text + ".";
}

std::string_view reason_meaning(std::string_view reason) {
  if (reason == "stop") return "the model ended its reply, or a stop text came";
  if (reason == "length") return "the limit of tokens, or the end of the context";
  if (reason == "tool_calls") return "the model called a tool";
  if (reason == "load") return "only loaded the model";
  return "";
}

std::string ends(const LoadRun& run) {
  std::vector<std::pair<int, std::string>> reasons;
  for (const RunRequest& request : run.requests) {
    const std::string failed =
        request.failure_kind.empty() ? "failed" : "failed: " + request.failure_kind;
    const std::string reason = !request.error.empty()          ? failed
                               : request.finish_reason.empty() ? "cut off"
                                                               : request.finish_reason;
    const auto found = std::find_if(reasons.begin(), reasons.end(),
                                    [&](const auto& one) { return one.second == reason; });
    if (found != reasons.end()) {
      ++found->first;
    } else {
      reasons.emplace_back(1, reason);
    }
  }
  if (reasons.empty()) return "";
  std::sort(reasons.begin(), reasons.end(), std::greater<>());
  std::string text = print("Of %zu: ", run.requests.size());
  constexpr size_t kMost = 8;
  for (size_t i = 0; i < std::min(reasons.size(), kMost); ++i) {
    const std::string_view meaning = reason_meaning(reasons[i].second);
    text += (i > 0 ? "; " : "") + std::to_string(reasons[i].first) + " " + reasons[i].second +
            (meaning.empty() ? "" : " (" + std::string(meaning) + ")");
  }
  return text + ".";
}

std::string full_context(const LoadRun& run) {
  const RunModel& model = run.facts;
  if (model.cache_token_bytes <= 0 || model.trained_context <= 0) return "";
  const double whole = model.cache_token_bytes * model.trained_context;
  std::string text = print(
      "The model was trained for %d tokens. In 16 bits a token takes %s of KV cache, so one "
      "full context takes %s (half with q8_0)",
      model.trained_context, bytes_text(model.cache_token_bytes).c_str(),
      bytes_text(whole).c_str());
  if (model.weights_bytes > 0) {
    text += ", beside weights of " + bytes_text(model.weights_bytes);
  }
  if (run.machine.memory_bytes > 0) {
    text += "; the machine has " + bytes_text(run.machine.memory_bytes) + " of memory";
  }
  if (model.context > 0) text += print(". Requests got %d tokens in this run", model.context);
  return text + ". `sluice plan` says how many users fit.";
}

std::string quantization(const LoadRun& run) {
  std::vector<std::pair<double, std::string>> types;
  double all = 0;
  for (const auto& [type, count] : run.facts.bytes_by_type) {
    types.emplace_back(count, type);
    all += count;
  }
  if (all <= 0) return "";
  std::sort(types.begin(), types.end(), std::greater<>());
  std::string text = run.facts.quantization.empty() ? "" : run.facts.quantization + ". ";
  text += "Of " + bytes_text(all) + " of weights: ";
  for (size_t i = 0; i < types.size(); ++i) {
    text += (i > 0 ? ", " : "") + percent_text(types[i].first / all) + " " + types[i].second;
  }
  return text + ".";
}

std::string energy(const LoadRun& run) {
  double joules = 0, tokens = 0;
  bool is_known = false;
  for (const TimelinePoint& point : run.timeline) {
    double watts = std::max(point.power_watts, 0.0);
    is_known = is_known || point.power_watts >= 0;
    for (const TimelineGpu& gpu : point.gpus) {
      watts += std::max(gpu.power_watts, 0.0);
      is_known = is_known || gpu.power_watts >= 0;
    }
    joules += watts * point.length_seconds;
    tokens += point.output_tokens_per_second * point.length_seconds;
  }
  if (!is_known || tokens <= 0) return "";
  return print(
      "%.0f J in all, %.2f J a token of the replies (what the processors and the cards tell "
      "of their own; the rest of the machine is not counted).",
      joules, joules / tokens);
}

}  // namespace

double decode_bound(const LoadRun& run) {
  if (run.facts.token_read_bytes <= 0) return 0;
  return run.machine.read_bytes_per_second / run.facts.token_read_bytes;
}

double prefill_bound(const LoadRun& run) {
  if (run.facts.token_operations <= 0) return 0;
  return run.machine.operations_per_second / run.facts.token_operations;
}

double prefill_speed(const LoadRun& run) {
  double sum = 0;
  int count = 0;
  for (const RunRequest& request : run.requests) {
    const double computed = request.prompt_tokens - std::max(request.cached_tokens, 0.0);
    if (request.row < 0 || request.piece_seconds.empty() || computed < kLeastPrompt) continue;
    const RunRow& row = run.rows[static_cast<size_t>(request.row)];
    const double seconds = request.piece_seconds.front() - request.sent_seconds;
    if (row.users != 1 || row.rate > 0 || seconds <= 0) continue;
    sum += computed / seconds;
    ++count;
  }
  return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
}

double decode_speed(const LoadRun& run, int row) {
  double sum = 0;
  int count = 0;
  for (const RunRequest& request : run.requests) {
    if (request.row != row || !request.error.empty() || request.piece_seconds.size() < 2) continue;
    const double seconds = request.piece_seconds.back() - request.piece_seconds.front();
    if (seconds <= 0 || request.output_tokens < 2) continue;
    sum += (request.output_tokens - 1) / seconds;
    ++count;
  }
  return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
}

std::vector<Answer> answer(const LoadRun& run) {
  std::vector<Answer> answers = {
      {"What bounds the speed?", what_bounds(run)},
      {"What did the busy threads do?", busy_threads(run)},
      {"Which quantization is it?", quantization(run)},
      {"What did loading cost, and where did the bytes go?", loading(run)},
      {"How many ran and waited at once?", concurrency(run)},
      {"Why did the replies end?", ends(run)},
      {"What would the full context need?", full_context(run)},
      {"What did it cost in energy?", energy(run)},
  };
  std::erase_if(answers, [](const Answer& one) { return one.text.empty(); });
  return answers;
}

}  // namespace sluice::measure
