#include "api/reply.h"

#include <cstdio>

#include "api/json_writer.h"

namespace sluice::api {

std::vector<ReplyLogprob> to_logprobs(const std::vector<engine::OutputToken>& tokens,
                                      const text::Tokenizer& tokenizer) {
  const auto text_of = [&](text::TokenId id) {
    return std::string(tokenizer.token_bytes(id, true));
  };
  std::vector<ReplyLogprob> logprobs;
  logprobs.reserve(tokens.size());
  for (const engine::OutputToken& token : tokens) {
    ReplyLogprob& item = logprobs.emplace_back();
    item.token = text_of(token.token);
    item.logprob = double{token.logprob};
    for (const engine::Logprob& other : token.top) {
      item.top.push_back({text_of(other.token), double{other.logprob}, {}});
    }
  }
  return logprobs;
}

ReplyEnd reply_end(const engine::Event& final_event) {
  ReplyEnd end;
  end.reason = final_event.reason;
  end.stop_string = final_event.stop_string;
  end.num_prompt_tokens = final_event.num_prompt_tokens;
  end.num_cached_tokens = final_event.num_cached_tokens;
  end.num_output_tokens = final_event.num_output_tokens;
  end.num_shifted_tokens = final_event.num_shifted_tokens;
  end.num_draft_tokens = final_event.num_draft_tokens;
  end.num_accepted_tokens = final_event.num_accepted_tokens;
  end.timings = final_event.timings;
  return end;
}

std::string_view done_reason(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kEndOfSequence:
    case engine::FinishReason::kEmbedded:
    case engine::FinishReason::kStopString:
      return "stop";
    case engine::FinishReason::kMaxTokens:
    case engine::FinishReason::kContextFull:
      return "length";
    case engine::FinishReason::kCancelled:
      return "cancelled";
    case engine::FinishReason::kDeadline:
      return "deadline";
    case engine::FinishReason::kError:
      return "error";
  }
  return "error";
}

std::string explain_end(const ReplyEnd& end) {
  JsonObject json;
  json.add("finish_reason", engine::finish_reason_name(end.reason));
  if (end.reason == engine::FinishReason::kStopString) json.add("stop", end.stop_string);
  json.add("cached_tokens", end.num_cached_tokens);
  json.add("dropped_tokens", end.num_dropped_tokens);
  json.add("shifted_tokens", end.num_shifted_tokens);
  json.add("draft_tokens", end.num_draft_tokens);
  json.add("accepted_tokens", end.num_accepted_tokens);
  json.add("queue_position", end.queue_position);
  json.add("queued_duration", end.timings.queued.count());
  return json.take();
}

std::string format_seconds(std::chrono::nanoseconds duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", std::chrono::duration<double>(duration).count());
  return text;
}

}  // namespace sluice::api
