#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/work.h"
#include "grammar/dfa.h"

// Numbers of JSON between two bounds, as text.
namespace sluice::grammar {

// A bound as a decimal: sign, digits before the point without leading zeros ("" is 0), digits
// behind it without trailing ones.
struct Decimal {
  bool is_negative = false;
  std::string whole;
  std::string fraction;

  // A JSON number. Nothing when it has too many digits to be compared here.
  static std::optional<Decimal> parse(std::string_view text);
  bool is_zero() const { return whole.empty() && fraction.empty(); }
};

struct Bound {
  Decimal value;
  bool is_strict = false;
};

struct NumberRange {
  bool is_integer = false;
  std::optional<Bound> low;
  std::optional<Bound> high;
  bool is_bounded = false;   // also by bounds too far away to matter here
  uint64_t multiple_of = 0;  // 0: of anything; otherwise an integer, and so are the numbers
};

// At most 16 digits before the point and behind it; an exponent only where there are no bounds.
// Integers have no point. Throws as Dfa does.
Dfa number_language(const NumberRange& range, Work& work);

}  // namespace sluice::grammar
