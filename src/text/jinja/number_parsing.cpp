#include "text/jinja/number_parsing.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "text/jinja/object.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

namespace {

std::string_view stripped(std::string_view text) {
  return strip_right(strip_left(text, nullptr), nullptr);
}

// Digits with single underscores between them removed; false when one stands elsewhere.
bool remove_underscores(std::string_view text, std::string& digits) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits.push_back(text[i]);
      continue;
    }
    auto is_digit = [&](size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
    };
    if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) return false;
  }
  return true;
}

int prefix_base(std::string_view text) {
  if (text.size() < 2 || text[0] != '0') return 0;
  char c = static_cast<char>(text[1] | 0x20);
  return c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
}

}  // namespace

std::optional<int64_t> parse_python_int(std::string_view text, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  text = stripped(text);
  bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  int prefix = prefix_base(text);
  if (prefix != 0 && (base == 0 || base == prefix)) {
    text.remove_prefix(2);
    if (!text.empty() && text[0] == '_') text.remove_prefix(1);
    base = prefix;
  }
  std::string digits = negative ? "-" : "";
  if (!remove_underscores(text, digits) || text.empty() || text[0] == '-') return std::nullopt;
  if (base == 0) {
    base = 10;
    if (text[0] == '0' && digits.find_first_not_of("-0") != std::string::npos) return std::nullopt;
  }
  int64_t value = 0;
  auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
  if (end != digits.data() + digits.size() || error == std::errc::invalid_argument) {
    return std::nullopt;
  }
  if (error != std::errc()) throw TemplateError("integer does not fit 64 bits");
  return value;
}

std::optional<double> parse_python_float(std::string_view text) {
  text = stripped(text);
  bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  std::string digits;
  if (text.empty() || text[0] == '-' || text[0] == '+' || !remove_underscores(text, digits)) {
    return std::nullopt;
  }
  // from_chars also takes "nan(...)", which Python does not.
  if (digits.find('(') != std::string::npos) return std::nullopt;
  double value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end != digits.data() + digits.size() || error == std::errc::invalid_argument) {
    return std::nullopt;
  }
  if (error == std::errc::result_out_of_range) value = std::strtod(digits.c_str(), nullptr);
  return negative ? -value : value;
}

int64_t truncate_to_int(double value) {
  double whole = std::trunc(value);
  if (!(whole >= -9223372036854775808.0 && whole < 9223372036854775808.0)) {
    throw TemplateError("number does not fit a 64-bit integer");
  }
  return static_cast<int64_t>(whole);
}

double round_to_digits(double value, int64_t digits) {
  constexpr int64_t kMostDigits = 323, kLeastDigits = -308;
  if (!std::isfinite(value) || value == 0 || digits > kMostDigits) return value;
  if (digits < kLeastDigits) return std::copysign(0.0, value);
  char text[800];
  if (digits >= 0) {
    // The C library rounds the exact decimal value, ties to even, as Python does.
    std::snprintf(text, sizeof text, "%.*f", static_cast<int>(digits), value);
    return std::strtod(text, nullptr);
  }
  double unit = std::pow(10.0, static_cast<double>(-digits));
  double quotient = std::nearbyint(value / unit);
  return quotient == 0 ? std::copysign(0.0, value) : quotient * unit;
}

int64_t round_to_digits(int64_t value, int64_t digits) {
  if (digits >= 0) return value;
  if (digits < -18) return 0;
  int64_t unit = integer_power(10, -digits);
  int64_t rest = value % unit;
  if (rest < 0) rest += unit;
  int64_t down = 0;
  if (__builtin_sub_overflow(value, rest, &down)) {
    throw TemplateError("integer does not fit 64 bits");
  }
  bool is_odd = (down / unit) % 2 != 0;
  // rest < unit <= 10**18, so neither doubling nor the comparison overflows.
  if (2 * rest < unit || (2 * rest == unit && !is_odd)) return down;
  int64_t up = 0;
  if (__builtin_add_overflow(down, unit, &up)) throw TemplateError("integer does not fit 64 bits");
  return up;
}

}  // namespace sluice::text::jinja
