#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/format_spec.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

// str.format and format().
namespace sluice::text::jinja {

namespace {

FieldSpec parse_spec(std::string_view text) {
  FieldSpec spec;
  auto is_align = [](char32_t c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  size_t first_end = 0;
  if (!text.empty()) {
    char32_t first = next_code_point(text, first_end);
    if (first_end < text.size() && is_align(static_cast<unsigned char>(text[first_end]))) {
      spec.fill = first;
      spec.align = text[first_end];
      text.remove_prefix(first_end + 1);
    } else if (is_align(first)) {
      spec.align = text[0];
      text.remove_prefix(1);
    }
  }
  auto take = [&](std::string_view choices, char& target) {
    if (text.empty() || choices.find(text[0]) == std::string_view::npos) return false;
    target = text[0];
    text.remove_prefix(1);
    return true;
  };
  auto number = [&] {
    long value = 0;
    while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
      value = std::min(value * 10 + (text[0] - '0'), kMaxFieldWidth + 1);
      text.remove_prefix(1);
    }
    return value;
  };
  char ignored = '\0';
  take("+- ", spec.sign);
  spec.alternate = take("#", ignored);
  if (take("0", ignored) && spec.align == '\0') {
    spec.fill = '0';
    spec.align = '=';
  }
  spec.width = number();
  take(",_", spec.grouping);
  if (take(".", ignored)) {
    if (text.empty() || text[0] < '0' || text[0] > '9') {
      throw TemplateError("Format specifier missing precision");
    }
    spec.precision = number();
  }
  if (text.size() > 1) throw TemplateError("Invalid format specifier");
  if (!text.empty()) spec.type = text[0];
  return spec;
}

[[noreturn]] void throw_unknown_type(char type, const Val& value) {
  throw TemplateError(std::string("Unknown format code '") + type + "' for object of type '" +
                      std::string(type_name(value)) + "'");
}

std::string format_string(const FieldSpec& spec, std::string text, const Val& value) {
  if (spec.type != '\0' && spec.type != 's') throw_unknown_type(spec.type, value);
  if (spec.align == '=' && spec.fill != '0') {
    throw TemplateError("'=' alignment not allowed in string format specifier");
  }
  if (spec.sign != '-' || spec.alternate || spec.grouping != '\0') {
    throw TemplateError("sign, '#' and ',' are not allowed in a string format specifier");
  }
  if (spec.precision >= 0) text.resize(byte_offset(text, static_cast<size_t>(spec.precision)));
  FieldSpec field = spec;
  if (field.align == '=') field.align = '<';  // a '0' before the width only sets the fill
  return pad_field(field, text, '<');
}

std::string format_float(FieldSpec spec, double number) {
  bool percent = spec.type == '%';
  char type = percent ? 'f' : spec.type;
  if (type == 'n') type = 'g';
  if (percent) number *= 100;
  bool negative = std::signbit(number) && !std::isnan(number);
  std::string digits = float_digits(std::fabs(number), type, spec.precision, spec.alternate);
  // Without a type, a precision still shows one digit behind the point.
  bool bare = spec.type == '\0' && spec.precision >= 0 && std::isfinite(number);
  if (bare && digits.find_first_of(".e") == std::string::npos) {
    if (static_cast<long>(digits.size()) < std::max(spec.precision, 1l)) {
      digits += ".0";
    } else {
      digits = float_digits(std::fabs(number), 'e', std::max(spec.precision - 1, 0l), false);
    }
  }
  if (percent) digits.push_back('%');
  return assemble_number(spec, negative, "", std::move(digits));
}

std::string format_integer(FieldSpec spec, const Val& value) {
  static constexpr std::string_view kFloatTypes = "eEfFgG%";
  if (spec.type != '\0' && kFloatTypes.find(spec.type) != std::string_view::npos) {
    return format_float(spec, value.as_double());
  }
  if (spec.precision >= 0) {
    throw TemplateError("Precision not allowed in integer format specifier");
  }
  int64_t number = value.int_value();
  if (spec.type == 'c') {
    if (number < 0 || number > 0x10FFFF) throw TemplateError("%c arg not in range(0x110000)");
    std::string one;
    append_utf8(one, static_cast<char32_t>(number));
    return pad_field(spec, one, '<');
  }
  static constexpr std::string_view kTypes("\0dnboxX", 7);
  if (kTypes.find(spec.type) == std::string_view::npos) throw_unknown_type(spec.type, value);
  auto magnitude = number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  bool is_decimal = spec.type == '\0' || spec.type == 'd' || spec.type == 'n';
  std::string prefix;
  if (spec.alternate && !is_decimal) prefix = std::string("0") + spec.type;
  return assemble_number(spec, number < 0, prefix, integer_digits(magnitude, spec.type));
}

class BraceFormatter {
 public:
  BraceFormatter(Interpreter& interpreter, const CallArgs& args)
      : interpreter_(interpreter), args_(args) {}

  std::string run(std::string_view format, int nesting) {
    if (nesting > 2) throw TemplateError("Max string recursion exceeded");
    std::string out;
    for (size_t i = 0; i < format.size(); ++i) {
      char c = format[i];
      bool doubled = i + 1 < format.size() && format[i + 1] == c;
      if ((c == '{' || c == '}') && doubled) {
        out.push_back(c);
        ++i;
      } else if (c == '}') {
        throw TemplateError("Single '}' encountered in format string");
      } else if (c == '{') {
        size_t end = field_end(format, i + 1);
        out += field(format.substr(i + 1, end - i - 1), nesting);
        i = end;
      } else {
        out.push_back(c);
      }
      heap().check_bytes(2 * out.size());
    }
    heap().charge_bytes(format.size() + out.size());
    return out;
  }

 private:
  Heap& heap() const { return interpreter_.heap(); }

  static size_t field_end(std::string_view format, size_t start) {
    int depth = 1;
    for (size_t i = start; i < format.size(); ++i) {
      depth += format[i] == '{' ? 1 : format[i] == '}' ? -1 : 0;
      if (depth == 0) return i;
    }
    throw TemplateError("expected '}' before end of string");
  }

  std::string field(std::string_view text, int nesting) {
    heap().charge(1);
    size_t name_end = 0;
    for (int brackets = 0; name_end < text.size(); ++name_end) {
      char c = text[name_end];
      brackets += c == '[' ? 1 : c == ']' ? -1 : 0;
      if (brackets == 0 && (c == '!' || c == ':')) break;
    }
    Val value = lookup(text.substr(0, name_end));
    std::string_view rest = text.substr(name_end);
    if (!rest.empty() && rest[0] == '!') {
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':')) {
        throw TemplateError("expected ':' after conversion specifier");
      }
      value = convert(value, rest[1]);
      rest.remove_prefix(2);
    }
    if (!rest.empty()) rest.remove_prefix(1);
    return format_value(heap(), value, run(rest, nesting + 1));
  }

  Val convert(const Val& value, char how) {
    if (how == 's') return interpreter_.string(to_text(heap(), value));
    if (how == 'r') return interpreter_.string(to_repr(heap(), value));
    if (how == 'a') return interpreter_.string(ascii_only(to_repr(heap(), value)));
    throw TemplateError(std::string("Unknown conversion specifier '") + how + "'");
  }

  // "name.attribute[item]".
  Val lookup(std::string_view path) {
    size_t end = std::min(path.find_first_of(".["), path.size());
    Val value = first(path.substr(0, end), end == path.size());
    path.remove_prefix(end);
    while (!path.empty()) {
      heap().charge(1);
      if (path[0] == '.') {
        end = std::min(path.find_first_of(".[", 1), path.size());
        if (end == 1) throw TemplateError("Empty attribute in format string");
        value = get_attribute(heap(), value, path.substr(1, end - 1));
        path.remove_prefix(end);
        continue;
      }
      end = path.find(']');
      if (path[0] != '[' || end == std::string_view::npos || end == 1) {
        throw TemplateError("Missing ']' in format string");
      }
      value = get_item(heap(), value, key_of(path.substr(1, end - 1)));
      path.remove_prefix(end + 1);
    }
    return value;
  }

  Val key_of(std::string_view text) {
    int64_t index = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
    bool is_index = error == std::errc() && end == text.data() + text.size() && text[0] != '-';
    return is_index ? Val::integer(index) : interpreter_.string(std::string(text));
  }

  // The argument that a path starts with. Only a path of nothing else counts as numbered
  // automatically or by hand, as in Python's Formatter.
  Val first(std::string_view name, bool is_whole_path) {
    if (name.empty() && is_whole_path) {
      if (manual_) throw TemplateError("cannot switch from manual to automatic field numbering");
      automatic_ = true;
      return positional(next_++);
    }
    size_t index = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    if (error == std::errc() && end == name.data() + name.size()) {
      if (is_whole_path && automatic_) {
        throw TemplateError("cannot switch from automatic to manual field numbering");
      }
      manual_ = manual_ || is_whole_path;
      return positional(index);
    }
    for (const auto& [keyword, value] : args_.keywords) {
      if (keyword == name) return value;
    }
    throw TemplateError("no value for '" + std::string(name) + "' in the format");
  }

  Val positional(size_t index) const {
    if (index >= args_.positional.size()) {
      throw TemplateError("Replacement index out of range for positional args tuple");
    }
    return args_.positional[index];
  }

  Interpreter& interpreter_;
  const CallArgs& args_;
  size_t next_ = 0;
  bool automatic_ = false, manual_ = false;
};

}  // namespace

std::string format_value(Heap& heap, const Val& value, std::string_view text) {
  if (text.empty()) return to_text(heap, value);
  if (!value.is_string() && !value.is_number()) {
    throw TemplateError("unsupported format string passed to " + std::string(type_name(value)));
  }
  FieldSpec spec = parse_spec(text);
  heap.check_bytes(4 * static_cast<size_t>(std::max(spec.width, spec.precision)) + 64);
  if (value.is_string()) return format_string(spec, value.text(), value);
  if (value.is_integral()) return format_integer(spec, value);
  static constexpr std::string_view kTypes("\0eEfFgGn%", 9);
  if (kTypes.find(spec.type) == std::string_view::npos) throw_unknown_type(spec.type, value);
  return format_float(spec, value.float_value());
}

std::string format_braces(Interpreter& interpreter, const Val& format, const CallArgs& args) {
  return BraceFormatter(interpreter, args).run(format.text(), 0);
}

}  // namespace sluice::text::jinja
