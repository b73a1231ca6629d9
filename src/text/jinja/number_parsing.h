#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::text::jinja {

// int(text, base) of Python; base 0 reads prefixes. Nothing when the text is no integer; throws
// TemplateError when it does not fit 64 bits.
std::optional<int64_t> parse_python_int(std::string_view text, int64_t base);
// float(text) of Python.
std::optional<double> parse_python_float(std::string_view text);
// int(value) for a float; throws TemplateError when it does not fit.
int64_t truncate_to_int(double value);
// round(value, digits) of Python: correctly rounded, ties to even.
double round_to_digits(double value, int64_t digits);
int64_t round_to_digits(int64_t value, int64_t digits);

}  // namespace sluice::text::jinja
