#include "api/unicode_repair.h"

#include <charconv>
#include <cstdint>

namespace sluice::api {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The number in "\uXXXX" at the front of `text`; -1 when that is not there.
int unicode_escape(std::string_view text) {
  if (text.size() < 6 || text[0] != '\\' || text[1] != 'u') return -1;
  int value = 0;
  const auto [end, error] = std::from_chars(text.data() + 2, text.data() + 6, value, 16);
  return error == std::errc() && end == text.data() + 6 ? value : -1;
}

bool is_high_surrogate(int unit) { return unit >= 0xD800 && unit < 0xDC00; }
bool is_low_surrogate(int unit) { return unit >= 0xDC00 && unit < 0xE000; }

// Bytes to keep from the front, which is an escape; 0 when it must be replaced.
size_t escape_length(std::string_view text) {
  const int unit = unicode_escape(text);
  if (unit < 0) return text.size() < 2 ? text.size() : 2;
  if (is_low_surrogate(unit)) return 0;
  if (!is_high_surrogate(unit)) return 6;
  return is_low_surrogate(unicode_escape(text.substr(6))) ? 12 : 0;
}

}  // namespace

size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0};
  };
  const auto is_tail = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t first = byte(0);
  if (text.empty()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first < 0xE0) return is_tail(1) ? 2 : 0;
  if (first >= 0xE0 && first < 0xF0) {
    const bool is_overlong = first == 0xE0 && byte(1) < 0xA0;
    const bool is_surrogate = first == 0xED && byte(1) >= 0xA0;
    return !is_overlong && !is_surrogate && is_tail(1) && is_tail(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first < 0xF5) {
    const bool is_overlong = first == 0xF0 && byte(1) < 0x90;
    const bool is_too_large = first == 0xF4 && byte(1) >= 0x90;
    return !is_overlong && !is_too_large && is_tail(1) && is_tail(2) && is_tail(3) ? 4 : 0;
  }
  return 0;
}

std::optional<std::string> repair_unicode(std::string_view text) {
  std::optional<std::string> repaired;
  size_t clean_begin = 0;  // text from here to `position` has not been copied yet
  size_t position = 0;
  while (position < text.size()) {
    const bool is_escape = text[position] == '\\';
    const std::string_view rest = text.substr(position);
    // What follows a backslash is looked at as part of the escape only when it is ASCII.
    size_t length = is_escape ? escape_length(rest) : utf8_length(rest);
    if (is_escape && length == 2 && (static_cast<uint8_t>(rest[1]) & 0x80) != 0) length = 1;
    if (length > 0) {
      position += length;
      continue;
    }
    if (!repaired) repaired.emplace();
    repaired->append(text.substr(clean_begin, position - clean_begin));
    repaired->append(kReplacement);
    position += is_escape ? 6 : 1;
    clean_begin = position;
  }
  if (repaired) repaired->append(text.substr(clean_begin));
  return repaired;
}

}  // namespace sluice::api
