#pragma once

#include <cstddef>
#include <cstdint>

// Tables behind unicode.h, generated.
namespace sluice::text::jinja {

// Ascending code points at which a property switches on and off.
struct CharacterSet {
  const uint32_t* boundaries;
  size_t size;
};

// Code points first, first + step ... last map to themselves plus delta.
struct CaseRange {
  uint32_t first, last, step;
  int32_t delta;
};
// A code point that maps to two or three (zero ends the list).
struct CaseSpecial {
  uint32_t code_point;
  uint32_t mapped[3];
};
struct CaseMapping {
  const CaseRange* ranges;
  size_t num_ranges;
  const CaseSpecial* specials;
  size_t num_specials;
};

extern const CharacterSet kSpace, kAlpha, kDecimal, kDigit, kNumeric, kPrintable, kUpper, kLower,
    kTitle, kCaseIgnorable, kIdentifierStart, kIdentifierContinue;
extern const CaseMapping kToUpper, kToLower, kToTitle, kFold;

}  // namespace sluice::text::jinja
