#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/request.h"
#include "text/value.h"

namespace sluice::api {

// What a model brings to a conversation: its SYSTEM and MESSAGE layers.
struct ModelPrompt {
  std::string system;
  std::vector<Message> messages;
};

// Text of a messages layer: an array of {role, content}. Throws Error(kCorruptData), and what
// Work::charge() does.
std::vector<Message> parse_messages_layer(std::string_view json_text, Work& work);

// The conversation to render. Chat: the model's SYSTEM unless the first message is a system one,
// the model's MESSAGE history, the request's messages. Prompt: system (the request's, else the
// model's), history (only without `context`), the prompt as a user message.
std::vector<Message> compose_messages(const GenerationRequest& request, const ModelPrompt& model);

// What a Jinja chat template reads besides messages and tools.
struct TemplateVariables {
  std::string bos_token;
  std::string eos_token;
  bool add_generation_prompt = true;
  // Arguments of tool calls as JSON text instead of a mapping, for old templates that join them to
  // other text.
  bool arguments_as_text = false;
  size_t call_id_size = 0;  // ids of calls become so many letters and digits; 0: as they are
};

// One message for a template: role, content, tool_calls (arguments as a mapping: every current
// template reads it, and `tojson` gives back the client's order), tool_call_id, name, thinking also
// as reasoning_content. Only the role, when it is a usual one, may be part of a control token.
text::Value message_value(const Message& message, const TemplateVariables& variables);

// The same for text::GoPrompt, whose templates know thinking, tool_calls with an index, and
// tool_name.
text::Value go_message_value(const Message& message);

// The mapping for text::ChatTemplate: messages; tools when there are any; the tokens of
// `variables`, which are trusted; enable_thinking (also as thinking) and reasoning_effort when
// `think` says something.
text::Value chat_context(text::Value::List messages, const Json& tools,
                         const std::optional<Think>& think, const TemplateVariables& variables);
text::Value chat_context(const std::vector<Message>& messages, const Json& tools,
                         const std::optional<Think>& think, const TemplateVariables& variables);

// JSON as templates see it. Throws Error(kInvalidArgument) beyond a depth of 200.
text::Value to_value(const Json& json);

}  // namespace sluice::api
