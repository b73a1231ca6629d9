#include <algorithm>
#include <limits>
#include <utility>

#include "api/anthropic.h"
#include "api/encode_common.h"
#include "api/error.h"
#include "api/json.h"
#include "api/parse_common.h"

// POST /v1/messages, without tools.
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

void append_text(std::string& text, std::string more) {
  if (text.empty()) {
    text = std::move(more);
  } else {
    text += "\n" + more;
  }
}

// Texts of a list of blocks, joined by newlines. `thinking` may be null: no such blocks then.
void parse_blocks(Json& blocks, std::string_view where, std::string& text, std::string* thinking) {
  for (Json& block : blocks) {
    if (!block.is_object()) fail(std::string(where) + ": every block must be an object");
    const std::string type = string_field(block, "type").value_or("");
    if (type == "text") {
      append_text(text, take_string(block, "text"));
    } else if (type == "thinking" && thinking != nullptr) {
      append_text(*thinking, take_string(block, "thinking"));
    } else if (type == "redacted_thinking" && thinking != nullptr) {
      continue;  // of another model: nobody can read it
    } else {
      refuse(std::string(where) + ": blocks of type " + dump_json(Json(type.substr(0, 50))) +
             " are not supported");
    }
  }
}

Message parse_message(Json& json) {
  if (!json.is_object()) fail("messages: every one must be an object");
  Message message;
  message.role = string_field(json, "role").value_or("");
  if (message.role != "user" && message.role != "assistant" && message.role != "system") {
    fail("messages: the role must be \"user\" or \"assistant\"");
  }
  Json* content = find_field(json, "content");
  if (content == nullptr) fail("messages: every one needs a content");
  if (content->is_string()) {
    message.content = std::move(content->get_ref<std::string&>());
  } else if (content->is_array()) {
    const bool is_reply = message.role == "assistant";
    parse_blocks(*content, "messages", message.content, is_reply ? &message.thinking : nullptr);
  } else {
    fail("messages: the content must be a string or a list of blocks");
  }
  return message;
}

std::vector<Message> parse_messages(Json& body) {
  std::vector<Message> messages;
  if (Json* system = find_field(body, "system")) {
    Message& message = messages.emplace_back();
    message.role = "system";
    if (system->is_string()) {
      message.content = std::move(system->get_ref<std::string&>());
    } else if (system->is_array()) {
      parse_blocks(*system, "system", message.content, nullptr);
    } else {
      fail("system must be a string or a list of blocks");
    }
    if (message.content.empty()) messages.clear();
  }
  Json* list = array_field(body, "messages");
  if (list == nullptr || list->empty()) fail("messages is required");
  for (Json& message : *list) messages.push_back(parse_message(message));
  if (messages.back().role == "assistant") {
    refuse(
        "messages: the last one is the assistant's, and replies that go on behind it are not "
        "supported");
  }
  return messages;
}

// Enabled thinking is a wish here: models that cannot just answer.
std::optional<Think> parse_thinking(const Json& body) {
  std::optional<Think> think;
  if (const Json* thinking = object_field(body, "thinking")) {
    const std::string type = string_field(*thinking, "type").value_or("");
    if (type != "enabled" && type != "adaptive" && type != "disabled") {
      fail("thinking: the type must be \"enabled\", \"adaptive\" or \"disabled\"");
    }
    think.emplace();
    think->is_enabled = type != "disabled";
    think->is_wish = true;
  }
  const Json* output = object_field(body, "output_config");
  const auto effort = output != nullptr ? string_field(*output, "effort") : std::nullopt;
  if (effort && think && think->is_enabled) {
    for (const char* level : {"low", "medium", "high", "max"}) {
      if (*effort == level) think->level = level;
    }
    if (think->level.empty()) {
      fail("output_config: the effort must be \"low\", \"medium\", \"high\" or \"max\"");
    }
  }
  return think;
}

ModelOptions parse_sampling(Json& body) {
  ModelOptions options;
  const auto max_tokens = int_field(body, "max_tokens", std::numeric_limits<int64_t>::min(),
                                    std::numeric_limits<int64_t>::max());
  if (max_tokens.value_or(0) <= 0) fail("max_tokens is required and must be positive");
  options.num_predict =
      static_cast<int>(std::min<int64_t>(*max_tokens, std::numeric_limits<int>::max()));
  options.temperature = float_field(body, "temperature");
  options.top_p = float_field(body, "top_p");
  if (const auto top_k = int_field(body, "top_k", 0, std::numeric_limits<int>::max())) {
    options.top_k = static_cast<int>(*top_k);
  }
  if (Json* stops = array_field(body, "stop_sequences")) {
    options.stop = parse_stops(*stops, "stop_sequences");
  }
  return options;
}

// Lists and settings of what is not there yet; empty ones change nothing.
void refuse_unsupported(const Json& body) {
  for (const char* name : {"tools", "mcp_servers"}) {
    const Json* list = array_field(body, name);
    if (list != nullptr && !list->empty()) {
      refuse("field \"" + std::string(name) + "\" is not supported yet; leave it out");
    }
  }
}

// The older field and the newer one.
Format parse_formats(const Json& body) {
  Format format;
  const Json* output = object_field(body, "output_config");
  const Json* value = output == nullptr ? nullptr : object_field(*output, "format");
  if (value == nullptr) value = object_field(body, "output_format");
  if (value != nullptr) format = parse_output_format(*value);
  parse_constraints(body, format);
  return format;
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
    Json& body = *tree;
    GenerationRequest request;
    request.is_chat = true;
    request.model = string_field(body, "model").value_or("");
    if (request.model.empty()) fail("model is required");
    request.options = parse_sampling(body);
    request.messages = parse_messages(body);
    request.stream = bool_field(body, "stream").value_or(false);
    request.think = parse_thinking(body);
    request.shift = false;  // a reply ends when the context is full
    request.extensions = parse_extensions(body);
    request.format = parse_formats(body);
    refuse_unsupported(body);
    refuse_unhonoured(body);
    check_supported(request);
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
    JsonObject json = begin_message(content.take());
    add_stop(json, end);
    json.add_json("usage", usage_json(end.num_prompt_tokens, end.num_output_tokens));
    json.add_json("sluice", explain_end(end));
    return json.take();
  }

  std::string error_body(int status, std::string_view message) const override {
    return anthropic::error_body(status, message);
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
    json.add("stop_reason", is_asked_for                        ? "stop_sequence"
                            : done_reason(end.reason) == "stop" ? "end_turn"
                                                                : "max_tokens");
    json.add_json("stop_sequence", is_asked_for ? json_text(end.stop_string) : "null");
  }

  // More of a block; opens one unless one of this kind is open.
  std::string delta(std::string_view kind, const std::string& text) {
    std::string events;
    if (open_kind_ != kind) {
      events = close_block();
      open_kind_ = kind;
      JsonObject start = of_type("content_block_start");
      start.add("index", index_);
      start.add_json("content_block", block_json(kind, ""));
      events += event("content_block_start", std::move(start));
      if (index_ == 0) events += event("ping");
    }
    JsonObject delta = of_type(std::string(kind) + "_delta");
    delta.add(kind, text);
    JsonObject json = of_type("content_block_delta");
    json.add("index", index_);
    json.add_json("delta", delta.take());
    return events + event("content_block_delta", std::move(json));
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
  std::string_view open_kind_;      // of the block that is being written: "text" or "thinking"
  int index_ = 0;                   // of that block, or of the next
};

}  // namespace

std::string error_body(int status, std::string_view message) {
  JsonObject error = of_type(error_type(status));
  error.add("message", message);
  JsonObject json = of_type("error");
  json.add_json("error", error.take());
  return json.take();
}

std::unique_ptr<Dialect> make_messages(const Stamp& stamp) {
  return std::make_unique<Messages>(stamp);
}

}  // namespace sluice::api::anthropic
