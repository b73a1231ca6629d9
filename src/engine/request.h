#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/sampling.h"
#include "engine/request_trace.h"
#include "grammar/grammar.h"
#include "text/tokenizer.h"

namespace sluice::engine {

using Clock = std::chrono::steady_clock;
using RequestId = uint64_t;

// How a request's tokens are drawn. Defaults are Ollama's.
struct SamplingParams : backend::SamplingParams {
  int repeat_last_n = 64;        // tokens that penalties see; 0: none, -1: the whole context
  bool penalize_prompt = true;   // false: penalties see only what was sampled, as OpenAI's do
  std::optional<uint64_t> seed;  // none: a random one
};

// Why a reply ended.
enum class FinishReason {
  kEndOfSequence,  // the model said so
  kStopString,     // Event::stop_string says which
  kMaxTokens,      // the request's own limit
  kContextFull,
  kCancelled,
  kDeadline,
  kEmbedded,  // an embedding is complete; only for Task::kEmbed
  kError,     // Event::error says what
};

inline constexpr size_t kNumFinishReasons = static_cast<size_t>(FinishReason::kError) + 1;

std::string_view finish_reason_name(FinishReason reason);  // "end_of_sequence"

// Log-probabilities are the model's own, whatever the sampling parameters.
using OutputToken = backend::SampledToken;
using Logprob = backend::TokenLogprob;

struct Timings {
  std::chrono::nanoseconds queued{};   // from submit to the first step that worked on it
  std::chrono::nanoseconds prefill{};  // from there to the first token, or to the end without one
  std::chrono::nanoseconds decode{};   // from the first token to the last
};

// How many times were so long, in buckets of which each is longer by the square root of 2.
struct TimeHistogram {
  static constexpr size_t kNumBuckets = 36;
  // The longest time in a bucket: from 250 us to 33 s; the last one takes what is longer.
  static std::chrono::nanoseconds limit(size_t bucket);
  void add(std::chrono::nanoseconds time);

  std::array<uint32_t, kNumBuckets> counts{};
};

enum class Task { kGenerate, kEmbed };

inline constexpr size_t kMaxStopStrings = 64;  // of a request
inline constexpr size_t kMaxBiases = 1024;     // of a request

// What became of a request. Plain numbers: a copy never fails.
struct RequestRecord {
  RequestId id = 0;
  Task task = Task::kGenerate;
  FinishReason reason = FinishReason::kEndOfSequence;
  int num_prompt_tokens = 0;
  int num_cached_tokens = 0;     // of the prompt, taken from the prefix cache
  int num_prefilled_tokens = 0;  // computed in chunks, also those computed again
  int num_output_tokens = 0;     // all that were sampled, the one that ended the sequence too
  int num_shifted_tokens = 0;    // forgotten while generating, to make room in the context
  int num_draft_tokens = 0;      // guessed by prompt look-up
  int num_accepted_tokens = 0;   // of these, that the model would have chosen as well
  int num_preemptions = 0;
  Timings timings;
  TimeHistogram inter_token_times;
};

// Where a request stands in the queue.
struct QueuePlace {
  int position = 0;  // 1 is next; 0: not waiting
  // Until its first step, by the pace of late; zero when nothing is known yet.
  std::chrono::nanoseconds estimated_wait{};
};

// What comes out: events with text, then exactly one final event, which has none. Text is whole
// UTF-8, stop strings and what may become one held back. Before them, events that only tell the
// place in the queue, if they were asked for. The record is the final event's.
struct Event : RequestRecord {
  std::string text;
  std::optional<QueuePlace> queue_place;  // of an event that has nothing else
  // The tokens behind this text. Over all events: every token sampled, in order, but for the
  // control token that ended the sequence.
  std::vector<OutputToken> tokens;
  bool is_final = false;

  // Valid in the final event, as the record.
  std::string stop_string;
  std::string error;
  std::vector<float> embedding;               // Task::kEmbed: length 1 in the Euclidean norm
  std::shared_ptr<const RequestTrace> trace;  // null without a step, or without memory for it
};

// How the hidden states of a text become one vector: its last token's, the mean, its first token's.
enum class Pooling { kLast, kMean, kFirst };

// What goes in: token ids and limits, nothing of any wire format.
struct Request {
  Task task = Task::kGenerate;
  // At least one token. Shorter than the context, for a reply to fit; an embedding may fill it.
  std::vector<text::TokenId> prompt;
  SamplingParams sampling;
  int max_tokens = -1;    // -1: until the context is full; 0: ends after the prefill, no text
  int context_limit = 0;  // num_ctx: prompt and reply together; 0: the engine's limit
  // When the context is full, forget half of the tokens behind the first `num_keep` and go on, up
  // to ten times the context; otherwise the reply ends with kContextFull. An eighth of the context
  // is never kept.
  bool shift = false;
  int num_keep = 4;  // -1: the prompt
  // Prompt look-up decoding (Saxena 2023): guesses the next tokens from what stands behind an
  // earlier occurrence of the last ones and checks several in one step. Never changes the reply.
  // None: as EngineOptions::speculate says.
  std::optional<bool> speculate;
  // What the reply has to be; it ends where nothing can follow, and an end is drawn nowhere but
  // where it may end (whatever ignore_end_of_sequence says). Null: any text.
  grammar::Grammar grammar;
  std::vector<backend::TokenBias> biases;  // each of another token
  std::vector<std::string> stop_strings;
  bool ignore_end_of_sequence = false;
  // Control tokens stand in the text, in frames (text/reply_format.h); otherwise they give none.
  bool frame_controls = false;
  int num_top_logprobs = -1;  // -1: none; 0: only the token's own; up to 20
  std::optional<Clock::time_point> deadline;
  // When its client asked: the histograms of whole requests count from there. None: submit().
  std::optional<Clock::time_point> arrival;
  uint64_t tag = 0;                 // the caller's number for it, told in RequestStatus
  bool wants_queue_events = false;  // tell the place in the queue now and then while waiting
  // Called from the engine's thread; must not block and must not throw: a request whose callback
  // throws ends with kError. It may submit and cancel, and take what is in the event.
  std::function<void(Event&&)> on_event;
};

// Throws Error(kInvalidArgument) naming the first field that is out of range, sampling parameters
// included. Whether the prompt fits the context is the engine's to say.
void check_request(const Request& request, int vocab_size);

}  // namespace sluice::engine
