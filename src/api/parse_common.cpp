#include "api/parse_common.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace sluice::api {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

bool is_base64_character(char character) {
  return std::isalnum(static_cast<unsigned char>(character)) != 0 || character == '+' ||
         character == '/';
}

std::string shortened(std::string text) {
  constexpr size_t kMaxBytes = 100;
  if (text.size() > kMaxBytes) text = text.substr(0, kMaxBytes) + "...";
  return text;
}

}  // namespace

void check_base64(std::string_view text, std::string_view field) {
  size_t num_characters = 0;
  size_t num_padding = 0;
  bool is_valid = true;
  for (const char character : text) {
    if (character == '\r' || character == '\n') continue;
    ++num_characters;
    if (character == '=') {
      ++num_padding;
    } else {
      is_valid = is_valid && num_padding == 0 && is_base64_character(character);
    }
  }
  if (!is_valid || num_padding > 2 || num_characters % 4 != 0 || num_characters == num_padding) {
    fail("illegal base64 data in " + std::string(field));
  }
}

Format parse_format(const Json& value) {
  if (value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty())) {
    return {};
  }
  if (value.is_string() && value.get_ref<const std::string&>() == "json") {
    return {FormatKind::kJson, {}};
  }
  if (value.is_object()) return {FormatKind::kSchema, value};
  fail("invalid format: " + shortened(dump_json(value)) +
       "; expected \"json\" or a valid JSON Schema object");
}

Think parse_think(const Json& value) {
  if (value.is_boolean()) return {value.get<bool>(), ""};
  if (value.is_string()) {
    const auto& level = value.get_ref<const std::string&>();
    for (const char* known : {"low", "medium", "high", "max"}) {
      if (level == known) return {true, level};
    }
  }
  fail("invalid think value: " + shortened(dump_json(value)) +
       " (must be true, false, \"low\", \"medium\", \"high\" or \"max\")");
}

Json parse_tools(const Json& list) {
  Json tools = Json::array();
  for (const Json& tool : list) {
    if (!tool.is_object()) fail("field \"tools\" must be a list of objects");
    const Json* function = object_field(tool, "function");
    if (function == nullptr || string_field(*function, "name").value_or("").empty()) {
      fail("every tool needs a \"function\" with a \"name\"");
    }
    object_field(*function, "parameters");
    tools.push_back(tool);
  }
  return tools;
}

int parse_top_logprobs(const Json& body) {
  constexpr int64_t kAny = int64_t{1} << 62;
  const int64_t top = int_field(body, "top_logprobs", -kAny, kAny).value_or(0);
  if (top < 0 || top > 20) fail("top_logprobs must be between 0 and 20");
  return bool_field(body, "logprobs").value_or(false) ? static_cast<int>(top) : -1;
}

std::optional<float> float_field(const Json& body, std::string_view name) {
  const auto number = number_field(body, name);
  if (!number) return std::nullopt;
  if (!(std::abs(*number) <= double{std::numeric_limits<float>::max()})) {
    fail("field \"" + std::string(name) + "\" is out of range");
  }
  return static_cast<float>(*number);
}

Extensions parse_extensions(const Json& body) {
  Extensions extensions;
  if (const Json* timeout = find_field(body, "timeout")) {
    extensions.timeout = parse_timeout(*timeout);
  }
  extensions.speculate = bool_field(body, "speculate");
  extensions.wants_queue_events = bool_field(body, "queue_events").value_or(false);
  extensions.ignore_end = bool_field(body, "ignore_eos").value_or(false);
  return extensions;
}

void check_supported(const GenerationRequest& request) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorCode::kUnsupported, what); };
  if (request.format.kind != FormatKind::kText) {
    refuse("structured output (format, response_format) is not supported yet; leave it out");
  }
  if (!request.suffix.empty()) refuse(request.model + " does not support insert");
  if (request.chat_template) {
    refuse("a template in the request is not supported yet; the model's own is used");
  }
  const bool has_images =
      !request.images.empty() ||
      std::any_of(request.messages.begin(), request.messages.end(),
                  [](const Message& message) { return !message.images.empty(); });
  if (has_images) refuse("\"" + request.model + "\" does not support images");
}

}  // namespace sluice::api
