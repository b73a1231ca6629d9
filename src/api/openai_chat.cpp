#include <functional>
#include <map>
#include <utility>

#include "api/encode_common.h"
#include "api/error.h"
#include "api/openai.h"
#include "api/openai_dialect.h"
#include "api/parse_common.h"

// POST /v1/chat/completions.
namespace sluice::api::openai {
namespace {

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

void parse_content_parts(Json& parts, Message& message) {
  bool has_text = false;
  for (Json& part : parts) {
    if (!part.is_object()) fail("invalid message format: a part of \"content\" is no object");
    const std::string type = string_field(part, "type").value_or("");
    if (type == "text") {
      if (has_text) message.content += '\n';
      message.content += take_string(part, "text");
      has_text = true;
    } else if (type == "image_url") {
      message.images.push_back(image_data(part));
    } else {
      refuse("content of type " + dump_json(Json(type.substr(0, 50))) + " is not supported");
    }
  }
}

JsonTree parse_arguments(const Json& function, Work& work) {
  const std::string text = string_field(function, "arguments").value_or("{}");
  try {
    JsonTree arguments = text.empty() ? JsonTree(Json::object()) : parse_json(text, work);
    if (arguments->is_object()) return arguments;
  } catch (const Error&) {
    work.check();  // what is left is said below, as for what is no object
  }
  fail("invalid tool call arguments");
}

std::vector<ToolCall> parse_tool_calls(const Json& json, Work& work) {
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
    call.arguments = parse_arguments(*function, work);
  }
  return calls;
}

// The names of the calls so far, by their ids. A sorted map: a client could choose ids that have
// one hash.
using CalledNames = std::map<std::string, std::string, std::less<>>;

Message parse_message(Json& json, CalledNames& called, Work& work) {
  if (!json.is_object()) fail("field \"messages\" must be a list of objects");
  Message message;
  message.role = string_field(json, "role").value_or("");
  if (message.role.empty()) fail("every message needs a \"role\"");
  // OpenAI's newer word for it; templates of open models know only the old one.
  if (message.role == "developer") message.role = "system";
  message.tool_calls = parse_tool_calls(json, work);
  for (const ToolCall& call : message.tool_calls) {
    if (!call.id.empty()) called.insert_or_assign(call.id, call.name);
  }
  Json* content = find_field(json, "content");
  if (content == nullptr) {
    if (message.tool_calls.empty()) fail("invalid message content type: null");
  } else if (content->is_string()) {
    message.content = std::move(content->get_ref<std::string&>());
  } else if (content->is_array()) {
    parse_content_parts(*content, message);
  } else {
    fail(std::string("invalid message content type: ") + content->type_name());
  }
  message.thinking = take_string(json, "reasoning");
  if (message.thinking.empty()) {
    message.thinking = take_string(json, "reasoning_content");
  }
  message.tool_call_id = string_field(json, "tool_call_id").value_or("");
  message.tool_name = string_field(json, "name").value_or("");
  if (message.role == "tool" && message.tool_name.empty()) {
    const auto name = called.find(message.tool_call_id);
    if (name != called.end()) message.tool_name = name->second;
  }
  return message;
}

// `think` is Ollama's word for it.
std::optional<Think> parse_effort(const Json& body) {
  if (const Json* think = find_field(body, "think")) return parse_think(*think);
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

// tool_choice "none" hides the tools. That the model must call one, or a certain one, cannot be
// promised yet.
bool wants_tools(const Json& body) {
  const Json* choice = find_field(body, "tool_choice");
  if (choice == nullptr || *choice == "auto") return true;
  if (*choice == "none") return false;
  refuse("tool_choice other than \"auto\" and \"none\" is not supported yet");
}

std::string tool_calls_json(const std::vector<ToolCall>& calls) {
  JsonList list;
  for (const ToolCall& call : calls) {
    JsonObject function;
    function.add("name", call.name);
    function.add("arguments", dump_json(call.arguments));
    JsonObject item;
    item.add("id", call.id);
    item.add("index", call.index);
    item.add("type", "function");
    item.add_json("function", function.take());
    list.add_json(item.take());
  }
  return list.take();
}

void add_logprobs(JsonObject& choice, const ReplyPiece& piece) {
  if (piece.logprobs.empty()) return;
  JsonObject logprobs;
  logprobs.add_json("content", logprobs_json(piece.logprobs, true));
  choice.add_json("logprobs", logprobs.take());
}

// What an event adds. There is always a finish_reason, null but for the last.
JsonObject chunk_choice(std::string_view delta, std::string_view finish = {}) {
  JsonObject choice;
  choice.add("index", 0);
  choice.add_json("delta", delta);
  choice.add_json("finish_reason", finish.empty() ? "null" : json_text(finish));
  return choice;
}

// A part of a message's content must be text (or an image as a data: URL); text parts are joined by
// a newline. Role developer becomes system.
class ChatCompletion : public OpenAiDialect {
 public:
  explicit ChatCompletion(const Stamp& stamp)
      : OpenAiDialect(stamp, "chatcmpl-", "chat.completion", "chat.completion.chunk") {}

  // Thinking has an event of its own; the first one of all has the role.
  std::string piece(const ReplyPiece& piece) override {
    std::string events;
    if (!piece.thinking.empty()) {
      JsonObject delta = begin_delta();
      delta.add("content", "");
      delta.add("reasoning", piece.thinking);
      events += event(chunk_choice(delta.take()).take());
      const bool is_all =
          piece.content.empty() && piece.tool_calls.empty() && piece.logprobs.empty();
      if (is_all) return events;
    }
    JsonObject delta = begin_delta();
    delta.add("content", piece.content);
    if (!piece.tool_calls.empty()) {
      delta.add_json("tool_calls", tool_calls_json(piece.tool_calls));
      has_tool_calls_ = true;
    }
    JsonObject choice = chunk_choice(delta.take());
    add_logprobs(choice, piece);
    return events + event(choice.take());
  }

  // Clients want a first delta, with the role, also of an empty reply.
  std::string end(const ReplyEnd& end) override {
    std::string events;
    if (!has_role_) events = piece({});
    return events + OpenAiDialect::end(end);
  }

 protected:
  void take_fields(Json& body, GenerationRequest& request, Work& work) override {
    request.is_chat = true;
    Json* messages = array_field(body, "messages");
    if (messages == nullptr || messages->empty()) fail("[] is too short - 'messages'");
    CalledNames called;
    for (Json& message : *messages) {
      request.messages.push_back(parse_message(message, called, work));
    }
    if (wants_tools(body)) {
      if (Json* tools = array_field(body, "tools")) request.tools = parse_tools(*tools);
    }
    request.think = parse_effort(body);
    request.num_top_logprobs = parse_top_logprobs(body);
  }

  std::string choice_json(const Choice& choice) override {
    const ReplyPiece& piece = choice.piece;
    JsonObject message;
    message.add("role", "assistant");
    message.add("content", piece.content);
    if (!piece.thinking.empty()) message.add("reasoning", piece.thinking);
    if (!piece.tool_calls.empty())
      message.add_json("tool_calls", tool_calls_json(piece.tool_calls));
    JsonObject json;
    json.add("index", 0);
    json.add_json("message", message.take());
    json.add("finish_reason", finish_reason(choice.end.reason, !piece.tool_calls.empty()));
    add_logprobs(json, piece);
    return json.take();
  }

  std::string last_choice_json(const ReplyEnd& end) const override {
    return chunk_choice("{}", finish_reason(end.reason, has_tool_calls_)).take();
  }

 private:
  JsonObject begin_delta() {
    JsonObject delta;
    if (!std::exchange(has_role_, true)) delta.add("role", "assistant");
    return delta;
  }

  bool has_role_ = false;
  bool has_tool_calls_ = false;
};

}  // namespace

std::unique_ptr<Dialect> make_chat_completion(const Stamp& stamp) {
  return std::make_unique<ChatCompletion>(stamp);
}

}  // namespace sluice::api::openai
