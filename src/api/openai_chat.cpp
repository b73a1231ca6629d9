#include <utility>

#include "api/encode_common.h"
#include "api/openai.h"
#include "api/openai_dialect.h"
#include "api/parse_common.h"

// POST /v1/chat/completions.
namespace sluice::api::openai {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::kUnsupported, what); }

// The base64 text of a data: URL of an image.
std::string image_data(const Json& part) {
  const Json* image = find_field(part, "image_url");
  std::string url;
  if (image != nullptr && image->is_string()) url = image->get<std::string>();
  if (image != nullptr && image->is_object()) url = string_field(*image, "url").value_or("");
  constexpr const char* kPrefixes[] = {
      "data:image/jpeg;base64,", "data:image/jpg;base64,", "data:image/png;base64,",
      "data:image/webp;base64,", "data:;base64,",
  };
  for (const std::string_view prefix : kPrefixes) {
    if (!url.starts_with(prefix)) continue;
    std::string data = url.substr(prefix.size());
    check_base64(data, "image_url");
    return data;
  }
  fail("invalid image input: give a data: URL with base64 (jpeg, png or webp)");
}

void parse_content_parts(const Json& parts, Message& message) {
  bool has_text = false;
  for (const Json& part : parts) {
    if (!part.is_object()) fail("invalid message format: a part of \"content\" is no object");
    const std::string type = string_field(part, "type").value_or("");
    if (type == "text") {
      if (has_text) message.content += '\n';
      message.content += string_field(part, "text").value_or("");
      has_text = true;
    } else if (type == "image_url") {
      message.images.push_back(image_data(part));
    } else {
      refuse("content of type " + dump_json(Json(type.substr(0, 50))) + " is not supported");
    }
  }
}

Json parse_arguments(const Json& function) {
  const std::string text = string_field(function, "arguments").value_or("{}");
  try {
    Json arguments = text.empty() ? Json::object() : parse_json(text);
    if (arguments.is_object()) return arguments;
  } catch (const Error&) {
    // said below, as for what is no object
  }
  fail("invalid tool call arguments");
}

std::vector<ToolCall> parse_tool_calls(const Json& json) {
  std::vector<ToolCall> calls;
  const Json* list = array_field(json, "tool_calls");
  if (list == nullptr) return calls;
  for (const Json& item : *list) {
    const Json* function = item.is_object() ? object_field(item, "function") : nullptr;
    if (function == nullptr) fail("every one of \"tool_calls\" needs a \"function\"");
    ToolCall& call = calls.emplace_back();
    call.index = static_cast<int>(calls.size()) - 1;
    call.id = string_field(item, "id").value_or("");
    call.name = string_field(*function, "name").value_or("");
    call.arguments = parse_arguments(*function);
  }
  return calls;
}

// Name of the call that a tool message answers.
std::string called_name(const std::vector<Message>& earlier, const std::string& id) {
  for (auto message = earlier.rbegin(); message != earlier.rend(); ++message) {
    for (const ToolCall& call : message->tool_calls) {
      if (!id.empty() && call.id == id) return call.name;
    }
  }
  return {};
}

Message parse_message(const Json& json, const std::vector<Message>& earlier) {
  if (!json.is_object()) fail("field \"messages\" must be a list of objects");
  Message message;
  message.role = string_field(json, "role").value_or("");
  if (message.role.empty()) fail("every message needs a \"role\"");
  // OpenAI's newer word for it; templates of open models know only the old one.
  if (message.role == "developer") message.role = "system";
  message.tool_calls = parse_tool_calls(json);
  const Json* content = find_field(json, "content");
  if (content == nullptr) {
    if (message.tool_calls.empty()) fail("invalid message content type: null");
  } else if (content->is_string()) {
    message.content = content->get<std::string>();
  } else if (content->is_array()) {
    parse_content_parts(*content, message);
  } else {
    fail(std::string("invalid message content type: ") + content->type_name());
  }
  message.thinking = string_field(json, "reasoning").value_or("");
  if (message.thinking.empty()) {
    message.thinking = string_field(json, "reasoning_content").value_or("");
  }
  message.tool_call_id = string_field(json, "tool_call_id").value_or("");
  message.tool_name = string_field(json, "name").value_or("");
  if (message.role == "tool" && message.tool_name.empty()) {
    message.tool_name = called_name(earlier, message.tool_call_id);
  }
  return message;
}

std::optional<Think> parse_effort(const Json& body) {
  std::optional<std::string> effort = string_field(body, "reasoning_effort");
  if (const Json* reasoning = object_field(body, "reasoning"); reasoning != nullptr && !effort) {
    effort = string_field(*reasoning, "effort");
  }
  if (!effort || effort->empty()) return std::nullopt;
  if (*effort == "none") return Think{false, ""};
  if (*effort == "minimal") return Think{true, "low"};
  if (*effort == "xhigh" || *effort == "ultra") return Think{true, "max"};
  for (const char* level : {"low", "medium", "high", "max"}) {
    if (*effort == level) return Think{true, level};
  }
  fail("invalid reasoning effort " + dump_json(Json(effort->substr(0, 50))) +
       ": must be \"none\", \"minimal\", \"low\", \"medium\", \"high\", \"xhigh\" or \"max\"");
}

void check_response_format(const Json& body) {
  const Json* format = object_field(body, "response_format");
  if (format == nullptr) return;
  const std::string type = string_field(*format, "type").value_or("");
  if (type == "text") return;
  if (type != "json_object" && type != "json_schema") fail("invalid response_format type");
  refuse("response_format \"" + type + "\" is not supported yet; use \"text\"");
}

Json tool_calls_json(const std::vector<ToolCall>& calls) {
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

// A part of a message's content must be text (or an image as a data: URL); text parts are joined by
// a newline. Role developer becomes system. tool_choice "none" hides the tools; its other values
// mean "auto", as with Ollama. response_format other than text is refused, as are n above 1 and
// logit_bias.
class ChatCompletion : public OpenAiDialect {
 public:
  explicit ChatCompletion(const Stamp& stamp)
      : OpenAiDialect(stamp, "chatcmpl-", "chat.completion", "chat.completion.chunk") {}

  GenerationRequest parse(std::string_view body_text, Work& work) override {
    const Json body = parse_body(body_text, work);
    GenerationRequest request = parse_shared(body);
    request.is_chat = true;
    const Json* messages = array_field(body, "messages");
    if (messages == nullptr || messages->empty()) fail("[] is too short - 'messages'");
    for (const Json& message : *messages) {
      request.messages.push_back(parse_message(message, request.messages));
    }
    const Json* choice = find_field(body, "tool_choice");
    const bool wants_no_tools = choice != nullptr && *choice == "none";
    if (const Json* tools = array_field(body, "tools"); tools != nullptr && !wants_no_tools) {
      request.tools = parse_tools(*tools);
    }
    check_response_format(body);
    request.think = parse_effort(body);
    request.num_top_logprobs = parse_top_logprobs(body);
    check_supported(request);
    return request;
  }

  // Thinking has an event of its own; the first one of all has the role.
  std::string piece(const ReplyPiece& piece) override {
    std::string events;
    if (!piece.thinking.empty()) {
      Json delta = take_delta();
      delta["content"] = "";
      delta["reasoning"] = piece.thinking;
      events += event(chunk_choice(std::move(delta)));
      const bool is_all =
          piece.content.empty() && piece.tool_calls.empty() && piece.logprobs.empty();
      if (is_all) return events;
    }
    Json delta = take_delta();
    delta["content"] = piece.content;
    if (!piece.tool_calls.empty()) {
      delta["tool_calls"] = tool_calls_json(piece.tool_calls);
      has_tool_calls_ = true;
    }
    Json choice = chunk_choice(std::move(delta));
    if (!piece.logprobs.empty()) choice["logprobs"] = logprobs_json(piece);
    return events + event(std::move(choice));
  }

  // Clients want a first delta, with the role, also of an empty reply.
  std::string end(const ReplyEnd& end) override {
    std::string events;
    if (!has_role_) events = piece({});
    return events + OpenAiDialect::end(end);
  }

 protected:
  Json choice_json(const Choice& choice) const override {
    const ReplyPiece& piece = choice.piece;
    Json message;
    message["role"] = "assistant";
    message["content"] = piece.content;
    if (!piece.thinking.empty()) message["reasoning"] = piece.thinking;
    if (!piece.tool_calls.empty()) message["tool_calls"] = tool_calls_json(piece.tool_calls);
    Json json;
    json["index"] = 0;
    json["message"] = std::move(message);
    json["finish_reason"] = finish_reason(choice.end.reason, !piece.tool_calls.empty());
    if (!piece.logprobs.empty()) json["logprobs"] = logprobs_json(piece);
    return json;
  }

  Json last_choice_json(const ReplyEnd& end) const override {
    Json choice = chunk_choice(Json::object());
    choice["finish_reason"] = finish_reason(end.reason, has_tool_calls_);
    return choice;
  }

 private:
  Json take_delta() {
    Json delta = Json::object();
    if (!std::exchange(has_role_, true)) delta["role"] = "assistant";
    return delta;
  }

  static Json chunk_choice(Json delta) {
    Json choice;
    choice["index"] = 0;
    choice["delta"] = std::move(delta);
    choice["finish_reason"] = nullptr;
    return choice;
  }

  bool has_role_ = false;
  bool has_tool_calls_ = false;
};

}  // namespace

std::unique_ptr<Dialect> make_chat_completion(const Stamp& stamp) {
  return std::make_unique<ChatCompletion>(stamp);
}

}  // namespace sluice::api::openai
