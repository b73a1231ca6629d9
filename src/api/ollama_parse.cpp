#include <algorithm>
#include <cctype>
#include <limits>

#include "api/ollama.h"
#include "api/parse_common.h"
#include "base/error.h"

namespace sluice::api::ollama {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

std::vector<std::string> parse_images(const Json& object) {
  std::vector<std::string> images;
  const Json* list = array_field(object, "images");
  if (list == nullptr) return images;
  for (const Json& item : *list) {
    if (!item.is_string()) fail("field \"images\" must be a list of strings");
    check_base64(item.get_ref<const std::string&>(), "images");
    images.push_back(item.get<std::string>());
  }
  return images;
}

std::vector<ToolCall> parse_tool_calls(const Json& message) {
  std::vector<ToolCall> calls;
  const Json* list = array_field(message, "tool_calls");
  if (list == nullptr) return calls;
  for (const Json& item : *list) {
    const Json* function = item.is_object() ? object_field(item, "function") : nullptr;
    if (function == nullptr) fail("every one of \"tool_calls\" needs a \"function\"");
    ToolCall& call = calls.emplace_back();
    call.id = string_field(item, "id").value_or("");
    call.name = string_field(*function, "name").value_or("");
    call.index = static_cast<int>(
        int_field(*function, "index", 0, std::numeric_limits<int>::max()).value_or(0));
    if (const Json* arguments = object_field(*function, "arguments")) call.arguments = *arguments;
  }
  return calls;
}

Message parse_message(const Json& json) {
  if (!json.is_object()) fail("field \"messages\" must be a list of objects");
  Message message;
  message.role = string_field(json, "role").value_or("");
  if (message.role.empty()) fail("every message needs a \"role\"");
  std::transform(message.role.begin(), message.role.end(), message.role.begin(),
                 [](char character) {
                   return static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
                 });
  message.content = string_field(json, "content").value_or("");
  message.thinking = string_field(json, "thinking").value_or("");
  message.images = parse_images(json);
  message.tool_calls = parse_tool_calls(json);
  message.tool_name = string_field(json, "tool_name").value_or("");
  message.tool_call_id = string_field(json, "tool_call_id").value_or("");
  return message;
}

// Fields that chat and generate have in common.
void parse_shared_fields(const Json& body, GenerationRequest& request) {
  request.model = string_field(body, "model").value_or("");
  request.stream = bool_field(body, "stream").value_or(true);
  if (const Json* options = object_field(body, "options"))
    request.options = parse_options(*options);
  if (const Json* format = find_field(body, "format")) request.format = parse_format(*format);
  if (const Json* think = find_field(body, "think")) request.think = parse_think(*think);
  if (const Json* keep = find_field(body, "keep_alive")) {
    request.keep_alive = parse_keep_alive(*keep);
  }
  request.truncate = bool_field(body, "truncate").value_or(true);
  request.shift = bool_field(body, "shift").value_or(true);
  request.num_top_logprobs = parse_top_logprobs(body);
  request.debug_render_only = bool_field(body, "_debug_render_only").value_or(false);
  request.extensions = parse_extensions(body);
}

std::optional<std::vector<text::TokenId>> parse_context(const Json& body) {
  const Json* list = array_field(body, "context");
  if (list == nullptr) return std::nullopt;
  std::vector<text::TokenId> context;
  context.reserve(list->size());
  for (const Json& item : *list) {
    const bool is_id = item.is_number_unsigned() &&
                       item.get<uint64_t>() <= uint64_t{std::numeric_limits<int32_t>::max()};
    if (!is_id) fail("field \"context\" must be a list of token ids");
    context.push_back(item.get<text::TokenId>());
  }
  return context;
}

// An empty text is as good as none.
std::optional<std::string> non_empty_field(const Json& body, std::string_view name) {
  auto text = string_field(body, name);
  if (text && text->empty()) text.reset();
  return text;
}

std::string model_or_name(const Json& body) {
  std::string model = string_field(body, "model").value_or("");
  if (model.empty()) model = string_field(body, "name").value_or("");
  if (model.empty()) fail("model is required");
  return model;
}

}  // namespace

GenerationRequest parse_chat(std::string_view body_text, const JsonLimits& limits) {
  const Json body = parse_body(body_text, limits);
  GenerationRequest request;
  request.is_chat = true;
  parse_shared_fields(body, request);
  if (request.model.empty()) fail("model is required");
  if (const Json* messages = array_field(body, "messages")) {
    for (const Json& message : *messages) request.messages.push_back(parse_message(message));
  }
  if (const Json* tools = array_field(body, "tools")) request.tools = parse_tools(*tools);
  check_supported(request);
  return request;
}

GenerationRequest parse_generate(std::string_view body_text, const JsonLimits& limits) {
  const Json body = parse_body(body_text, limits);
  GenerationRequest request;
  request.is_chat = false;
  parse_shared_fields(body, request);
  request.prompt = string_field(body, "prompt").value_or("");
  request.suffix = string_field(body, "suffix").value_or("");
  request.system = non_empty_field(body, "system");
  request.chat_template = non_empty_field(body, "template");
  request.context = parse_context(body);
  request.images = parse_images(body);
  request.is_raw = bool_field(body, "raw").value_or(false);
  const bool has_context = request.context && !request.context->empty();
  if (request.is_raw && (request.chat_template || request.system || has_context)) {
    fail("raw mode does not support template, system, or context");
  }
  check_supported(request);
  return request;
}

ShowRequest parse_show(std::string_view body_text, const JsonLimits& limits) {
  const Json body = parse_body(body_text, limits);
  return {model_or_name(body), bool_field(body, "verbose").value_or(false)};
}

std::string parse_model(std::string_view body_text, const JsonLimits& limits) {
  return model_or_name(parse_body(body_text, limits));
}

CopyRequest parse_copy(std::string_view body_text, const JsonLimits& limits) {
  const Json body = parse_body(body_text, limits);
  return {string_field(body, "source").value_or(""),
          string_field(body, "destination").value_or("")};
}

}  // namespace sluice::api::ollama
