#include <algorithm>
#include <cmath>
#include <limits>

#include "api/openai.h"
#include "api/parse_common.h"
#include "base/error.h"

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

std::vector<std::string> parse_stop(const Json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> stops;
  if (!value.is_array()) fail("field \"stop\" must be a string or a list of strings");
  for (const Json& item : value) {
    if (!item.is_string()) fail("field \"stop\" must be a string or a list of strings");
    stops.push_back(item.get<std::string>());
  }
  return stops;
}

std::optional<float> float_field(const Json& body, std::string_view name) {
  const auto number = number_field(body, name);
  if (!number) return std::nullopt;
  if (!(std::abs(*number) <= double{std::numeric_limits<float>::max()})) {
    fail("field \"" + std::string(name) + "\" is out of range");
  }
  return static_cast<float>(*number);
}

std::optional<int> limit_field(const Json& body, std::string_view name) {
  constexpr int64_t kMax = std::numeric_limits<int>::max();
  const auto limit = int_field(body, name, std::numeric_limits<int64_t>::min(),
                               std::numeric_limits<int64_t>::max());
  if (!limit) return std::nullopt;
  return static_cast<int>(std::clamp<int64_t>(*limit, -1, kMax));
}

void parse_options(const Json& body, ModelOptions& options) {
  options.temperature = float_field(body, "temperature").value_or(1.0f);
  options.top_p = float_field(body, "top_p").value_or(1.0f);
  options.presence_penalty = float_field(body, "presence_penalty");
  options.frequency_penalty = float_field(body, "frequency_penalty");
  options.seed = int_field(body, "seed", std::numeric_limits<int64_t>::min(),
                           std::numeric_limits<int64_t>::max());
  options.num_predict = limit_field(body, "max_completion_tokens");
  if (!options.num_predict) options.num_predict = limit_field(body, "max_tokens");
  if (const Json* stop = find_field(body, "stop")) options.stop = parse_stop(*stop);
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

// Fields of both kinds of completion.
void parse_shared_fields(const Json& body, GenerationRequest& request) {
  request.model = string_field(body, "model").value_or("");
  if (request.model.empty()) fail("model is required");
  request.stream = bool_field(body, "stream").value_or(false);
  if (const Json* options = object_field(body, "stream_options")) {
    request.include_usage = bool_field(*options, "include_usage").value_or(false);
  }
  parse_options(body, request.options);
  request.shift = false;  // a reply of OpenAI's ends when the context is full
  request.extensions = parse_extensions(body);
  constexpr int64_t kMaxChoices = std::numeric_limits<int>::max();
  if (int_field(body, "n", 1, kMaxChoices).value_or(1) > 1) {
    refuse("n above 1 is not supported; send several requests");
  }
  if (const Json* bias = object_field(body, "logit_bias"); bias != nullptr && !bias->empty()) {
    refuse("logit_bias is not supported");
  }
}

void check_response_format(const Json& body) {
  const Json* format = object_field(body, "response_format");
  if (format == nullptr) return;
  const std::string type = string_field(*format, "type").value_or("");
  if (type == "text") return;
  if (type != "json_object" && type != "json_schema") fail("invalid response_format type");
  refuse("response_format \"" + type + "\" is not supported yet; use \"text\"");
}

}  // namespace

GenerationRequest parse_chat_completion(std::string_view body_text, const JsonLimits& limits) {
  const Json body = parse_body(body_text, limits);
  GenerationRequest request;
  request.is_chat = true;
  parse_shared_fields(body, request);
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

GenerationRequest parse_completion(std::string_view body_text, const JsonLimits& limits) {
  const Json body = parse_body(body_text, limits);
  GenerationRequest request;
  request.is_chat = false;
  parse_shared_fields(body, request);
  request.prompt = string_field(body, "prompt").value_or("");
  request.suffix = string_field(body, "suffix").value_or("");
  if (const auto top = int_field(body, "logprobs", 0, 20)) {
    request.num_top_logprobs = static_cast<int>(*top);
  }
  if (bool_field(body, "echo").value_or(false)) refuse("echo is not supported");
  check_supported(request);
  return request;
}

}  // namespace sluice::api::openai
