#include "text/unicode.h"

#include <utf8proc.h>

#include <array>
#include <cstring>
#include <memory>

namespace sluice::text {
namespace {

constexpr size_t kNumCodePoints = 0x110000;

CharClass class_of_category(utf8proc_category_t category) {
  switch (category) {
    case UTF8PROC_CATEGORY_LU:
      return CharClass::kUpper;
    case UTF8PROC_CATEGORY_LL:
      return CharClass::kLower;
    case UTF8PROC_CATEGORY_LT:
      return CharClass::kTitle;
    case UTF8PROC_CATEGORY_LM:
      return CharClass::kModifierLetter;
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kOtherLetter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return CharClass::kMark;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return CharClass::kSpace;
    default:
      break;
  }
  if (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO) {
    return CharClass::kPunctuation;
  }
  const bool is_symbol = category >= UTF8PROC_CATEGORY_SM && category <= UTF8PROC_CATEGORY_SO;
  return is_symbol ? CharClass::kSymbol : CharClass::kOther;
}

CharClass find_class(char32_t code) {
  if ((code >= '\t' && code <= '\r') || code == 0x85) return CharClass::kSpace;  // White_Space
  // What Unicode 15.1 has added to the 15.0 of Debian 12's library.
  if (code >= 0x2EBF0 && code <= 0x2EE5D) return CharClass::kOtherLetter;
  if ((code >= 0x2FFC && code <= 0x2FFF) || code == 0x31EF) return CharClass::kSymbol;
  return class_of_category(utf8proc_category(static_cast<utf8proc_int32_t>(code)));
}

// One byte a code point, so that a look-up is one load.
const CharClass* class_table() {
  static const std::unique_ptr<CharClass[]> table = [] {
    auto classes = std::make_unique_for_overwrite<CharClass[]>(kNumCodePoints);
    for (size_t code = 0; code < kNumCodePoints; ++code) {
      classes[code] = find_class(static_cast<char32_t>(code));
    }
    return classes;
  }();
  return table.get();
}

constexpr std::array<CharClass, 128> make_ascii_classes() {
  std::array<CharClass, 128> classes{};
  for (size_t code = '!'; code <= '~'; ++code) classes[code] = CharClass::kPunctuation;
  for (const char c : std::string_view("$+<=>^`|~")) {
    classes[static_cast<size_t>(c)] = CharClass::kSymbol;
  }
  for (size_t code = '0'; code <= '9'; ++code) classes[code] = CharClass::kNumber;
  for (size_t code = 'A'; code <= 'Z'; ++code) classes[code] = CharClass::kUpper;
  for (size_t code = 'a'; code <= 'z'; ++code) classes[code] = CharClass::kLower;
  for (size_t code = '\t'; code <= '\r'; ++code) classes[code] = CharClass::kSpace;
  classes[' '] = CharClass::kSpace;
  return classes;
}
constexpr std::array<CharClass, 128> kAsciiClasses = make_ascii_classes();

uint8_t byte_at(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

bool is_continuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// Decodes `size` bytes that have the right lead and continuation bits.
char32_t decode(const char* p, size_t size) {
  const auto bits = [p](size_t i) { return static_cast<char32_t>(p[i] & 0x3F); };
  const auto lead = static_cast<uint8_t>(p[0]);
  if (size == 2) return static_cast<char32_t>(lead & 0x1F) << 6 | bits(1);
  if (size == 3) return static_cast<char32_t>(lead & 0x0F) << 12 | bits(1) << 6 | bits(2);
  return static_cast<char32_t>(lead & 0x07) << 18 | bits(1) << 12 | bits(2) << 6 | bits(3);
}

// The second byte of a well-formed sequence lies in a range that depends on the first.
bool is_second_byte(uint8_t lead, uint8_t second) {
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

}  // namespace

CharClass char_class(char32_t code) {
  if (code >= kNumCodePoints) return CharClass::kOther;
  return code < 128 ? kAsciiClasses[code] : class_table()[code];
}

size_t utf8_length(char lead) {
  constexpr uint8_t kLengths[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
  return kLengths[static_cast<uint8_t>(lead) >> 4];
}

Char char_at(const char* p, const char* end) {
  if (p == end) return {};
  const auto lead = static_cast<uint8_t>(*p);
  if (lead < 128) return {lead, kAsciiClasses[lead], 1};
  const size_t size = utf8_length(*p);
  const char32_t code = decode(p, size);
  return {code, char_class(code), static_cast<uint8_t>(size)};
}

Utf8Step utf8_step(std::string_view bytes) {
  const uint8_t lead = byte_at(bytes, 0);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {1, false, false};
  const size_t size = utf8_length(bytes[0]);
  for (size_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return {i, false, true};
    const uint8_t next = byte_at(bytes, i);
    if (i == 1 ? !is_second_byte(lead, next) : (next & 0xC0) != 0x80) return {i, false, false};
  }
  return {size, true, false};
}

std::string_view utf8_prefix(std::string_view text, size_t size) {
  if (text.size() <= size) return text;
  size_t end = size;
  while (end > 0 && end + 3 > size && is_continuation(text[end])) --end;
  return text.substr(0, end > 0 ? end : size);
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    uint64_t word = 0;
    while (text.size() >= sizeof(word)) {
      std::memcpy(&word, text.data(), sizeof(word));
      if (word & 0x8080808080808080u) break;
      text.remove_prefix(sizeof(word));
    }
    if (text.empty()) break;
    const Utf8Step step = utf8_step(text);
    if (!step.is_valid) return false;
    text.remove_prefix(step.size);
  }
  return true;
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  for (size_t i = 0; i < text.size();) {
    const uint8_t lead = byte_at(text, i);
    const size_t size = utf8_length(text[i]);
    bool is_sequence = lead < 0x80 || (lead >= 0xC0 && lead < 0xF8 && i + size <= text.size());
    for (size_t k = 1; is_sequence && k < size; ++k) is_sequence = is_continuation(text[i + k]);
    const char32_t code = !is_sequence ? 0 : size == 1 ? lead : decode(text.data() + i, size);
    if (is_sequence && code < kNumCodePoints) {
      append_utf8(out, code);
      i += size;
    } else {
      out += kReplacement;
      ++i;
    }
  }
  return out;
}

char32_t next_wide_code_point(std::string_view text, size_t& position) {
  const char* start = text.data() + position;
  const Utf8Step step = utf8_step(text.substr(position));
  position += step.is_valid ? step.size : 1;
  if (!step.is_valid) return kInvalidByte + static_cast<uint8_t>(*start);
  return step.size == 1 ? static_cast<uint8_t>(*start) : decode(start, step.size);
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&out](char32_t byte) { out += static_cast<char>(static_cast<uint8_t>(byte)); };
  if (code >= kInvalidByte) {
    put(code - kInvalidByte);
  } else if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

}  // namespace sluice::text
