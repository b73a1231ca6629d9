#include <algorithm>

#include "api/anthropic.h"
#include "api/anthropic_request.h"
#include "api/encode_common.h"
#include "api/error.h"
#include "api/json.h"
#include "api/json_writer.h"

// POST /v1/messages and /v1/messages/count_tokens.
namespace sluice::api::anthropic {
namespace {

std::string_view error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

JsonObject of_type(std::string_view type) {
  JsonObject json;
  json.add("type", type);
  return json;
}

std::string event(std::string_view type, JsonObject json) {
  return "event: " + std::string(type) + "\ndata: " + json.take() + "\n\n";
}

std::string event(std::string_view type) { return event(type, of_type(type)); }

// A block of the reply: its kind is also the name of its text's field.
std::string block_json(std::string_view kind, const std::string& text) {
  JsonObject json = of_type(kind);
  json.add(kind, text);
  if (kind == "thinking") json.add("signature", "");  // there is nothing that we could sign
  return json.take();
}

std::string call_json(const ToolCall& call, std::string_view input) {
  JsonObject json = of_type("tool_use");
  json.add("id", call.id);
  json.add("name", call.name);
  json.add_json("input", input);
  return json.take();
}

std::string usage_json(int num_prompt_tokens, int num_output_tokens) {
  JsonObject json;
  json.add("input_tokens", num_prompt_tokens);
  json.add("output_tokens", num_output_tokens);
  return json.take();
}

class Messages : public Dialect {
 public:
  explicit Messages(const Stamp& stamp) : id_(stamp.id) {}

  GenerationRequest parse(std::string_view body_text, Work& work) override {
    JsonTree tree = parse_body(body_text, work);
    GenerationRequest request = parse_request(*tree, false);
    model_ = request.model;
    stops_ = request.options.stop.value_or(std::vector<std::string>());
    return request;
  }

  std::string_view content_type() const override { return "text/event-stream"; }

  std::string first(int num_prompt_tokens) override {
    JsonObject message = begin_message("[]");
    message.add("stop_reason", nullptr);
    message.add("stop_sequence", nullptr);
    message.add_json("usage", usage_json(num_prompt_tokens, 0));
    JsonObject json = of_type("message_start");
    json.add_json("message", message.take());
    return event("message_start", std::move(json));
  }

  std::string piece(const ReplyPiece& piece) override {
    std::string events;
    if (!piece.thinking.empty()) events += delta("thinking", piece.thinking);
    if (!piece.content.empty()) events += delta("text", piece.content);
    for (const ToolCall& call : piece.tool_calls) events += call_events(call);
    return events;
  }

  std::string waiting(const Waiting& waiting) override { return waiting_comment(waiting); }

  std::string end(const ReplyEnd& end) override {
    std::string events = close_block();
    JsonObject delta;
    add_stop(delta, end);
    JsonObject json = of_type("message_delta");
    json.add_json("delta", delta.take());
    json.add_json("usage", usage_json(end.num_prompt_tokens, end.num_output_tokens));
    json.add_json("sluice", explain_end(end));
    events += event("message_delta", std::move(json));
    return events + event("message_stop");
  }

  std::string stream_error(int status, std::string_view message) override {
    return "event: error\ndata: " + error_body(status, message) + "\n\n";
  }

  std::string whole(std::span<const Choice> choices) override {
    const auto& [piece, end] = choices.front();
    JsonList content;
    if (!piece.thinking.empty()) content.add_json(block_json("thinking", piece.thinking));
    if (!piece.content.empty()) content.add_json(block_json("text", piece.content));
    for (const ToolCall& call : piece.tool_calls) {
      content.add_json(call_json(call, dump_json(call.arguments)));
    }
    has_calls_ = !piece.tool_calls.empty();
    JsonObject json = begin_message(content.take());
    add_stop(json, end);
    json.add_json("usage", usage_json(end.num_prompt_tokens, end.num_output_tokens));
    json.add_json("sluice", explain_end(end));
    return json.take();
  }

 private:
  JsonObject begin_message(std::string_view content) const {
    JsonObject json;
    json.add("id", "msg_" + id_);
    json.add("type", "message");
    json.add("role", "assistant");
    json.add("model", model_);
    json.add_json("content", content);
    return json;
  }

  // A stop string of the model's own is an ordinary end.
  void add_stop(JsonObject& json, const ReplyEnd& end) const {
    const bool is_asked_for =
        end.reason == engine::FinishReason::kStopString &&
        std::find(stops_.begin(), stops_.end(), end.stop_string) != stops_.end();
    const bool is_stop = done_reason(end.reason) == "stop";
    json.add("stop_reason", is_asked_for            ? "stop_sequence"
                            : is_stop && has_calls_ ? "tool_use"
                            : is_stop               ? "end_turn"
                                                    : "max_tokens");
    json.add_json("stop_sequence", is_asked_for ? json_text(end.stop_string) : "null");
  }

  std::string open_block(std::string_view kind, std::string_view block) {
    std::string events = close_block();
    open_kind_ = kind;
    JsonObject start = of_type("content_block_start");
    start.add("index", index_);
    start.add_json("content_block", block);
    events += event("content_block_start", std::move(start));
    if (index_ == 0) events += event("ping");
    return events;
  }

  std::string delta_event(JsonObject delta) const {
    JsonObject json = of_type("content_block_delta");
    json.add("index", index_);
    json.add_json("delta", delta.take());
    return event("content_block_delta", std::move(json));
  }

  // More of a block; opens one unless one of this kind is open.
  std::string delta(std::string_view kind, const std::string& text) {
    std::string events;
    if (open_kind_ != kind) events = open_block(kind, block_json(kind, ""));
    JsonObject delta = of_type(std::string(kind) + "_delta");
    delta.add(kind, text);
    return events + delta_event(std::move(delta));
  }

  // A call is a block of its own.
  std::string call_events(const ToolCall& call) {
    has_calls_ = true;
    std::string events = open_block("tool_use", call_json(call, "{}"));
    JsonObject delta = of_type("input_json_delta");
    delta.add("partial_json", dump_json(call.arguments));
    events += delta_event(std::move(delta));
    return events + close_block();
  }

  std::string close_block() {
    if (open_kind_.empty()) return {};
    open_kind_ = {};
    JsonObject json = of_type("content_block_stop");
    json.add("index", index_++);
    return event("content_block_stop", std::move(json));
  }

  std::string id_;
  std::string model_;
  std::vector<std::string> stops_;  // the request's
  bool has_calls_ = false;
  std::string_view
      open_kind_;  // of the block that is being written: "text", "thinking", "tool_use"
  int index_ = 0;  // of that block, or of the next
};

class CountTokens : public Messages {
 public:
  using Messages::Messages;

  GenerationRequest parse(std::string_view body_text, Work& work) override {
    JsonTree tree = parse_body(body_text, work);
    return parse_request(*tree, true);
  }

  std::string counted(int num_prompt_tokens) override {
    JsonObject json;
    json.add("input_tokens", num_prompt_tokens);
    return json.take();
  }
};

}  // namespace

std::string error_body(int status, std::string_view message, std::string_view request_id) {
  JsonObject error = of_type(error_type(status));
  error.add("message", message);
  JsonObject json = of_type("error");
  json.add_json("error", error.take());
  if (!request_id.empty()) json.add("request_id", request_id);
  return json.take();
}

std::unique_ptr<Dialect> make_messages(const Stamp& stamp) {
  return std::make_unique<Messages>(stamp);
}

std::unique_ptr<Dialect> make_count_tokens(const Stamp& stamp) {
  return std::make_unique<CountTokens>(stamp);
}

}  // namespace sluice::api::anthropic
