#pragma once

#include <string>
#include <string_view>

namespace sluice::text::jinja {

// The common part of "%08.3f" and "{:>8}": what a field asks for.
struct FieldSpec {
  char32_t fill = ' ';
  char align = '\0';  // '<', '>', '^', '=' or 0 for the type's own
  char sign = '-';    // '-', '+' or ' '
  bool alternate = false;
  char grouping = '\0';  // ',' or '_'
  long width = 0;
  long precision = -1;
  char type = '\0';
};

// Longest field: far beyond any use, and no way to eat memory.
constexpr long kMaxFieldWidth = 1 << 20;

// Digits of a finite or infinite number, without sign, in the form of `type` (e, f, g, E, F, G, or
// 0 for repr-like).
std::string float_digits(double magnitude, char type, long precision, bool alternate);
// Digits of an integer in the base of `type` (d, b, o, x, X), without sign or prefix.
std::string integer_digits(unsigned long long magnitude, char type);
// Puts sign, prefix and digits together with the field's grouping, fill and width.
std::string assemble_number(const FieldSpec& spec, bool negative, std::string_view prefix,
                            std::string digits);
// Fills `text` up to the width; `align` when the field names none.
std::string pad_field(const FieldSpec& spec, std::string_view text, char align);

}  // namespace sluice::text::jinja
