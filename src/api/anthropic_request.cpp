#include "api/anthropic_request.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "api/error.h"
#include "api/parse_common.h"
#include "api/tools.h"

namespace sluice::api::anthropic {
namespace {

void append_text(std::string& text, std::string more) {
  if (text.empty()) {
    text = std::move(more);
  } else {
    text += "\n" + more;
  }
}

[[noreturn]] void refuse_block(std::string_view where, const std::string& type) {
  refuse(std::string(where) + ": blocks of type " + dump_json(Json(type.substr(0, 50))) +
         " are not supported");
}

// What a client may send as a text or as a list of blocks of text, joined by newlines. `where`: of
// messages for errors.
std::string take_texts(Json& value, std::string_view where, std::string_view wrong) {
  if (value.is_string()) return std::move(value.get_ref<std::string&>());
  if (!value.is_array()) fail(std::string(wrong));
  std::string text;
  for (Json& block : value) {
    if (!block.is_object()) fail(std::string(where) + ": every block must be an object");
    const std::string type = string_field(block, "type").value_or("");
    if (type != "text") refuse_block(where, type);
    append_text(text, take_string(block, "text"));
  }
  return text;
}

// The messages, each of blocks, as those that templates know: a result of a tool is one of its own.
class MessageReader {
 public:
  explicit MessageReader(std::vector<Message>& messages) : messages_(messages) {}

  void read(Json& json) {
    if (!json.is_object()) fail("messages: every one must be an object");
    const std::string role = string_field(json, "role").value_or("");
    if (role != "user" && role != "assistant" && role != "system") {
      fail("messages: the role must be \"user\" or \"assistant\"");
    }
    Json* content = find_field(json, "content");
    if (content == nullptr) fail("messages: every one needs a content");
    message_ = {};
    message_.role = role;
    if (!content->is_array()) {
      message_.content = take_texts(*content, "messages",
                                    "messages: the content must be a string or a list of blocks");
      messages_.push_back(std::move(message_));
      return;
    }
    const size_t num_before = messages_.size();
    for (Json& block : *content) {
      if (!block.is_object()) fail("messages: every block must be an object");
      read_block(block);
    }
    const bool is_empty = message_.content.empty() && message_.thinking.empty() &&
                          message_.tool_calls.empty() && messages_.size() > num_before;
    if (!is_empty) messages_.push_back(std::move(message_));
  }

 private:
  void read_block(Json& block) {
    const std::string type = string_field(block, "type").value_or("");
    const bool is_reply = message_.role == "assistant";
    if (type == "text") {
      append_text(message_.content, take_string(block, "text"));
    } else if (is_reply && type == "thinking") {
      append_text(message_.thinking, take_string(block, "thinking"));
    } else if (is_reply && type == "tool_use") {
      read_call(block);
    } else if (is_reply && type == "server_tool_use") {
      read_call(block);
    } else if (is_reply && type == "web_search_tool_result") {
      read_search(block);
    } else if (message_.role == "user" && type == "tool_result") {
      read_result(block);
    } else if (is_content(type)) {
      refuse_block("messages", type);
    }  // What else there may be is passed over, as Ollama does: new kinds come with new clients.
  }

  // What the user means the model to see, which it would not.
  static bool is_content(std::string_view type) {
    constexpr std::string_view kContents[] = {"image", "document", "search_result", "tool_use",
                                              "tool_result"};
    return type.empty() || std::ranges::find(kContents, type) != std::end(kContents);
  }

  // What somebody's server has found for the reply: a tool's result in the midst of it.
  void read_search(Json& block) {
    messages_.push_back(std::exchange(message_, {}));
    message_.role = "assistant";
    Message& result = messages_.emplace_back();
    result.role = "tool";
    result.tool_name = "web_search";
    result.tool_call_id = string_field(block, "tool_use_id").value_or("");
    const Json* content = find_field(block, "content");
    if (content != nullptr && content->is_object()) {
      result.content = "error: " + string_field(*content, "error_code").value_or("unknown");
    }
    if (content == nullptr || !content->is_array()) return;
    for (const Json& item : *content) {
      if (!item.is_object()) fail("messages: every result of a search must be an object");
      append_text(result.content, string_field(item, "title").value_or("") + ": " +
                                      string_field(item, "url").value_or(""));
    }
  }

  void read_call(Json& block) {
    ToolCall& call = message_.tool_calls.emplace_back();
    call.index = static_cast<int>(message_.tool_calls.size()) - 1;
    call.id = string_field(block, "id").value_or("");
    call.name = string_field(block, "name").value_or("");
    if (call.name.empty()) fail("messages: a tool_use needs a name");
    if (Json* input = object_field(block, "input")) call.arguments = std::move(*input);
    called_.insert_or_assign(call.id, call.name);
  }

  // Text before it was said before it.
  void read_result(Json& block) {
    if (!message_.content.empty()) {
      messages_.push_back(message_);
      message_.content.clear();
    }
    Message& result = messages_.emplace_back();
    result.role = "tool";
    result.tool_call_id = string_field(block, "tool_use_id").value_or("");
    const auto name = called_.find(result.tool_call_id);
    if (name != called_.end()) result.tool_name = name->second;
    if (Json* content = find_field(block, "content")) {
      result.content = take_texts(*content, "tool_result",
                                  "tool_result: the content must be a string or a list of blocks");
    }
  }

  std::vector<Message>& messages_;
  Message message_;
  std::map<std::string, std::string> called_;  // names by the calls' ids
};

std::vector<Message> parse_messages(Json& body) {
  std::vector<Message> messages;
  if (Json* system = find_field(body, "system")) {
    Message& message = messages.emplace_back();
    message.role = "system";
    message.content = take_texts(*system, "system", "system must be a string or a list of blocks");
    if (message.content.empty()) messages.clear();
  }
  Json* list = array_field(body, "messages");
  if (list == nullptr || list->empty()) fail("messages is required");
  MessageReader reader(messages);
  for (Json& message : *list) reader.read(message);
  if (messages.back().role == "assistant") {
    refuse(
        "messages: the last one is the assistant's, and replies that go on behind it are not "
        "supported");
  }
  return messages;
}

// As OpenAI's, which templates know. A search of the server's own is none that we could run.
Json parse_own_tools(Json& list) {
  Json tools = Json::array();
  for (Json& item : list) {
    if (!item.is_object()) fail("field \"tools\" must be a list of objects");
    const std::string type = string_field(item, "type").value_or("custom");
    const std::string name = string_field(item, "name").value_or("");
    if (type.starts_with("web_search_")) continue;
    if (type != "custom") {
      refuse("tools: those of type " + dump_json(Json(type.substr(0, 50))) + " are not supported");
    }
    if (name.empty()) fail("tools: every one needs a name");
    Json function = Json::object();
    function["name"] = name;
    if (const auto description = string_field(item, "description")) {
      function["description"] = *description;
    }
    if (Json* schema = object_field(item, "input_schema")) {
      function["parameters"] = std::move(*schema);
    }
    Json tool = Json::object();
    tool["type"] = "function";
    tool["function"] = std::move(function);
    tools.push_back(std::move(tool));
  }
  return tools;
}

void take_tools(Json& body, GenerationRequest& request) {
  using Kind = ToolChoice::Kind;
  if (Json* tools = array_field(body, "tools")) request.tools = parse_own_tools(*tools);
  if (const Json* choice = object_field(body, "tool_choice")) {
    const std::string type = string_field(*choice, "type").value_or("");
    const std::pair<std::string_view, Kind> kinds[] = {{"auto", Kind::kAuto},
                                                       {"none", Kind::kNone},
                                                       {"any", Kind::kRequired},
                                                       {"tool", Kind::kNamed}};
    const auto kind = std::ranges::find(kinds, type, &std::pair<std::string_view, Kind>::first);
    if (kind == std::end(kinds)) {
      fail("tool_choice: the type must be \"auto\", \"any\", \"tool\" or \"none\"");
    }
    request.tool_choice = {kind->second, string_field(*choice, "name").value_or("")};
    request.parallel_tool_calls = !bool_field(*choice, "disable_parallel_tool_use").value_or(false);
  }
  apply_tool_choice(request);
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

// Lists and settings of what is not there yet; empty ones change nothing. And what other dialects
// sample by: Anthropic's server takes no field that it does not know.
void refuse_unsupported(const Json& body) {
  for (const char* name : {"frequency_penalty", "min_p", "presence_penalty", "repeat_penalty",
                           "repetition_penalty", "seed", "stop"}) {
    if (find_field(body, name) != nullptr) {
      refuse("field \"" + std::string(name) + "\" is not supported; leave it out");
    }
  }
  for (const char* name : {"mcp_servers"}) {
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

}  // namespace

GenerationRequest parse_request(Json& body, bool is_count_only) {
  GenerationRequest request;
  request.is_chat = true;
  request.is_count_only = is_count_only;
  request.model = string_field(body, "model").value_or("");
  if (request.model.empty()) fail("model is required");
  if (!is_count_only) request.options = parse_sampling(body);
  request.messages = parse_messages(body);
  request.stream = !is_count_only && bool_field(body, "stream").value_or(false);
  request.think = parse_thinking(body);
  request.shift = false;  // a reply ends when the context is full
  request.extensions = parse_extensions(body);
  request.format = parse_formats(body);
  take_tools(body, request);
  refuse_unsupported(body);
  refuse_unhonoured(body, {"stop_sequences", "tool_choice", "tools"});
  check_supported(request);
  return request;
}

}  // namespace sluice::api::anthropic
