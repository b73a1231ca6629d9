#include "measure/prompts.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/error.h"
#include "base/input_file.h"
#include "base/print.h"
#include "measure/text_lines.h"
#include "measure/traffic_mix.h"

namespace sluice::measure {
namespace {

using nlohmann::json;

constexpr double kMostTokens = 1e6;

std::optional<std::string> text_member(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<std::string> last_question(const json& object) {
  const auto messages = object.find("messages");
  if (messages == object.end() || !messages->is_array()) return std::nullopt;
  for (auto message = messages->rbegin(); message != messages->rend(); ++message) {
    if (message->is_object() && text_member(*message, "role") == "user") {
      return text_member(*message, "content");
    }
  }
  return std::nullopt;
}

std::optional<int> count_member(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  const auto value = found->get<int64_t>();
  if (value < 1 || value > static_cast<int64_t>(kMostTokens)) return std::nullopt;
  return static_cast<int>(value);
}

std::optional<Prompt> prompt_of(const json& object) {
  std::optional<std::string> text = text_member(object, "prompt");
  if (!text) text = text_member(object, "text");
  if (!text) text = last_question(object);
  if (!text) return std::nullopt;
  Prompt prompt{std::move(*text), count_member(object, "max_tokens")};
  if (!prompt.max_tokens) prompt.max_tokens = count_member(object, "output_length");
  return prompt;
}

Prompt parse_line(std::string_view line, const std::string& name, size_t number) {
  if (line.front() != '{' && line.front() != '"') return {std::string(line)};
  const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_object()) throw wrong_line(name, number, "this is no JSON");
  std::optional<Prompt> prompt = prompt_of(value);
  if (!prompt) {
    throw wrong_line(name, number, "the object has no \"prompt\", \"text\" or \"messages\"");
  }
  return std::move(*prompt);
}

double normal_from_bits(uint64_t bits, uint64_t more_bits) {
  return std::sqrt(2 * exponential_from_bits(bits)) *
         std::cos(2 * std::numbers::pi * uniform_from_bits(more_bits));
}

}  // namespace

std::vector<Prompt> parse_prompts(std::string_view text, const std::string& name) {
  std::vector<Prompt> prompts;
  for_each_line(text, [&](std::string_view line, size_t number) {
    prompts.push_back(parse_line(line, name, number));
  });
  if (prompts.empty()) throw Error(ErrorCode::kInvalidArgument, name + " holds no prompts");
  return prompts;
}

std::vector<Prompt> read_prompts(const std::string& path) {
  return parse_prompts(read_small_file(path, kMaxPromptFileBytes), path);
}

std::string LengthSpec::text() const {
  if (kind == Kind::kFixed) return print("%g", first);
  return print(kind == Kind::kUniform ? "%g-%g" : "%g~%g", first, second);
}

LengthSpec parse_length(std::string_view text, const std::string& what) {
  const size_t sign = text.find_first_of("-~");
  const auto number = [&](std::string_view part) {
    double value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    const bool is_number = error == std::errc() && end == part.data() + part.size();
    return is_number && value >= 0 && value <= kMostTokens ? value : -1;
  };
  LengthSpec spec{.first = number(text.substr(0, sign))};
  bool is_right = spec.first >= 1;
  if (sign != std::string_view::npos) {
    spec.kind = text[sign] == '-' ? LengthSpec::Kind::kUniform : LengthSpec::Kind::kNormal;
    spec.second = number(text.substr(sign + 1));
    is_right =
        is_right && spec.second >= (spec.kind == LengthSpec::Kind::kUniform ? spec.first : 0);
  }
  if (is_right) return spec;
  throw Error(ErrorCode::kInvalidArgument,
              what +
                  " should be a number of tokens such as 512, 100-900 (each as likely) or "
                  "512~128 (normal), not '" +
                  std::string(text) + "'");
}

int draw_length(const LengthSpec& spec, uint64_t bits, uint64_t more_bits) {
  double length = spec.first;
  if (spec.kind == LengthSpec::Kind::kUniform) {
    length =
        std::floor(spec.first + (spec.second - spec.first + 1) * (1 - uniform_from_bits(bits)));
  } else if (spec.kind == LengthSpec::Kind::kNormal) {
    length += spec.second * normal_from_bits(bits, more_bits);
  }
  return static_cast<int>(std::lround(std::clamp(length, 1.0, kMostTokens)));
}

}  // namespace sluice::measure
