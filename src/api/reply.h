#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/request.h"
#include "engine/request.h"
#include "text/tokenizer.h"

namespace sluice::api {

// What goes back, before a dialect is put on it.

struct ReplyLogprob {
  std::string token;  // its bytes; invalid UTF-8 becomes U+FFFD on the wire
  double logprob = 0;
  std::vector<ReplyLogprob> top;  // best first, without `top` of their own
};

std::vector<ReplyLogprob> to_logprobs(const std::vector<engine::OutputToken>& tokens,
                                      const text::Tokenizer& tokenizer);

// A piece of a reply, or, when not streaming, all of it. In a stream a piece has thinking, content
// or calls, not several of them, in the order in which the model wrote them.
struct ReplyPiece {
  std::string content;
  std::string thinking;
  std::vector<ToolCall> tool_calls;  // whole ones, each with an id and its number in the reply
  std::vector<ReplyLogprob> logprobs;
  int index = 0;  // of the reply, of which a request may have several
};

// How a reply ended and what it cost.
struct ReplyEnd {
  int index = 0;                // of the reply
  bool shares_prompt = false;   // with the reply before: its prompt is counted there
  int num_thinking_tokens = 0;  // of the output tokens
  engine::FinishReason reason = engine::FinishReason::kEndOfSequence;
  std::string stop_string;  // for kStopString
  int num_prompt_tokens = 0;
  int num_cached_tokens = 0;   // of the prompt
  int num_dropped_tokens = 0;  // cut from the prompt because it did not fit
  int num_output_tokens = 0;
  int num_shifted_tokens = 0;        // forgotten while generating, as the context was full
  int num_draft_tokens = 0;          // guessed ahead
  int num_accepted_tokens = 0;       // of these, that were right
  int queue_position = 0;            // when the request came; 0: it did not wait
  std::chrono::nanoseconds total{};  // from the request's arrival to the end
  std::chrono::nanoseconds load{};   // from the request's arrival until the model was there
  engine::Timings timings;
  std::vector<text::TokenId> context;  // prompt and reply, for /api/generate; empty: left out
};

// Takes reason, counts and timings from a final event; total, load, context, dropped tokens and the
// place in the queue are the caller's.
ReplyEnd reply_end(const engine::Event& final_event);

// "stop", "length", "cancelled", "deadline" or "error".
std::string_view done_reason(engine::FinishReason reason);

// The `sluice` member of final objects in every dialect, which other servers' clients ignore:
// {"finish_reason":"stop_string","stop":"\n\n","cached_tokens":N,"dropped_tokens":N,
//  "shifted_tokens":N,"draft_tokens":N,"accepted_tokens":N,"queue_position":N,
//  "queued_duration":NS}; `stop` only when one was hit.
std::string explain_end(const ReplyEnd& end);

// What a request waits for: the model's load, or its turn. Told to clients who want to know.
struct Waiting {
  bool is_loading = false;
  double load_progress = 0;  // 0 to 1
  engine::QueuePlace place;  // when not loading
};

// Seconds with one decimal, as replies tell an estimate: "1.2".
std::string format_seconds(std::chrono::nanoseconds duration);

}  // namespace sluice::api
