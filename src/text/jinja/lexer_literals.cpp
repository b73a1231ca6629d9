#include "text/jinja/lexer_literals.h"

#include <charconv>
#include <cstdio>
#include <limits>

#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

namespace {

bool is_digit(char c, int base) {
  int value = c >= '0' && c <= '9'   ? c - '0'
              : c >= 'a' && c <= 'f' ? c - 'a' + 10
              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                     : 99;
  return value < base;
}

// Length of digits with single underscores between them; `lead` allows one before the first.
size_t digits_length(std::string_view text, int base, bool lead) {
  size_t i = 0;
  while (i < text.size()) {
    size_t digit = i + (text[i] == '_' && (i > 0 || lead) ? 1 : 0);
    if (digit >= text.size() || !is_digit(text[digit], base)) break;
    i = digit + 1;
  }
  return i;
}

int radix_of(std::string_view text) {
  if (text.size() < 2 || text[0] != '0') return 10;
  switch (text[1]) {
    case 'b':
    case 'B':
      return 2;
    case 'o':
    case 'O':
      return 8;
    case 'x':
    case 'X':
      return 16;
    default:
      return 10;
  }
}

std::string without_underscores(std::string_view literal) {
  std::string result;
  for (char c : literal) {
    if (c != '_') result.push_back(c);
  }
  return result;
}

size_t exponent_length(std::string_view text) {
  if (text.empty() || (text[0] != 'e' && text[0] != 'E')) return 0;
  size_t sign = text.size() > 1 && (text[1] == '+' || text[1] == '-') ? 1 : 0;
  size_t digits = digits_length(text.substr(1 + sign), 10, false);
  return digits == 0 ? 0 : 1 + sign + digits;
}

struct Unescaper {
  std::string_view in;
  std::string& out;
  size_t position = 0;

  // The character behind a backslash. Returns what is wrong, or "".
  std::string escape() {
    char c = in[position];
    static constexpr std::string_view kNames = "\\'\"abfnrtv";
    static constexpr std::string_view kValues = "\\'\"\a\b\f\n\r\t\v";
    if (size_t i = kNames.find(c); i != std::string_view::npos) {
      out.push_back(kValues[i]);
      ++position;
      return "";
    }
    if (c == '\n') {
      ++position;
      return "";
    }
    if (is_digit(c, 8)) return octal();
    if (c == 'x') return hexadecimal(2);
    if (c == 'u') return hexadecimal(4);
    if (c == 'U') return hexadecimal(8);
    if (c == 'N') return "character names (\\N{...}) are not supported";
    if (static_cast<unsigned char>(c) >= 0x80) {
      spell_out();
      return "";
    }
    out.push_back('\\');
    out.push_back(c);
    ++position;
    return "";
  }

  std::string octal() {
    char32_t value = 0;
    for (int i = 0; i < 3 && position < in.size() && is_digit(in[position], 8); ++i) {
      value = value * 8 + static_cast<char32_t>(in[position++] - '0');
    }
    append_utf8(out, value);
    return "";
  }

  std::string hexadecimal(size_t digits) {
    std::string_view text = in.substr(position + 1, digits);
    unsigned value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (text.size() != digits || error != std::errc() || end != text.data() + digits) {
      return "truncated \\" + std::string(1, in[position]) + " escape";
    }
    if (value > 0x10FFFF) return "illegal Unicode character";
    append_utf8(out, value);
    position += 1 + digits;
    return "";
  }

  // jinja2 writes other scripts as escapes before it reads escapes, so a backslash before such a
  // character leaves the spelled-out form.
  void spell_out() {
    char32_t c = next_code_point(in, position);
    if (c >= kInvalidByte) c -= kInvalidByte;
    char text[16];
    const char* form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
    std::snprintf(text, sizeof text, form, static_cast<unsigned>(c));
    out += text;
  }
};

}  // namespace

size_t name_length(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    size_t next = position;
    char32_t c = next_code_point(text, next);
    bool continues = c == '_' || has(position == 0 ? kIdentifierStart : kIdentifierContinue, c);
    if (!continues) break;
    position = next;
  }
  return position;
}

size_t float_length(std::string_view text) {
  size_t whole = digits_length(text, 10, false);
  if (whole == 0) return 0;
  size_t fraction = 0;
  if (whole < text.size() && text[whole] == '.') {
    size_t digits = digits_length(text.substr(whole + 1), 10, false);
    if (digits > 0) fraction = 1 + digits;
  }
  size_t exponent = exponent_length(text.substr(whole + fraction));
  return fraction + exponent == 0 ? 0 : whole + fraction + exponent;
}

size_t integer_length(std::string_view text) {
  int radix = radix_of(text);
  if (radix != 10) {
    size_t digits = digits_length(text.substr(2), radix, true);
    if (digits > 0) return 2 + digits;
  }
  if (text[0] != '0') return digits_length(text, 10, false);
  size_t i = 1;  // only zeros may follow a zero
  while (i < text.size()) {
    size_t zero = i + (text[i] == '_' ? 1 : 0);
    if (zero >= text.size() || text[zero] != '0') break;
    i = zero + 1;
  }
  return i;
}

bool parse_integer(std::string_view literal, int64_t& value) {
  int radix = literal.size() > 2 ? radix_of(literal) : 10;
  std::string digits = without_underscores(literal.substr(radix == 10 ? 0 : 2));
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, radix);
  return error == std::errc() && end == digits.data() + digits.size();
}

double parse_float(std::string_view literal) {
  std::string digits = without_underscores(literal);
  double value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::result_out_of_range) {
    // Too big or too small: the exponent's sign tells which.
    bool tiny = digits.find("e-") != std::string::npos || digits.find("E-") != std::string::npos;
    return tiny ? 0.0 : std::numeric_limits<double>::infinity();
  }
  return value;
}

std::string unescape(std::string_view literal, std::string& value) {
  Unescaper unescaper{literal, value};
  while (unescaper.position < literal.size()) {
    char c = literal[unescaper.position++];
    if (c != '\\') {
      value.push_back(c);
    } else if (std::string problem = unescaper.escape(); !problem.empty()) {
      return problem;
    }
  }
  return "";
}

}  // namespace sluice::text::jinja
