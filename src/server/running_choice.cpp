#include "server/running_choice.h"

#include <algorithm>
#include <utility>

namespace sluice::server {

std::vector<api::ReplyPiece> RunningChoice::read(const engine::Event& event,
                                                 std::vector<api::ReplyLogprob> logprobs) {
  if (is_cut) return {};
  if (!event.tokens.empty()) {
    last_token = Clock::now();
    if (num_output_tokens == 0) first_token = last_token;
    num_output_tokens += static_cast<int>(event.tokens.size());
  }
  if (wants_context) {
    for (const engine::OutputToken& output : event.tokens) context_ids.push_back(output.token);
  }
  const bool was_thinking = reader && reader->is_thinking();
  std::vector<api::ReplyPiece> pieces = parts_of(event);
  if (was_thinking || (reader && reader->is_thinking())) {
    num_thinking_tokens += static_cast<int>(event.tokens.size());
  }
  if (pieces.empty() && !logprobs.empty()) pieces.emplace_back();
  if (pieces.empty()) return pieces;
  if (echo) pieces.front().content.insert(0, *std::exchange(echo, nullptr));
  pieces.front().logprobs = std::move(logprobs);
  if (!may_call_once) return pieces;
  const auto call = std::ranges::find_if(
      pieces, [](const api::ReplyPiece& piece) { return !piece.tool_calls.empty(); });
  is_cut = call != pieces.end();
  if (is_cut) pieces.erase(call + 1, pieces.end());
  return pieces;
}

std::vector<api::ReplyPiece> RunningChoice::parts_of(const engine::Event& event) {
  if (reader) return event.is_final ? reader->finish() : reader->read(event.text);
  std::vector<api::ReplyPiece> pieces;
  if (!event.text.empty()) pieces.emplace_back().content = event.text;
  if (event.is_final && echo) pieces.emplace_back();
  return pieces;
}

api::ReplyEnd RunningChoice::end(const engine::Event& event) {
  num_output_tokens = std::max(num_output_tokens, event.num_output_tokens);
  api::ReplyEnd end = api::reply_end(event);
  end.shares_prompt = shares_prompt;
  end.num_thinking_tokens = num_thinking_tokens;
  end.num_dropped_tokens = num_dropped_tokens;
  end.queue_position = place.position;
  end.context = std::move(context_ids);
  return end;
}

engine::Event RunningChoice::cancelled(const engine::RequestStatus* status) const {
  engine::Event event;
  event.is_final = true;
  event.reason = engine::FinishReason::kCancelled;
  event.num_prompt_tokens = num_prompt_tokens;
  event.num_output_tokens = num_output_tokens;
  if (status) {
    event.num_cached_tokens = status->num_cached_tokens;
    event.num_prefilled_tokens =
        std::max(0, status->num_prefilled_tokens - status->num_cached_tokens);
  }
  if (!submitted) return event;
  const bool has_tokens = num_output_tokens > 0;
  const auto until_first = (has_tokens ? first_token : Clock::now()) - *submitted;
  event.timings.queued = status ? std::min(status->queued, until_first) : until_first;
  event.timings.prefill = until_first - event.timings.queued;
  if (has_tokens) event.timings.decode = last_token - first_token;
  return event;
}

}  // namespace sluice::server
