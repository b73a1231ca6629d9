#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// The literals of jinja2's expression language.
namespace sluice::text::jinja {

// Lengths of what stands at the start of `text`; 0 when there is none.
size_t name_length(std::string_view text);
size_t float_length(std::string_view text);
size_t integer_length(std::string_view text);

// Value of an integer literal with its prefix and underscores; false when it does not fit 64 bits.
bool parse_integer(std::string_view literal, int64_t& value);
double parse_float(std::string_view literal);

// Replaces the escapes of a string literal as Python does. Returns what is wrong, or "".
std::string unescape(std::string_view literal, std::string& value);

}  // namespace sluice::text::jinja
