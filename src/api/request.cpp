#include "api/request.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/units.h"

namespace sluice::api {
namespace {

KeepAlive from_seconds(double seconds) {
  if (seconds < 0) return kForever;
  const double nanoseconds = seconds * 1e9;
  if (!(nanoseconds < static_cast<double>(kForever.count()))) return kForever;
  return KeepAlive(static_cast<int64_t>(nanoseconds));
}

std::optional<KeepAlive> from_duration(std::string_view text) {
  const auto duration = parse_go_duration(text);
  if (!duration) return std::nullopt;
  return duration->count() < 0 ? kForever : *duration;
}

[[noreturn]] void fail(const std::string& name, std::string_view text) {
  throw Error(ErrorCode::kInvalidArgument,
              "invalid " + name + " " + dump_json(Json(text.substr(0, 100))) +
                  ": give a number of seconds or a duration such as \"5m\"");
}

std::chrono::nanoseconds parse_value(const std::string& name, const Json& value) {
  if (value.is_number()) return from_seconds(value.get<double>());
  if (!value.is_string()) {
    throw Error(ErrorCode::kInvalidArgument,
                "field \"" + name + "\" must be a number of seconds or a duration such as \"5m\"");
  }
  const auto& text = value.get_ref<const std::string&>();
  const auto duration = from_duration(text);
  if (!duration) fail(name, text);
  return *duration;
}

std::chrono::nanoseconds parse_text(const std::string& name, std::string_view text) {
  if (const auto duration = from_duration(text)) return *duration;
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || std::isnan(seconds)) {
    fail(name, text);
  }
  return from_seconds(seconds);
}

// No time at all would be of no use to anyone.
Timeout none_if_zero(Timeout timeout) { return timeout == Timeout::zero() ? kNoTimeout : timeout; }

}  // namespace

void GenerationRequest::take_other_prompt(size_t index) {
  TextOrTokens other = std::move(other_prompts.at(index - 1));
  prompt.clear();
  prompt_tokens.reset();
  if (auto* text = std::get_if<std::string>(&other)) prompt = std::move(*text);
  if (auto* tokens = std::get_if<1>(&other)) prompt_tokens = std::move(*tokens);
}

KeepAlive parse_keep_alive(const Json& value) { return parse_value("keep_alive", value); }

KeepAlive parse_keep_alive_text(std::string_view text) { return parse_text("keep_alive", text); }

Timeout parse_timeout(const Json& value) { return none_if_zero(parse_value("timeout", value)); }

Timeout parse_timeout_text(std::string_view text) {
  return none_if_zero(parse_text("timeout", text));
}

}  // namespace sluice::api
