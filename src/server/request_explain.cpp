#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "server/request_report.h"

// The life of a request in words. A sentence is only said where its figures carry it.
namespace sluice::server {
namespace {

using engine::FinishReason;
using engine::TraceSpan;
using std::chrono::nanoseconds;

double seconds_of(nanoseconds time) { return std::chrono::duration<double>(time).count(); }

// "3.2 ms", "1.25 s": as a person reads it.
std::string time_text(nanoseconds time) {
  const double seconds = seconds_of(time);
  if (seconds < 0.001) return fmt::format("{:.2f} ms", seconds * 1e3);
  if (seconds < 1) return fmt::format("{:.1f} ms", seconds * 1e3);
  return fmt::format("{:.2f} s", seconds);
}

std::string tokens_text(int count) {
  return fmt::format("{} token{}", count, count == 1 ? "" : "s");
}

// Of the spans of one kind.
struct KindSum {
  int num_steps = 0;
  int64_t num_sequences = 0;
  int most_sequences = 0;
  int64_t num_other_prompt_tokens = 0;
  nanoseconds forward_time{};
  nanoseconds longest_gap{};  // between two spans

  double mean_sequences() const {
    return static_cast<double>(num_sequences) / std::max(num_steps, 1);
  }
};

KindSum sum_of(const engine::RequestTrace& trace, TraceSpan::Kind kind) {
  KindSum sum;
  for (const TraceSpan& span : trace.spans()) {
    if (span.kind != kind) continue;
    sum.num_steps += span.num_steps;
    sum.num_sequences += span.num_sequences;
    sum.most_sequences = std::max(sum.most_sequences, span.most_sequences);
    sum.num_other_prompt_tokens += span.num_other_prompt_tokens;
    sum.forward_time += span.forward_time;
  }
  return sum;
}

class Explainer {
 public:
  explicit Explainer(const RequestLife& life) : life_(life) {}

  std::vector<std::string> take() {
    say_whole();
    if (life_.num_parts == 0) {
      if (!life_.error.empty()) say("It ended with an error: {}.", life_.error);
      return std::move(sentences_);
    }
    if (life_.num_parts > 1) {
      say("It had {} prompts; what follows is about the first.", life_.num_parts);
    }
    const PartLife& part = life_.parts.front();
    say_before(part.record);
    say_queue(part.record);
    say_prefill(part);
    say_decode(part);
    say_trouble(part);
    say_end(part);
    return std::move(sentences_);
  }

 private:
  template <typename... Arguments>
  void say(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    sentences_.push_back(fmt::format(format, std::forward<Arguments>(arguments)...));
  }

  void say_whole() {
    say("{} {} took {} in all and ended with status {}.", life_.method, life_.path,
        time_text(life_.total), life_.status);
  }

  void say_before(const engine::RequestRecord& record) {
    if (seconds_of(life_.load) > 0.01) {
      say("{} passed until the model was there: it had to be loaded, or others were.",
          time_text(life_.load));
    }
    std::string dropped;
    if (life_.num_dropped_tokens > 0) {
      dropped = fmt::format(", and {} were cut from it to fit the context of {}",
                            tokens_text(life_.num_dropped_tokens), life_.context_limit);
    }
    say("Its prompt became {} in {}{}.", tokens_text(record.num_prompt_tokens),
        time_text(life_.prepare), dropped);
  }

  void say_queue(const engine::RequestRecord& record) {
    const nanoseconds queued = record.timings.queued;
    if (life_.queue_position > 0) {
      say("It came as number {} of the queue and waited {}, {:.0f}% of its time.",
          life_.queue_position, time_text(queued),
          100 * seconds_of(queued) / std::max(seconds_of(life_.total), 1e-9));
    } else {
      say("It did not queue: its first step began after {}.", time_text(queued));
    }
  }

  void say_prefill(const PartLife& part) {
    const engine::RequestRecord& record = part.record;
    if (record.num_cached_tokens > 0) {
      say("{} of the {} prompt tokens were in the prefix cache and not computed.",
          record.num_cached_tokens, record.num_prompt_tokens);
    }
    if (!part.trace || record.num_prefilled_tokens == 0) return;
    const KindSum sum = sum_of(*part.trace, TraceSpan::Kind::kPrefill);
    if (sum.num_steps == 0) return;
    const double seconds = seconds_of(record.timings.prefill);
    say("{} {} took {} in {} chunk{}: {:.0f} tokens/s.",
        record.num_cached_tokens > 0 ? "The other" : "Its",
        tokens_text(record.num_prefilled_tokens), time_text(record.timings.prefill), sum.num_steps,
        sum.num_steps == 1 ? "" : "s", seconds > 0 ? record.num_prefilled_tokens / seconds : 0.0);
    if (sum.mean_sequences() < 1.5) return;
    std::string others;
    if (sum.num_other_prompt_tokens > 0) {
      others = fmt::format(", and {} prompt tokens of others went through them",
                           sum.num_other_prompt_tokens);
    }
    say("Meanwhile {:.1f} requests shared each step{}; chunks are kept small beside replies, so "
        "that those go on.",
        sum.mean_sequences(), others);
  }

  void say_decode(const PartLife& part) {
    const engine::RequestRecord& record = part.record;
    if (record.num_output_tokens == 0) return;
    const nanoseconds first =
        life_.load + life_.prepare + record.timings.queued + record.timings.prefill;
    say("The first token came {} after the request.", time_text(first));
    const double seconds = seconds_of(record.timings.decode);
    if (record.num_output_tokens < 2 || seconds <= 0) return;
    const double speed = (record.num_output_tokens - 1) / seconds;
    say("The other {} came in {}: {:.1f} tokens/s, one every {}.",
        tokens_text(record.num_output_tokens - 1), time_text(record.timings.decode), speed,
        time_text(record.timings.decode / (record.num_output_tokens - 1)));
    if (!part.trace) return;
    say_steps(part, sum_of(*part.trace, TraceSpan::Kind::kDecode));
  }

  // Against what the machine has been seen to do.
  void say_steps(const PartLife& part, const KindSum& sum) {
    if (sum.num_steps == 0) return;
    const nanoseconds step = sum.forward_time / sum.num_steps;
    say("They took {} step{} of {}, with {:.1f} requests in each (at most {}).", sum.num_steps,
        sum.num_steps == 1 ? "" : "s", time_text(step), sum.mean_sequences(), sum.most_sequences);
    if (sum.num_other_prompt_tokens > 0) {
      say("Prompts of others went through the same steps: {} tokens, which made them longer.",
          sum.num_other_prompt_tokens);
    }
    if (life_.weights_bytes > 0 && seconds_of(step) > 0) {
      say("A step reads all weights ({}): {:.1f} GB/s.", format_bytes(life_.weights_bytes),
          static_cast<double>(life_.weights_bytes) / 1e9 / seconds_of(step));
    }
    if (life_.fastest_decode.count() > 0) {
      say("The fastest step that this model has had here took {}: {:.0f}% of that speed was "
          "reached.",
          time_text(life_.fastest_decode),
          100 * seconds_of(life_.fastest_decode) / std::max(seconds_of(step), 1e-9));
    }
    const double waited =
        1 - seconds_of(sum.forward_time) / std::max(seconds_of(part.record.timings.decode), 1e-9);
    if (waited > 0.1) {
      say("{:.0f}% of the reply's time was between steps: the scheduler's own work, a preemption, "
          "or steps in which it had no part.",
          100 * waited);
    }
  }

  void say_trouble(const PartLife& part) {
    const engine::RequestRecord& record = part.record;
    if (record.num_preemptions > 0) {
      say("The cache ran out: it gave its blocks back {} time{} and was computed again. A larger "
          "--max-memory, --kv-cache-type q8_0 or fewer requests at once prevent that.",
          record.num_preemptions, record.num_preemptions == 1 ? "" : "s");
    }
    if (record.num_shifted_tokens > 0) {
      say("Its context of {} was full: {} were forgotten so that it could go on.",
          life_.context_limit, tokens_text(record.num_shifted_tokens));
    }
    if (record.num_draft_tokens > 0) {
      say("{} of {} guessed tokens were right, each a token without a step of its own.",
          record.num_accepted_tokens, record.num_draft_tokens);
    }
  }

  void say_end(const PartLife& part) {
    switch (part.record.reason) {
      case FinishReason::kEndOfSequence:
        return say("It ended because the model said so{}.",
                   life_.has_grammar ? ", or its form was complete" : "");
      case FinishReason::kStopString:
        return say("It ended at the stop string \"{}\".", part.stop_string);
      case FinishReason::kMaxTokens:
        return say("It ended at its own limit of {}.", tokens_text(life_.max_tokens));
      case FinishReason::kContextFull:
        return say("It ended because its context of {} was full.",
                   tokens_text(life_.context_limit));
      case FinishReason::kCancelled:
        return say("It was cancelled: the client left, or the server ended.");
      case FinishReason::kDeadline:
        return say("It ended because its time was over.");
      case FinishReason::kEmbedded:
        return say("Its embedding is complete.");
      case FinishReason::kError:
        return say("It ended with an error: {}.", life_.error);
    }
  }

  const RequestLife& life_;
  std::vector<std::string> sentences_;
};

}  // namespace

std::vector<std::string> explain(const RequestLife& life) { return Explainer(life).take(); }

}  // namespace sluice::server
