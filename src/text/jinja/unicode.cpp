#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>

namespace sluice::text::jinja {

namespace {

constexpr char32_t kSharpS = 0xDF, kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2;
constexpr char32_t kCapitalDottedI = 0x130, kDotAbove = 0x307;
constexpr ClassMask kCased =
    mask_of(CharClass::kUpper) | mask_of(CharClass::kLower) | mask_of(CharClass::kTitle);

enum class Case { kLower, kUpper, kTitle };

void append_upper(std::string& out, char32_t c, bool is_title) {
  const auto code = static_cast<utf8proc_int32_t>(c);
  if (c == kSharpS) {
    out += is_title ? "Ss" : "SS";
  } else {
    append_utf8(out,
                static_cast<char32_t>(is_title ? utf8proc_totitle(code) : utf8proc_toupper(code)));
  }
}

// `before` and `rest`: what stands around the character, whose sigma is another at a word's end.
void append_lower(std::string& out, char32_t c, char32_t before, std::string_view rest) {
  size_t next = 0;
  if (c == kCapitalDottedI) {
    out += 'i';
    append_utf8(out, kDotAbove);
  } else if (c == kCapitalSigma && is_alphabetic(before) &&
             (rest.empty() || !is_alphabetic(next_code_point(rest, next)))) {
    append_utf8(out, kFinalSigma);
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

// Each character in the case that `case_of` says, given the one before it (0 for the first).
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

bool strips(char32_t c, const std::u32string* set) {
  return set == nullptr ? is_space(c) : set->find(c) != std::u32string::npos;
}

}  // namespace

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t position = 0; position < text.size(); ++count) next_code_point(text, position);
  return count;
}

size_t byte_offset(std::string_view text, size_t index) {
  size_t position = 0;
  for (; index > 0 && position < text.size(); --index) next_code_point(text, position);
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
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  // From letters to symbols; what follows are separators, controls and what is not assigned.
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_SO) || c == ' ';
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
  return mapped(text, [](char32_t before) { return before == 0 ? Case::kTitle : Case::kLower; });
}

std::string title_text(std::string_view text) {
  return mapped(text, [](char32_t before) {
    return mask_of(char_class(before)) & kCased ? Case::kLower : Case::kTitle;
  });
}

// Words begin behind white space, '-' and opening brackets, not behind an apostrophe.
std::string title_words(std::string_view text) {
  return mapped(text, [](char32_t before) {
    const bool begins_word = before == 0 || is_space(before) ||
                             std::u32string_view(U"-({[<").find(before) != std::u32string::npos;
    return begins_word ? Case::kUpper : Case::kLower;
  });
}

std::string_view strip_left(std::string_view text, const std::u32string* set) {
  for (size_t next = 0; !text.empty() && strips(next_code_point(text, next), set); next = 0) {
    text.remove_prefix(next);
  }
  return text;
}

std::string_view strip_right(std::string_view text, const std::u32string* set) {
  while (!text.empty()) {
    // The last character starts at most three bytes before the last byte.
    size_t start = text.size() - 1;
    for (size_t back = 2; back <= std::min<size_t>(4, text.size()); ++back) {
      const Utf8Step step = utf8_step(text.substr(text.size() - back));
      if (step.is_valid && step.size == back) start = text.size() - back;
    }
    size_t position = start;
    if (!strips(next_code_point(text, position), set)) break;
    text = text.substr(0, start);
  }
  return text;
}

}  // namespace sluice::text::jinja
