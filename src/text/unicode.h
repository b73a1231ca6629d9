#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::text {

// General categories as pre-tokenizers tell them apart (Unicode 15.1). White space (the property
// White_Space) comes before the categories: line feeds are kSpace, not kOther.
enum class CharClass : uint8_t {
  kOther = 0,  // controls, formats, unassigned, surrogates
  kUpper = 1,
  kLower = 2,
  kTitle = 3,
  kModifierLetter = 4,
  kOtherLetter = 5,
  kMark = 6,
  kNumber = 7,
  kPunctuation = 8,
  kSymbol = 9,
  kSpace = 10,
  kEnd = 15,  // behind the last character of a text
};

// Sets of classes: bit number = class. kEnd is in none of them.
using ClassMask = uint16_t;
constexpr ClassMask mask_of(CharClass c) {
  return static_cast<ClassMask>(1u << static_cast<int>(c));
}
inline constexpr ClassMask kMarks = mask_of(CharClass::kMark);
inline constexpr ClassMask kNumbers = mask_of(CharClass::kNumber);
inline constexpr ClassMask kPunctuations = mask_of(CharClass::kPunctuation);
inline constexpr ClassMask kSymbols = mask_of(CharClass::kSymbol);
inline constexpr ClassMask kSpaces = mask_of(CharClass::kSpace);
inline constexpr ClassMask kLetters = 0b111110;
inline constexpr ClassMask kAllClasses = 0b11111111111;

constexpr ClassMask without(ClassMask mask) { return kAllClasses & static_cast<ClassMask>(~mask); }

CharClass char_class(char32_t code);

// One character of a text and how many bytes it takes; at the end: code 0, kEnd, size 0.
struct Char {
  char32_t code = 0;
  CharClass char_class = CharClass::kEnd;
  uint8_t size = 0;

  bool in(ClassMask mask) const { return (mask >> static_cast<int>(char_class)) & 1; }
};

// The character at `p`. The text must have the form that repair_utf8 leaves.
Char char_at(const char* p, const char* end);

// Whether every byte belongs to a well-formed UTF-8 sequence.
bool is_utf8(std::string_view text);

// Makes a text that char_at can walk: each byte that starts no sequence becomes U+FFFD. As the
// reference tokenizer does, overlong forms become the character they stand for, and surrogates
// stay.
std::string repair_utf8(std::string_view text);

// The first bytes of `text`, about `size` at most, cut in front of a character.
std::string_view utf8_prefix(std::string_view text, size_t size);

// Length of the sequence that a byte announces, by its high bits alone; 1 for a continuation byte.
size_t utf8_length(char lead);

// Bytes at the start of `bytes` that are one well-formed sequence (then `is_valid`), or the longest
// part of one that can no longer, or not yet (`is_incomplete`), become well-formed: what Unicode
// calls a maximal subpart and Python's "replace" turns into one U+FFFD. `bytes` is not empty.
struct Utf8Step {
  size_t size = 1;
  bool is_valid = false;
  bool is_incomplete = false;
};
Utf8Step utf8_step(std::string_view bytes);

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// A byte that is in no well-formed sequence, where it counts as a character: this plus the byte.
inline constexpr char32_t kInvalidByte = 0x110000;

// The character, or invalid byte, at `position` (< text.size()); moves `position` behind it.
char32_t next_wide_code_point(std::string_view text, size_t& position);  // any character
inline char32_t next_code_point(std::string_view text, size_t& position) {
  const auto lead = static_cast<uint8_t>(text[position]);
  if (lead >= 0x80) return next_wide_code_point(text, position);
  ++position;
  return lead;
}
// Writes either.
void append_utf8(std::string& out, char32_t code);

}  // namespace sluice::text
