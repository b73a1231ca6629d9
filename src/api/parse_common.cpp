#include "api/parse_common.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <utility>

#include "api/error.h"
#include "base/error.h"

namespace sluice::api {
namespace {

bool is_base64_character(char character) {
  return std::isalnum(static_cast<unsigned char>(character)) != 0 || character == '+' ||
         character == '/';
}

std::string shortened(std::string text) {
  constexpr size_t kMaxBytes = 100;
  if (text.size() > kMaxBytes) text = text.substr(0, kMaxBytes) + "...";
  return text;
}

std::string in_quotes(std::string_view name) { return "\"" + std::string(name) + "\""; }

void check_num_items(const Json& list, std::string_view name, size_t max_items) {
  if (list.size() <= max_items) return;
  fail("too many items in " + in_quotes(name) + ": " + std::to_string(list.size()) +
       "; send at most " + std::to_string(max_items) + " in one request");
}

// Sorted by name.
struct Unhonoured {
  std::string_view name;
  std::string_view neutral = {};  // JSON of the value that changes nothing; "": 0, false
};
constexpr std::array kUnhonoured = {
    Unhonoured{"adapter_id"},
    Unhonoured{"add_generation_prompt", "true"},
    Unhonoured{"allowed_token_ids"},
    Unhonoured{"audio"},
    Unhonoured{"bad_words"},
    Unhonoured{"best_of", "1"},
    Unhonoured{"chat_template"},
    Unhonoured{"chat_template_kwargs"},
    Unhonoured{"continue_final_message"},
    Unhonoured{"documents"},
    Unhonoured{"dry_multiplier"},
    Unhonoured{"dynatemp_range"},
    Unhonoured{"echo"},
    Unhonoured{"format"},
    Unhonoured{"include_stop_str_in_output"},
    Unhonoured{"length_penalty", "1"},
    Unhonoured{"logit_bias"},
    Unhonoured{"logits_processors"},
    Unhonoured{"lora"},
    Unhonoured{"min_tokens"},
    Unhonoured{"mirostat"},
    Unhonoured{"modalities", R"(["text"])"},
    Unhonoured{"n", "1"},
    Unhonoured{"n_predict", "-1"},
    Unhonoured{"n_probs"},
    Unhonoured{"prompt_logprobs"},
    Unhonoured{"response_format", R"({"type":"text"})"},
    Unhonoured{"samplers"},
    Unhonoured{"skip_special_tokens", "true"},
    Unhonoured{"spaces_between_special_tokens", "true"},
    Unhonoured{"stop_sequences"},
    Unhonoured{"stop_token_ids"},
    Unhonoured{"tool_choice", R"("auto")"},
    Unhonoured{"tools"},
    Unhonoured{"top_a"},
    Unhonoured{"top_n_sigma"},
    Unhonoured{"truncate_prompt_tokens"},
    Unhonoured{"use_beam_search"},
    Unhonoured{"web_search_options"},
    Unhonoured{"xtc_probability"},
};
static_assert(std::ranges::is_sorted(kUnhonoured, {}, &Unhonoured::name));

bool changes_nothing(const Json& value, const Unhonoured& field) {
  const bool is_number_or_truth = value.is_number() || value.is_boolean();
  if (!is_number_or_truth && (value.empty() || value == "")) return true;
  if (!field.neutral.empty()) return value == Json::parse(field.neutral);
  return value == 0 || value == false;
}

}  // namespace

void refuse_unhonoured(const Json& body, std::initializer_list<std::string_view> honoured) {
  for (const auto& [name, value] : body.get_ref<const Json::object_t&>()) {
    const auto field = std::lower_bound(
        kUnhonoured.begin(), kUnhonoured.end(), name,
        [](const Unhonoured& left, const std::string& right) { return left.name < right; });
    if (field == kUnhonoured.end() || field->name != name) continue;
    if (std::ranges::find(honoured, field->name) != honoured.end()) continue;
    if (!changes_nothing(value, *field)) {
      throw Error(ErrorCode::kUnsupported,
                  "field " + in_quotes(name) + " is not supported; leave it out");
    }
  }
}

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

std::vector<std::string> parse_strings(Json& value, std::string_view name) {
  std::vector<std::string> strings;
  for (Json& item : value) {
    if (!item.is_string()) fail("field " + in_quotes(name) + " must be a list of strings");
    strings.push_back(std::move(item.get_ref<std::string&>()));
  }
  return strings;
}

std::vector<std::string> parse_stops(Json& value, std::string_view name) {
  check_num_items(value, name, engine::kMaxStopStrings);
  return parse_strings(value, name);
}

std::vector<text::TokenId> parse_tokens(const Json& list, std::string_view name) {
  std::vector<text::TokenId> tokens;
  tokens.reserve(list.size());
  for (const Json& item : list) {
    const bool is_id = item.is_number_unsigned() &&
                       item.get<uint64_t>() <= uint64_t{std::numeric_limits<int32_t>::max()};
    if (!is_id) fail("field " + in_quotes(name) + " must be a list of token ids");
    tokens.push_back(item.get<text::TokenId>());
  }
  return tokens;
}

std::vector<TextOrTokens> parse_texts_or_tokens(Json* value, std::string_view name,
                                                size_t max_items) {
  if (value == nullptr) return {};
  std::vector<TextOrTokens> items;
  const auto add = [&](Json& item) {
    if (item.is_string()) {
      items.emplace_back(std::move(item.get_ref<std::string&>()));
    } else if (item.is_array() && !item.empty()) {
      items.emplace_back(parse_tokens(item, name));
    } else {
      fail("invalid " + std::string(name) + " type");
    }
  };
  const bool is_one = !value->is_array() || (!value->empty() && value->front().is_number());
  if (is_one) {
    add(*value);
    return items;
  }
  check_num_items(*value, name, max_items);
  for (Json& item : *value) add(item);
  return items;
}

int parse_top_logprobs(const Json& body) {
  constexpr int64_t kAny = int64_t{1} << 62;
  const int64_t top = int_field(body, "top_logprobs", -kAny, kAny).value_or(0);
  if (top < 0 || top > 20) fail("top_logprobs must be between 0 and 20");
  return bool_field(body, "logprobs").value_or(false) ? static_cast<int>(top) : -1;
}

std::string model_field(const Json& body) {
  const std::string model = string_field(body, "model").value_or("");
  return model.empty() ? string_field(body, "name").value_or("") : model;
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
  const bool has_images =
      !request.images.empty() ||
      std::any_of(request.messages.begin(), request.messages.end(),
                  [](const Message& message) { return !message.images.empty(); });
  if (has_images) refuse("\"" + request.model + "\" does not support images");
}

}  // namespace sluice::api
