#include <utility>

#include "api/encode_common.h"
#include "api/error.h"
#include "api/openai.h"
#include "api/openai_dialect.h"
#include "api/openai_parts.h"
#include "api/parse_common.h"
#include "api/tools.h"

// POST /v1/chat/completions.
namespace sluice::api::openai {
namespace {

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

std::vector<ToolCall> parse_tool_calls(const Json& json, Work& work) {
  std::vector<ToolCall> calls;
  if (const Json* call = object_field(json, "function_call")) {  // as `functions` gives it
    calls.emplace_back().name = string_field(*call, "name").value_or("");
    calls.back().arguments = parse_arguments(*call, work);
  }
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

Message parse_message(Json& json, CalledNames& called, Work& work) {
  if (!json.is_object()) fail("field \"messages\" must be a list of objects");
  Message message;
  message.role = string_field(json, "role").value_or("");
  if (message.role.empty()) fail("every message needs a \"role\"");
  // OpenAI's newer word for it; templates of open models know only the old one.
  if (message.role == "developer") message.role = "system";
  if (message.role == "function") message.role = "tool";
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

// `think` is Ollama's word for it, which passes it over here: models that cannot just answer.
std::optional<Think> parse_effort(const Json& body) {
  if (const Json* value = find_field(body, "think")) {
    Think think = parse_think(*value);
    think.is_wish = true;
    return think;
  }
  std::optional<std::string> effort = string_field(body, "reasoning_effort");
  if (const Json* reasoning = object_field(body, "reasoning"); reasoning != nullptr && !effort) {
    effort = string_field(*reasoning, "effort");
  }
  if (!effort || effort->empty()) return std::nullopt;
  return think_of_effort(*effort);
}

// The older `functions` and `function_call` as tools, of which one may be called. Whether there are
// any.
bool take_functions(Json& body, GenerationRequest& request) {
  Json* functions = array_field(body, "functions");
  if (functions == nullptr || functions->empty()) return false;
  Json tools = Json::array();
  for (Json& function : *functions) {
    Json tool = Json::object();
    tool["type"] = "function";
    tool["function"] = std::move(function);
    tools.push_back(std::move(tool));
  }
  request.tools = parse_tools(tools);
  if (const Json* choice = find_field(body, "function_call")) {
    if (choice->is_object()) {
      request.tool_choice = {ToolChoice::Kind::kNamed, string_field(*choice, "name").value_or("")};
    } else {
      request.tool_choice = parse_tool_choice(*choice, *request.tools);
    }
  }
  request.parallel_tool_calls = false;
  apply_tool_choice(request);
  return true;
}

void take_tools(Json& body, GenerationRequest& request) {
  if (Json* tools = array_field(body, "tools")) request.tools = parse_tools(*tools);
  if (const Json* choice = find_field(body, "tool_choice")) {
    request.tool_choice = parse_tool_choice(*choice, *request.tools);
  }
  request.parallel_tool_calls = bool_field(body, "parallel_tool_calls").value_or(true);
  apply_tool_choice(request);
}

// What `functions` gives.
std::string function_call_json(const ToolCall& call) {
  JsonObject function;
  function.add("name", call.name);
  function.add("arguments", dump_json(call.arguments));
  return function.take();
}

std::string tool_calls_json(const std::vector<ToolCall>& calls) {
  JsonList list;
  for (const ToolCall& call : calls) {
    JsonObject item;
    item.add("id", call.id);
    item.add("index", call.index);
    item.add("type", "function");
    item.add_json("function", function_call_json(call));
    list.add_json(item.take());
  }
  return list.take();
}

// Ollama's and vLLM's name for it, and DeepSeek's: clients know the one or the other.
void add_thinking(JsonObject& json, const std::string& thinking) {
  json.add("reasoning", thinking);
  json.add("reasoning_content", thinking);
}

void add_logprobs(JsonObject& choice, const ReplyPiece& piece) {
  if (piece.logprobs.empty()) return;
  JsonObject logprobs;
  logprobs.add_json("content", logprobs_json(piece.logprobs, true));
  choice.add_json("logprobs", logprobs.take());
}

// What an event adds. There is always a finish_reason, null but for the last.
JsonObject chunk_choice(int index, std::string_view delta, std::string_view finish = {}) {
  JsonObject choice;
  choice.add("index", index);
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

  // Thinking has an event of its own; the first one of each choice has the role.
  std::string piece(const ReplyPiece& piece) override {
    Progress& progress = progress_.at(static_cast<size_t>(piece.index));
    std::string events;
    if (!piece.thinking.empty()) {
      JsonObject delta = begin_delta(progress);
      delta.add("content", "");
      add_thinking(delta, piece.thinking);
      events += event(chunk_choice(piece.index, delta.take()).take());
      const bool is_all =
          piece.content.empty() && piece.tool_calls.empty() && piece.logprobs.empty();
      if (is_all) return events;
    }
    JsonObject delta = begin_delta(progress);
    delta.add("content", piece.content);
    add_calls(delta, piece);
    progress.has_tool_calls = progress.has_tool_calls || !piece.tool_calls.empty();
    JsonObject choice = chunk_choice(piece.index, delta.take());
    add_logprobs(choice, piece);
    return events + event(choice.take());
  }

  // Clients want a first delta, with the role, also of an empty reply.
  std::string end(const ReplyEnd& end) override {
    std::string events;
    if (!progress_.at(static_cast<size_t>(end.index)).has_role) {
      ReplyPiece empty;
      empty.index = end.index;
      events = piece(empty);
    }
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
    has_functions_ = take_functions(body, request);
    if (!has_functions_) take_tools(body, request);
    request.think = parse_effort(body);
    request.num_top_logprobs = parse_top_logprobs(body);
    take_num_choices(body, request);
    progress_.resize(static_cast<size_t>(request.num_choices));
    refuse_unhonoured(body, {"logit_bias", "n", "response_format", "tool_choice", "tools"});
  }

  std::string choice_json(const Choice& choice) override {
    const ReplyPiece& piece = choice.piece;
    JsonObject message;
    message.add("role", "assistant");
    const bool is_call = piece.content.empty() && !piece.tool_calls.empty();
    message.add_json("content", is_call ? "null" : json_text(piece.content));
    if (!piece.thinking.empty()) add_thinking(message, piece.thinking);
    add_calls(message, piece);
    JsonObject json;
    json.add("index", choice.end.index);
    json.add_json("message", message.take());
    json.add("finish_reason", reason_of(choice.end, !piece.tool_calls.empty()));
    add_logprobs(json, piece);
    return json.take();
  }

  std::string last_choice_json(const ReplyEnd& end) const override {
    const Progress& progress = progress_.at(static_cast<size_t>(end.index));
    return chunk_choice(end.index, "{}", reason_of(end, progress.has_tool_calls)).take();
  }

 private:
  void add_calls(JsonObject& json, const ReplyPiece& piece) const {
    if (piece.tool_calls.empty()) return;
    if (has_functions_) {
      json.add_json("function_call", function_call_json(piece.tool_calls.front()));
    } else {
      json.add_json("tool_calls", tool_calls_json(piece.tool_calls));
    }
  }

  std::string_view reason_of(const ReplyEnd& end, bool has_calls) const {
    const std::string_view reason = finish_reason(end.reason, has_calls);
    return has_functions_ && reason == "tool_calls" ? "function_call" : reason;
  }

  // Of a choice in a stream.
  struct Progress {
    bool has_role = false;
    bool has_tool_calls = false;
  };

  static JsonObject begin_delta(Progress& progress) {
    JsonObject delta;
    if (!std::exchange(progress.has_role, true)) delta.add("role", "assistant");
    return delta;
  }

  bool has_functions_ = false;  // the request's tools came as `functions`
  std::vector<Progress> progress_ = std::vector<Progress>(1);  // by choice
};

}  // namespace

std::unique_ptr<Dialect> make_chat_completion(const Stamp& stamp) {
  return std::make_unique<ChatCompletion>(stamp);
}

}  // namespace sluice::api::openai
