#include "text/jinja/format_spec.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "text/jinja/object.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

std::string float_digits(double magnitude, char type, long precision, bool alternate) {
  bool upper = type == 'E' || type == 'F' || type == 'G';
  if (std::isnan(magnitude)) return upper ? "NAN" : "nan";
  if (std::isinf(magnitude)) return upper ? "INF" : "inf";
  if (type == '\0' && precision < 0) return float_repr(magnitude);
  if (precision < 0) precision = 6;
  if (precision > kMaxFieldWidth) throw TemplateError("precision too big");
  std::string form = alternate ? "%#.*" : "%.*";
  form.push_back(type == '\0' ? 'g' : type);
  int size = std::snprintf(nullptr, 0, form.c_str(), static_cast<int>(precision), magnitude);
  std::vector<char> buffer(static_cast<size_t>(size) + 1);
  std::snprintf(buffer.data(), buffer.size(), form.c_str(), static_cast<int>(precision), magnitude);
  return {buffer.data(), static_cast<size_t>(size)};
}

std::string integer_digits(unsigned long long magnitude, char type) {
  unsigned base = type == 'b' ? 2 : type == 'o' ? 8 : (type == 'x' || type == 'X') ? 16 : 10;
  const char* letters = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string digits;
  do {
    digits.push_back(letters[magnitude % base]);
    magnitude /= base;
  } while (magnitude > 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

namespace {

// Inserts the separator every `group` digits of the whole part, after adding zeros up to `width`.
std::string group_digits(const std::string& digits, char separator, size_t group, size_t width) {
  size_t whole = digits.find_first_not_of("0123456789abcdefABCDEF");
  if (whole == std::string::npos || group == 3) {
    whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  }
  std::string rest = digits.substr(whole), reversed;
  auto grouped_size = [&](size_t count) { return count + (count - 1) / group; };
  size_t count = whole;
  while (count > 0 && grouped_size(count) + rest.size() < width) ++count;
  for (size_t i = 0; i < count; ++i) {
    if (i > 0 && i % group == 0) reversed.push_back(separator);
    reversed.push_back(i < whole ? digits[whole - 1 - i] : '0');
  }
  std::reverse(reversed.begin(), reversed.end());
  return reversed + rest;
}

}  // namespace

std::string assemble_number(const FieldSpec& spec, bool negative, std::string_view prefix,
                            std::string digits) {
  std::string head = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  head += prefix;
  bool fills_inside = spec.align == '=';
  if (spec.grouping != '\0') {
    bool is_decimal = spec.type != 'b' && spec.type != 'o' && spec.type != 'x' && spec.type != 'X';
    bool zeros = fills_inside && spec.fill == '0';
    size_t width = static_cast<size_t>(std::max(spec.width, 0l));
    digits = group_digits(digits, spec.grouping, is_decimal ? 3 : 4,
                          zeros && width > head.size() ? width - head.size() : 0);
  }
  if (!fills_inside) return pad_field(spec, head + digits, '>');
  FieldSpec inside = spec;
  inside.align = '>';
  inside.width = spec.width - static_cast<long>(head.size());
  return head + pad_field(inside, digits, '>');
}

std::string pad_field(const FieldSpec& spec, std::string_view text, char align) {
  if (spec.width > kMaxFieldWidth) throw TemplateError("field width too big");
  auto length = static_cast<long>(count_code_points(text));
  if (spec.width <= length) return std::string(text);
  auto missing = static_cast<size_t>(spec.width - length);
  if (spec.align != '\0') align = spec.align;
  size_t before = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
  std::string out;
  for (size_t i = 0; i < before; ++i) append_utf8(out, spec.fill);
  out += text;
  for (size_t i = before; i < missing; ++i) append_utf8(out, spec.fill);
  return out;
}

}  // namespace sluice::text::jinja
