#include <algorithm>
#include <cmath>

#include "api/encode_common.h"
#include "api/ollama.h"
#include "base/units.h"

namespace sluice::api::ollama {
namespace {

Json head(const std::string& model, TimePoint now) {
  Json json;
  json["model"] = model;
  json["created_at"] = format_rfc3339(now);
  return json;
}

Json encode_tool_calls(const std::vector<ToolCall>& calls) {
  Json list = Json::array();
  for (const ToolCall& call : calls) {
    Json item;
    if (!call.id.empty()) item["id"] = call.id;
    item["function"]["index"] = call.index;
    item["function"]["name"] = call.name;
    item["function"]["arguments"] = call.arguments;
    list.push_back(std::move(item));
  }
  return list;
}

Json message_json(const ReplyPiece& piece) {
  Json message;
  message["role"] = "assistant";
  message["content"] = piece.content;
  if (!piece.thinking.empty()) message["thinking"] = piece.thinking;
  if (!piece.tool_calls.empty()) message["tool_calls"] = encode_tool_calls(piece.tool_calls);
  return message;
}

void set_positive(Json& json, const char* name, int64_t value) {
  if (value > 0) json[name] = value;
}

void add_metrics(Json& json, const ReplyEnd& end) {
  const auto at_least_one = [](std::chrono::nanoseconds duration) {
    return std::max<int64_t>(1, duration.count());
  };
  set_positive(json, "total_duration", end.total.count());
  json["load_duration"] = at_least_one(end.load + end.timings.queued);
  set_positive(json, "prompt_eval_count", end.num_prompt_tokens);
  json["prompt_eval_duration"] = at_least_one(end.timings.prefill);
  set_positive(json, "eval_count", end.num_output_tokens);
  set_positive(json, "eval_duration", end.timings.decode.count());
  json["sluice"] = explain_end(end);
}

// What follows the text in every object: logprobs, or `done` first and then they.
void add_logprobs(Json& json, const ReplyPiece& piece) {
  if (!piece.logprobs.empty()) json["logprobs"] = encode_logprobs(piece.logprobs, false);
}

// Steps of a percent and a tenth of a second: nobody reads more.
void add_waiting(Json& json, const Waiting& waiting) {
  if (waiting.is_loading) {
    json["status"] = "loading";
    json["progress"] = std::round(waiting.load_progress * 100) / 100;
    return;
  }
  const double seconds = std::chrono::duration<double>(waiting.place.estimated_wait).count();
  json["status"] = "queued";
  json["queue_position"] = waiting.place.position;
  json["estimated_wait"] = std::round(seconds * 10) / 10;
}

Json generate_head(const std::string& model, TimePoint now, const ReplyPiece& piece) {
  Json json = head(model, now);
  json["response"] = piece.content;
  if (!piece.thinking.empty()) json["thinking"] = piece.thinking;
  return json;
}

}  // namespace

std::string encode_chat_chunk(const std::string& model, TimePoint now, const ReplyPiece& piece) {
  Json json = head(model, now);
  json["message"] = message_json(piece);
  json["done"] = false;
  add_logprobs(json, piece);
  return dump_json(json);
}

std::string encode_generate_chunk(const std::string& model, TimePoint now,
                                  const ReplyPiece& piece) {
  Json json = generate_head(model, now, piece);
  json["done"] = false;
  add_logprobs(json, piece);
  return dump_json(json);
}

std::string encode_chat_waiting(const std::string& model, TimePoint now, const Waiting& waiting) {
  Json json = head(model, now);
  json["message"] = message_json({});
  json["done"] = false;
  add_waiting(json, waiting);
  return dump_json(json);
}

std::string encode_generate_waiting(const std::string& model, TimePoint now,
                                    const Waiting& waiting) {
  Json json = generate_head(model, now, {});
  json["done"] = false;
  add_waiting(json, waiting);
  return dump_json(json);
}

std::string encode_chat_final(const std::string& model, TimePoint now, const ReplyPiece& piece,
                              const ReplyEnd& end) {
  Json json = head(model, now);
  json["message"] = message_json(piece);
  json["done"] = true;
  json["done_reason"] = done_reason(end.reason);
  add_logprobs(json, piece);
  add_metrics(json, end);
  return dump_json(json);
}

std::string encode_generate_final(const std::string& model, TimePoint now, const ReplyPiece& piece,
                                  const ReplyEnd& end) {
  Json json = generate_head(model, now, piece);
  json["done"] = true;
  json["done_reason"] = done_reason(end.reason);
  if (!piece.tool_calls.empty()) json["tool_calls"] = encode_tool_calls(piece.tool_calls);
  if (!end.context.empty()) json["context"] = end.context;
  add_logprobs(json, piece);
  add_metrics(json, end);
  return dump_json(json);
}

std::string encode_chat_load(const std::string& model, TimePoint now, std::string_view reason) {
  Json json = head(model, now);
  json["message"] = message_json({});
  json["done"] = true;
  json["done_reason"] = reason;
  return dump_json(json);
}

std::string encode_generate_load(const std::string& model, TimePoint now, std::string_view reason) {
  Json json = head(model, now);
  json["response"] = "";
  json["done"] = true;
  json["done_reason"] = reason;
  return dump_json(json);
}

std::string encode_rendered_prompt(const std::string& model, TimePoint now, bool is_chat,
                                   const std::string& prompt) {
  Json json = head(model, now);
  if (is_chat) {
    json["message"] = message_json({});
  } else {
    json["response"] = "";
  }
  json["done"] = false;
  json["_debug_info"]["rendered_template"] = prompt;
  return dump_json(json);
}

}  // namespace sluice::api::ollama
