#include <cmath>

#include "api/encode_common.h"
#include "api/error.h"
#include "api/openai.h"

namespace sluice::api::openai {
namespace {

std::string event(const Json& json) { return "data: " + dump_json(json) + "\n\n"; }

constexpr const char* kDone = "data: [DONE]\n\n";

Json head_json(const ReplyHead& head, const char* object) {
  Json json;
  json["id"] = head.id;
  json["object"] = object;
  json["created"] = head.created_unix;
  json["model"] = head.model;
  json["system_fingerprint"] = "fp_sluice";
  return json;
}

Json usage_json(const ReplyEnd& end) {
  Json json;
  json["prompt_tokens"] = end.num_prompt_tokens;
  json["completion_tokens"] = end.num_output_tokens;
  json["total_tokens"] = int64_t{end.num_prompt_tokens} + end.num_output_tokens;
  json["prompt_tokens_details"]["cached_tokens"] = end.num_cached_tokens;
  return json;
}

Json encode_tool_calls(const std::vector<ToolCall>& calls) {
  Json list = Json::array();
  for (const ToolCall& call : calls) {
    Json item;
    item["id"] = call.id;
    item["index"] = call.index;
    item["type"] = "function";
    item["function"]["name"] = call.name;
    item["function"]["arguments"] = dump_json(call.arguments);
    list.push_back(std::move(item));
  }
  return list;
}

Json logprobs_json(const ReplyPiece& piece) {
  Json json;
  json["content"] = encode_logprobs(piece.logprobs, true);
  return json;
}

// One event of a chat: choices[0] with this delta and, unless the reply ended, no finish_reason.
Json chat_chunk(const ReplyHead& head, Json delta, const Json& finish) {
  Json choice;
  choice["index"] = 0;
  choice["delta"] = std::move(delta);
  choice["finish_reason"] = finish;
  Json json = head_json(head, "chat.completion.chunk");
  json["choices"] = Json::array();
  json["choices"].push_back(std::move(choice));
  return json;
}

Json delta_json(bool& is_first) {
  Json delta = Json::object();
  if (is_first) delta["role"] = "assistant";
  is_first = false;
  return delta;
}

Json text_chunk(const ReplyHead& head, const std::string& text, const Json& finish) {
  Json choice;
  choice["text"] = text;
  choice["index"] = 0;
  choice["finish_reason"] = finish;
  Json json = head_json(head, "text_completion");
  json["choices"] = Json::array();
  json["choices"].push_back(std::move(choice));
  return json;
}

std::string usage_event(Json json, const ReplyEnd& end) {
  json["choices"] = Json::array();
  json["usage"] = usage_json(end);
  return event(json);
}

}  // namespace

std::string encode_chat_chunk(const ReplyHead& head, const ReplyPiece& piece, bool is_first) {
  std::string events;
  if (!piece.thinking.empty()) {
    Json delta = delta_json(is_first);
    delta["content"] = "";
    delta["reasoning"] = piece.thinking;
    events += event(chat_chunk(head, std::move(delta), nullptr));
    const bool is_all = piece.content.empty() && piece.tool_calls.empty() && piece.logprobs.empty();
    if (is_all) return events;
  }
  Json delta = delta_json(is_first);
  delta["content"] = piece.content;
  if (!piece.tool_calls.empty()) delta["tool_calls"] = encode_tool_calls(piece.tool_calls);
  Json chunk = chat_chunk(head, std::move(delta), nullptr);
  if (!piece.logprobs.empty()) chunk["choices"][0]["logprobs"] = logprobs_json(piece);
  return events + event(chunk);
}

std::string encode_chat_end(const ReplyHead& head, const ReplyEnd& end, bool has_tool_calls) {
  Json last = chat_chunk(head, Json::object(), finish_reason(end.reason, has_tool_calls));
  last["sluice"] = explain_end(end);
  std::string events = event(last);
  if (head.include_usage) events += usage_event(head_json(head, "chat.completion.chunk"), end);
  return events + kDone;
}

std::string encode_chat_reply(const ReplyHead& head, const ReplyPiece& piece, const ReplyEnd& end) {
  Json message;
  message["role"] = "assistant";
  message["content"] = piece.content;
  if (!piece.thinking.empty()) message["reasoning"] = piece.thinking;
  if (!piece.tool_calls.empty()) message["tool_calls"] = encode_tool_calls(piece.tool_calls);
  Json choice;
  choice["index"] = 0;
  choice["message"] = std::move(message);
  choice["finish_reason"] = finish_reason(end.reason, !piece.tool_calls.empty());
  if (!piece.logprobs.empty()) choice["logprobs"] = logprobs_json(piece);
  Json json = head_json(head, "chat.completion");
  json["choices"] = Json::array();
  json["choices"].push_back(std::move(choice));
  json["usage"] = usage_json(end);
  json["sluice"] = explain_end(end);
  return dump_json(json);
}

std::string encode_completion_chunk(const ReplyHead& head, const ReplyPiece& piece) {
  return event(text_chunk(head, piece.content, nullptr));
}

std::string encode_completion_end(const ReplyHead& head, const ReplyEnd& end) {
  Json last = text_chunk(head, "", finish_reason(end.reason, false));
  last["sluice"] = explain_end(end);
  std::string events = event(last);
  if (head.include_usage) events += usage_event(head_json(head, "text_completion"), end);
  return events + kDone;
}

std::string encode_completion_reply(const ReplyHead& head, const ReplyPiece& piece,
                                    const ReplyEnd& end) {
  Json json = text_chunk(head, piece.content, finish_reason(end.reason, false));
  json["usage"] = usage_json(end);
  json["sluice"] = explain_end(end);
  return dump_json(json);
}

std::string encode_waiting(const Waiting& waiting) {
  if (waiting.is_loading) {
    return ": loading " + std::to_string(std::lround(waiting.load_progress * 100)) + "%\n\n";
  }
  return ": queue position " + std::to_string(waiting.place.position) + ", about " +
         format_seconds(waiting.place.estimated_wait) + " s\n\n";
}

std::string encode_stream_error(int status, std::string_view message) {
  return "data: " + encode_openai_error(status, message) + "\n\n";
}

std::string_view finish_reason(engine::FinishReason reason, bool has_tool_calls) {
  const bool is_stop = done_reason(reason) == "stop";
  if (is_stop && has_tool_calls) return "tool_calls";
  // A reply that was cut off for whatever reason is "length" in the words that OpenAI's clients
  // know; the `sluice` member says which.
  return is_stop ? "stop" : "length";
}

std::string encode_model(const ModelEntry& model) {
  Json json;
  json["id"] = model.id;
  json["object"] = "model";
  json["created"] = model.created_unix;
  json["owned_by"] = model.owned_by;
  return dump_json(json);
}

std::string encode_models(const std::vector<ModelEntry>& models) {
  std::string list;
  for (const ModelEntry& model : models) {
    if (!list.empty()) list += ',';
    list += encode_model(model);
  }
  return R"({"object":"list","data":[)" + list + "]}";
}

}  // namespace sluice::api::openai
