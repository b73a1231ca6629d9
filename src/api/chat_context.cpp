#include "api/chat_context.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "base/error.h"

namespace sluice::api {
namespace {

constexpr int kMaxDepth = 200;

text::Value convert(const Json& json, int depth) {
  if (depth > kMaxDepth) {
    throw Error(ErrorCode::kInvalidArgument, "a value for the template is nested too deeply");
  }
  switch (json.type()) {
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_integer:
      return json.get<int64_t>();
    case Json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (std::in_range<int64_t>(number)) return static_cast<int64_t>(number);
      return static_cast<double>(number);
    }
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::string:
      return json.get<std::string>();
    case Json::value_t::array: {
      text::Value::List list;
      list.reserve(json.size());
      for (const Json& item : json) list.push_back(convert(item, depth + 1));
      return list;
    }
    case Json::value_t::object: {
      text::Value::Dict dict;
      dict.reserve(json.size());
      for (const auto& [key, value] : json.get_ref<const Json::object_t&>()) {
        dict.emplace_back(key, convert(value, depth + 1));
      }
      return dict;
    }
    default:
      return {};
  }
}

// The id of a call as the template wants it: others become one of the right size, the same for the
// call and for its result.
std::string call_id(const std::string& id, size_t size) {
  const bool is_good = id.size() == size && std::ranges::all_of(id, [](unsigned char c) {
                         return std::isalnum(c) != 0;
                       });
  if (size == 0 || id.empty() || is_good) return id;
  constexpr std::string_view kCharacters = "0123456789abcdefghijklmnopqrstuvwxyz";
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const char c : id) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  std::string made;
  for (size_t i = 0; i < size; ++i, hash /= 36) made += kCharacters[hash % 36];
  return made;
}

text::Value tool_calls_value(const std::vector<ToolCall>& calls,
                             const TemplateVariables& variables) {
  text::Value::List list;
  for (const ToolCall& call : calls) {
    text::Value::Dict function;
    function.emplace_back("name", call.name);
    function.emplace_back("arguments", variables.arguments_as_text
                                           ? text::Value(dump_json(call.arguments))
                                           : to_value(call.arguments));
    text::Value::Dict item;
    if (!call.id.empty()) item.emplace_back("id", call_id(call.id, variables.call_id_size));
    item.emplace_back("type", "function");
    item.emplace_back("function", std::move(function));
    list.emplace_back(std::move(item));
  }
  return list;
}

// Templates spell control tokens with the role ("<|user|>"), so the usual ones count as their own
// text. Any other that a client makes up is as untrusted as its content.
text::Value role_value(const std::string& role) {
  constexpr std::string_view kRoles[] = {"system", "user",      "assistant",
                                         "tool",   "developer", "function"};
  const bool is_usual = std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles);
  return is_usual ? text::Value::trusted(role) : text::Value(role);
}

Message text_message(const std::string& role, const std::string& content) {
  Message message;
  message.role = role;
  message.content = content;
  return message;
}

}  // namespace

text::Value message_value(const Message& message, const TemplateVariables& variables) {
  text::Value::Dict dict;
  dict.emplace_back("role", role_value(message.role));
  dict.emplace_back("content", message.content);
  if (!message.thinking.empty()) {
    dict.emplace_back("reasoning_content", message.thinking);
    dict.emplace_back("thinking", message.thinking);  // gpt-oss's name for it
  }
  if (!message.tool_calls.empty()) {
    dict.emplace_back("tool_calls", tool_calls_value(message.tool_calls, variables));
  }
  if (!message.tool_call_id.empty()) {
    dict.emplace_back("tool_call_id", call_id(message.tool_call_id, variables.call_id_size));
  }
  if (!message.tool_name.empty()) dict.emplace_back("name", message.tool_name);
  return dict;
}

text::Value go_message_value(const Message& message) {
  text::Value::Dict dict;
  dict.emplace_back("role", role_value(message.role));
  dict.emplace_back("content", message.content);
  dict.emplace_back("thinking", message.thinking);
  text::Value::List calls;
  for (const ToolCall& call : message.tool_calls) {
    text::Value::Dict function;
    function.emplace_back("index", call.index);
    function.emplace_back("name", call.name);
    function.emplace_back("arguments", to_value(call.arguments));
    text::Value::Dict item;
    item.emplace_back("id", call.id);
    item.emplace_back("function", std::move(function));
    calls.emplace_back(std::move(item));
  }
  dict.emplace_back("tool_calls", std::move(calls));
  dict.emplace_back("tool_name", message.tool_name);
  dict.emplace_back("tool_call_id", message.tool_call_id);
  return dict;
}

std::vector<Message> parse_messages_layer(std::string_view json_text, Work& work) {
  try {
    std::vector<Message> messages;
    const JsonTree list = parse_json(json_text, work);
    for (const Json& item : *list) {
      messages.push_back(text_message(string_field(item, "role").value_or(""),
                                      string_field(item, "content").value_or("")));
      if (messages.back().role.empty()) {
        throw Error(ErrorCode::kCorruptData, "a message without a role");
      }
    }
    return messages;
  } catch (const Error& error) {
    work.check();
    throw Error(ErrorCode::kCorruptData,
                std::string("the model's messages cannot be read: ") + error.what());
  }
}

std::vector<Message> compose_messages(const GenerationRequest& request, const ModelPrompt& model) {
  std::vector<Message> messages;
  const auto add_history = [&] {
    messages.insert(messages.end(), model.messages.begin(), model.messages.end());
  };
  if (request.is_chat) {
    const bool has_system = !request.messages.empty() && request.messages[0].role == "system";
    if (!has_system && !model.system.empty()) {
      messages.push_back(text_message("system", model.system));
    }
    add_history();
    messages.insert(messages.end(), request.messages.begin(), request.messages.end());
    return messages;
  }
  const std::string& system = request.system.value_or(model.system);
  if (!system.empty()) messages.push_back(text_message("system", system));
  if (!request.context) add_history();
  messages.push_back(text_message("user", request.prompt));
  messages.back().images = request.images;
  return messages;
}

text::Value chat_context(text::Value::List messages, const Json& tools,
                         const std::optional<Think>& think, const TemplateVariables& variables) {
  text::Value::Dict context;
  context.emplace_back("messages", std::move(messages));
  if (!tools.empty()) context.emplace_back("tools", to_value(tools));
  context.emplace_back("add_generation_prompt", variables.add_generation_prompt);
  context.emplace_back("bos_token", text::Value::trusted(variables.bos_token));
  context.emplace_back("eos_token", text::Value::trusted(variables.eos_token));
  if (think) {
    context.emplace_back("enable_thinking", think->is_enabled);
    context.emplace_back("thinking", think->is_enabled);  // DeepSeek's and Granite's name for it
    if (!think->level.empty()) context.emplace_back("reasoning_effort", think->level);
  }
  return context;
}

text::Value chat_context(const std::vector<Message>& messages, const Json& tools,
                         const std::optional<Think>& think, const TemplateVariables& variables) {
  text::Value::List list;
  list.reserve(messages.size());
  for (const Message& message : messages) list.push_back(message_value(message, variables));
  return chat_context(std::move(list), tools, think, variables);
}

text::Value to_value(const Json& json) { return convert(json, 0); }

}  // namespace sluice::api
