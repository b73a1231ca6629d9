#include "api/openai_responses_input.h"

#include <utility>

#include "api/error.h"
#include "api/openai_parts.h"
#include "api/parse_common.h"
#include "api/tools.h"

namespace sluice::api::openai {
namespace {

std::string shown_type(const std::string& type) { return dump_json(Json(type.substr(0, 50))); }

// Texts of a message's parts, joined by newlines.
void parse_input_parts(Json& parts, Message& message) {
  bool has_text = false;
  for (Json& part : parts) {
    if (!part.is_object()) fail("input: a part of \"content\" is no object");
    const std::string type = string_field(part, "type").value_or("");
    const bool is_text = type == "input_text" || type == "output_text" || type == "text";
    if (is_text || type == "refusal") {
      if (std::exchange(has_text, true)) message.content += '\n';
      message.content += take_string(part, is_text ? "text" : "refusal");
    } else if (type == "input_image") {
      message.images.push_back(image_data(part));
    } else {
      refuse("input: content of type " + shown_type(type) + " is not supported");
    }
  }
}

void take_content(Json& item, std::string_view name, Message& message) {
  Json* content = find_field(item, name);
  if (content == nullptr) fail("input: an item needs its \"" + std::string(name) + "\"");
  if (content->is_string()) {
    message.content = std::move(content->get_ref<std::string&>());
  } else if (content->is_array()) {
    parse_input_parts(*content, message);
  } else {
    fail("input: \"" + std::string(name) + "\" must be a text or a list of parts");
  }
}

// Thinking that is sent back: whatever of it a client has kept.
std::string reasoning_text(Json& item) {
  std::string text;
  for (const char* list : {"summary", "content"}) {
    Json* parts = array_field(item, list);
    if (parts == nullptr) continue;
    for (Json& part : *parts) {
      if (!part.is_object()) fail("input: a part of a reasoning is no object");
      if (!text.empty()) text += '\n';
      text += take_string(part, "text");
    }
  }
  return text;
}

// The items of `input`, one after the other, to messages.
class InputReader {
 public:
  InputReader(std::vector<Message>& messages, Work& work) : messages_(messages), work_(work) {
    for (const Message& message : messages) {
      for (const ToolCall& call : message.tool_calls) note(call);
    }
  }

  void read(Json& item) {
    if (!item.is_object()) fail("input must be a text or a list of objects");
    const std::string type = string_field(item, "type").value_or("message");
    if (type == "message") {
      read_message(item);
    } else if (type == "function_call") {
      read_call(item);
    } else if (type == "function_call_output") {
      read_output(item);
    } else if (type == "reasoning") {
      thinking_ = reasoning_text(item);
    } else if (type != "web_search_call") {  // what was found is in the message behind it
      refuse("input: items of type " + shown_type(type) + " are not supported");
    }
  }

 private:
  void read_message(Json& item) {
    Message message;
    message.role = string_field(item, "role").value_or("");
    if (message.role == "developer") message.role = "system";
    if (message.role != "user" && message.role != "assistant" && message.role != "system") {
      fail("input: the role of a message must be user, assistant, system or developer");
    }
    take_content(item, "content", message);
    if (message.role == "assistant") message.thinking = std::exchange(thinking_, {});
    thinking_.clear();
    messages_.push_back(std::move(message));
  }

  // Calls stand in the message that they follow.
  void read_call(Json& item) {
    const bool follows_reply = !messages_.empty() && messages_.back().role == "assistant";
    if (!follows_reply) messages_.emplace_back().role = "assistant";
    Message& message = messages_.back();
    if (!thinking_.empty()) message.thinking = std::exchange(thinking_, {});
    ToolCall& call = message.tool_calls.emplace_back();
    call.index = static_cast<int>(message.tool_calls.size()) - 1;
    call.id = string_field(item, "call_id").value_or("");
    call.name = string_field(item, "name").value_or("");
    if (call.id.empty() || call.name.empty()) {
      fail("input: a function_call needs its call_id and name");
    }
    call.arguments = parse_arguments(item, work_);
    note(call);
  }

  void read_output(Json& item) {
    Message message;
    message.role = "tool";
    message.tool_call_id = string_field(item, "call_id").value_or("");
    const auto name = called_.find(message.tool_call_id);
    if (name == called_.end()) fail("input: a function_call_output is of no call before it");
    message.tool_name = name->second;
    take_content(item, "output", message);
    messages_.push_back(std::move(message));
  }

  void note(const ToolCall& call) {
    if (!call.id.empty()) called_.insert_or_assign(call.id, call.name);
  }

  std::vector<Message>& messages_;
  Work& work_;
  CalledNames called_;
  std::string thinking_;  // of the item before, for the one that it led to
};

void add_function(const Json& tool, const std::string& type, const std::string& prefix,
                  Json& tools) {
  if (type != "function") refuse("tools of type " + shown_type(type) + " are not supported");
  Json function = Json::object();
  for (const char* name : {"name", "description", "parameters", "strict"}) {
    if (const Json* value = find_field(tool, name)) function[name] = *value;
  }
  const std::string name = string_field(function, "name").value_or("");
  if (!name.empty() && !name.starts_with(prefix)) function["name"] = prefix + name;
  tools.push_back({{"type", "function"}, {"function", std::move(function)}});
}

// The functions of a namespace are called by its name, a dot and theirs.
void add_members(Json& tool, Json& tools) {
  const std::string name = string_field(tool, "name").value_or("");
  Json* members = array_field(tool, "tools");
  if (name.empty() || members == nullptr) fail("tools: a namespace needs its name and its tools");
  for (const Json& member : *members) {
    if (!member.is_object()) fail("tools: those of a namespace must be objects");
    add_function(member, string_field(member, "type").value_or(""), name + ".", tools);
  }
}

}  // namespace

void append_input(Json& body, std::vector<Message>& messages, Work& work) {
  InputReader reader(messages, work);
  Json* input = find_field(body, "input");
  if (input == nullptr) fail("input is required");
  if (input->is_string()) {
    Message& message = messages.emplace_back();
    message.role = "user";
    message.content = std::move(input->get_ref<std::string&>());
  } else if (input->is_array()) {
    for (Json& item : *input) reader.read(item);
  } else {
    fail("input must be a text or a list of items");
  }
  if (messages.empty()) fail("input must not be empty");
}

Json parse_response_tools(Json& list) {
  Json tools = Json::array();
  for (Json& tool : list) {
    if (!tool.is_object()) fail("field \"tools\" must be a list of objects");
    const std::string type = string_field(tool, "type").value_or("");
    if (type.starts_with("web_search")) continue;
    if (type == "namespace") {
      add_members(tool, tools);
    } else {
      add_function(tool, type, "", tools);
    }
  }
  return parse_tools(tools);
}

}  // namespace sluice::api::openai
