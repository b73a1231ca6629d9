#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "text/unicode.h"

namespace sluice::text::jinja {

namespace {

// Length of the well-formed sequence at `position`, or 1 for a stray byte, which sets `stray`.
size_t sequence_length(std::string_view text, size_t position, bool& stray) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  stray = false;
  unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  stray = lead < 0xC2 || lead > 0xF4 || position + length > text.size();
  for (size_t i = 1; i < length && !stray; ++i) stray = (byte(i) & 0xC0) != 0x80;
  if (!stray) {
    stray = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xF0 && byte(1) < 0x90) ||
            (lead == 0xF4 && byte(1) > 0x8F);
  }
  return stray ? 1 : length;
}

constexpr char32_t kSharpS = 0xDF, kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2;
constexpr char32_t kCapitalDottedI = 0x130, kDotAbove = 0x307;

void append_upper(std::string& out, char32_t c, bool is_title) {
  if (c == kSharpS) {
    out += is_title ? "Ss" : "SS";
  } else if (c >= kInvalidByte) {
    append_utf8(out, c);
  } else {
    const auto code = static_cast<utf8proc_int32_t>(c);
    append_utf8(out,
                static_cast<char32_t>(is_title ? utf8proc_totitle(code) : utf8proc_toupper(code)));
  }
}

// `before` and `rest`: what stands around the character, whose sigma is another at a word's end.
void append_lower(std::string& out, char32_t c, char32_t before, std::string_view rest) {
  size_t next = 0;
  const bool ends_word =
      is_alphabetic(before) && (rest.empty() || !is_alphabetic(next_code_point(rest, next)));
  if (c == kCapitalSigma && ends_word) {
    append_utf8(out, kFinalSigma);
  } else if (c == kCapitalDottedI) {
    out += 'i';
    append_utf8(out, kDotAbove);
  } else if (c >= kInvalidByte) {
    append_utf8(out, c);
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

constexpr ClassMask kCased =
    mask_of(CharClass::kUpper) | mask_of(CharClass::kLower) | mask_of(CharClass::kTitle);

enum class Case { kLower, kUpper, kTitle };

// Each character in the case that `case_of` says, given the one before it.
template <typename CaseOf>
std::string mapped(std::string_view text, CaseOf case_of) {
  std::string out;
  out.reserve(text.size());
  char32_t before = 0;
  for (size_t position = 0; position < text.size();) {
    const char32_t c = next_code_point(text, position);
    const Case wanted = case_of(before);
    if (wanted == Case::kLower) {
      append_lower(out, c, before, text.substr(position));
    } else {
      append_upper(out, c, wanted == Case::kTitle);
    }
    before = c;
  }
  return out;
}

}  // namespace

char32_t next_code_point(std::string_view text, size_t& position) {
  bool stray = false;
  size_t length = sequence_length(text, position, stray);
  auto lead = static_cast<unsigned char>(text[position]);
  if (length == 1) {
    ++position;
    return stray ? kInvalidByte + lead : lead;
  }
  char32_t result = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    result = (result << 6) | (static_cast<unsigned char>(text[position + i]) & 0x3Fu);
  }
  position += length;
  return result;
}

void append_utf8(std::string& text, char32_t c) {
  auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c >= kInvalidByte) {
    put(c - kInvalidByte);
  } else if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t position = 0; position < text.size(); ++count) {
    bool stray = false;
    position += sequence_length(text, position, stray);
  }
  return count;
}

std::u32string to_code_points(std::string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    result.push_back(next_code_point(text, position));
  }
  return result;
}

std::string to_utf8(std::u32string_view code_points) {
  std::string result;
  result.reserve(code_points.size());
  for (char32_t c : code_points) append_utf8(result, c);
  return result;
}

size_t byte_offset(std::string_view text, size_t index) {
  size_t position = 0;
  for (; index > 0 && position < text.size(); --index) {
    bool stray = false;
    position += sequence_length(text, position, stray);
  }
  return position;
}

bool is_space(char32_t c) { return (c >= 0x1C && c <= 0x1F) || char_class(c) == CharClass::kSpace; }
bool is_alphabetic(char32_t c) { return mask_of(char_class(c)) & kLetters; }
bool is_numeric(char32_t c) { return char_class(c) == CharClass::kNumber; }
bool is_alphanumeric(char32_t c) { return mask_of(char_class(c)) & (kLetters | kNumbers); }
bool is_upper(char32_t c) { return char_class(c) == CharClass::kUpper; }
bool is_lower(char32_t c) { return char_class(c) == CharClass::kLower; }
bool is_decimal(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

bool is_printable(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

bool is_in_case(std::string_view text, bool (*right)(char32_t), bool (*wrong)(char32_t)) {
  bool found = false;
  for (size_t position = 0; position < text.size();) {
    const char32_t c = next_code_point(text, position);
    if (wrong(c) || char_class(c) == CharClass::kTitle) return false;
    found = found || right(c);
  }
  return found;
}

std::string upper_text(std::string_view text) {
  return mapped(text, [](char32_t) { return Case::kUpper; });
}

std::string lower_text(std::string_view text) {
  return mapped(text, [](char32_t) { return Case::kLower; });
}

std::string capitalize_text(std::string_view text) {
  return mapped(text, [first = true](char32_t) mutable {
    return std::exchange(first, false) ? Case::kTitle : Case::kLower;
  });
}

std::string title_text(std::string_view text) {
  return mapped(text, [](char32_t before) {
    const bool in_word = mask_of(char_class(before)) & kCased;
    return in_word ? Case::kLower : Case::kTitle;
  });
}

namespace {
bool strips(char32_t c, const std::u32string* set) {
  return set == nullptr ? is_space(c) : set->find(c) != std::u32string::npos;
}
}  // namespace

std::string_view strip_left(std::string_view text, const std::u32string* set) {
  size_t position = 0;
  while (position < text.size()) {
    size_t next = position;
    if (!strips(next_code_point(text, next), set)) break;
    position = next;
  }
  return text.substr(position);
}

std::string_view strip_right(std::string_view text, const std::u32string* set) {
  while (!text.empty()) {
    // The last character starts at most three bytes before the last byte.
    size_t start = text.size() - 1;
    for (size_t back = 2; back <= std::min<size_t>(4, text.size()); ++back) {
      size_t candidate = text.size() - back;
      bool stray = false;
      if (sequence_length(text, candidate, stray) == back) start = candidate;
    }
    size_t position = start;
    if (!strips(next_code_point(text, position), set)) break;
    text = text.substr(0, start);
  }
  return text;
}

}  // namespace sluice::text::jinja
