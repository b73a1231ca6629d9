#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "api/error.h"
#include "api/ollama.h"
#include "api/ollama_dialect.h"
#include "api/parse_common.h"
#include "api/tools.h"

// POST /api/chat.
namespace sluice::api::ollama {
namespace {

std::vector<ToolCall> parse_tool_calls(Json& message) {
  std::vector<ToolCall> calls;
  Json* list = array_field(message, "tool_calls");
  if (list == nullptr) return calls;
  for (Json& item : *list) {
    Json* function = item.is_object() ? object_field(item, "function") : nullptr;
    if (function == nullptr) fail("every one of \"tool_calls\" needs a \"function\"");
    ToolCall& call = calls.emplace_back();
    call.id = string_field(item, "id").value_or("");
    call.name = string_field(*function, "name").value_or("");
    call.index = static_cast<int>(
        int_field(*function, "index", 0, std::numeric_limits<int>::max()).value_or(0));
    if (Json* arguments = object_field(*function, "arguments")) {
      call.arguments = std::move(*arguments);
    }
  }
  return calls;
}

Message parse_message(Json& json) {
  if (!json.is_object()) fail("field \"messages\" must be a list of objects");
  Message message;
  message.role = string_field(json, "role").value_or("");
  if (message.role.empty()) fail("every message needs a \"role\"");
  std::transform(message.role.begin(), message.role.end(), message.role.begin(),
                 [](char character) {
                   return static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
                 });
  message.content = take_string(json, "content");
  message.thinking = take_string(json, "thinking");
  message.images = parse_images(json);
  message.tool_calls = parse_tool_calls(json);
  message.tool_name = string_field(json, "tool_name").value_or("");
  message.tool_call_id = string_field(json, "tool_call_id").value_or("");
  return message;
}

class Chat : public OllamaDialect {
 public:
  using OllamaDialect::OllamaDialect;

 protected:
  void take_fields(Json& body, GenerationRequest& request) const override {
    refuse_unhonoured(body, {"format", "tools"});
    request.is_chat = true;
    if (request.model.empty()) fail("model is required");
    if (Json* messages = array_field(body, "messages")) {
      for (Json& message : *messages) request.messages.push_back(parse_message(message));
    }
    if (Json* tools = array_field(body, "tools")) request.tools = parse_tools(*tools);
    request.is_load_only = request.messages.empty();
  }

  void put_piece(JsonObject& json, const ReplyPiece& piece) const override {
    JsonObject message;
    message.add("role", "assistant");
    message.add("content", piece.content);
    if (!piece.thinking.empty()) message.add("thinking", piece.thinking);
    if (!piece.tool_calls.empty())
      message.add_json("tool_calls", tool_calls_json(piece.tool_calls));
    json.add_json("message", message.take());
  }
};

}  // namespace

std::unique_ptr<Dialect> make_chat(const Stamp& stamp) { return std::make_unique<Chat>(stamp); }

}  // namespace sluice::api::ollama
