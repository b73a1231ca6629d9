#include <algorithm>
#include <cstdio>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

// "%s: %5.2f" % (a, b) and "{}: {:>8}".format(a, b), as far as prompts need them: text, decimal
// integers and decimal fractions, with sign, width, fill and precision.
namespace sluice::text::jinja {

namespace {

struct Field {
  std::string fill = " ";
  char align = '>';
  std::string flags;  // of printf: '+', ' ' and '0'
  int width = 0;
  int precision = -1;
  char type = 's';  // or d, e, f, g
};

[[noreturn]] void throw_unsupported(std::string_view what) {
  fail("the format '", what.substr(0, 40), "' is not supported");
}

// Takes the first character off when it is one of `wanted`; else 0.
char take(std::string_view& text, std::string_view wanted) {
  if (text.empty() || wanted.find(text[0]) == wanted.npos) return '\0';
  const char taken = text[0];
  text.remove_prefix(1);
  return taken;
}

int take_number(std::string_view& text) {
  constexpr int kMaxNumber = 1000;
  int value = 0;
  while (const char digit = take(text, "0123456789")) {
    value = value * 10 + (digit - '0');
    if (value > kMaxNumber) fail("a format's width or precision is too big");
  }
  return value;
}

void take_size(std::string_view& text, Field& field) {
  field.width = take_number(text);
  if (take(text, ".")) field.precision = take_number(text);
}

std::string number_text(const Field& field, const Val& value) {
  const bool is_integer = field.type == 'd';
  if (is_integer ? !value.is_integral() : !value.is_number()) {
    throw_type_error(std::string("format with '") + field.type + "'", value);
  }
  if (is_integer && field.precision >= 0) fail("a precision is for text and fractions only");
  const std::string form = "%" + field.flags + "*.*" + (is_integer ? "l" : "") + field.type;
  const int width = field.flags.find('0') != std::string::npos ? field.width : 0;
  char buffer[1500];  // the longest number has 309 digits, and what width and precision add
  if (is_integer) {
    std::snprintf(buffer, sizeof buffer, form.c_str(), width, field.precision,
                  static_cast<long>(value.int_value()));
  } else {
    std::snprintf(buffer, sizeof buffer, form.c_str(), width, field.precision, value.as_double());
  }
  return buffer;
}

PromptText format_field(Heap& heap, const Field& field, const Val& value) {
  PromptText text;
  if (field.type != 's') {
    text = PromptText(number_text(field, value), true);
  } else {
    text = to_string(heap, value).prompt_text();
    if (field.precision >= 0) {
      text = text.substr(0, byte_offset(text.text(), static_cast<size_t>(field.precision)));
    }
  }
  return padded(heap, text, field.align, field.width, field.fill);
}

void append(Heap& heap, PromptText& out, const PromptText& text) {
  heap.charge_bytes(64 + text.size());
  heap.check_bytes(2 * (out.size() + out.extra_bytes()) + text.size());
  out.append(text);
}

// "%[(name)][-+ 0][width][.precision]type" without its '%'. `used`: of the values without a name.
PromptText percent_field(Heap& heap, std::string_view& rest, const Val& args, const Vals& values,
                         size_t& used) {
  const std::string_view whole = rest;
  const Val* value = nullptr;
  if (take(rest, "(")) {
    const std::string_view name = rest.substr(0, rest.find(')'));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    if (args.is(Type::kDict)) value = args.as<DictObject>().find(name);
    if (value == nullptr) fail("the format has no value named '", name, "'");
  }
  Field field;
  while (const char flag = take(rest, "-+ 0")) {
    if (flag == '-') {
      field.align = '<';
    } else if (field.flags.find(flag) == std::string::npos) {
      field.flags += flag;
    }
  }
  if (field.align == '<') std::erase(field.flags, '0');
  take_size(rest, field);
  if (rest.empty()) fail("incomplete format");
  field.type = rest[0] == 'i' ? 'd' : rest[0];
  rest.remove_prefix(1);
  if (value == nullptr) {
    if (used == values.size()) fail("not enough arguments for format string");
    value = &values[used++];
  }
  switch (field.type) {
    case 'd':
      return format_field(heap, field,
                          value->is(Type::kFloat) ? to_integer(value->float_value()) : *value);
    case 's':
    case 'e':
    case 'f':
    case 'g':
      return format_field(heap, field, *value);
    default:
      throw_unsupported("%" + std::string(whole.substr(0, whole.size() - rest.size())));
  }
}

// "[[fill]align][+][0][width][.precision][type]".
Field parse_spec(std::string_view spec, const Val& value) {
  static constexpr std::string_view kAligns = "<>^";
  const std::string_view whole = spec;
  Field field;
  size_t end = 0;
  if (!spec.empty()) next_code_point(spec, end);
  if (end < spec.size() && kAligns.find(spec[end]) != kAligns.npos) {
    field.fill = spec.substr(0, end);
    spec.remove_prefix(end);
  }
  field.align = take(spec, kAligns);
  if (take(spec, "+")) field.flags += '+';
  if (take(spec, "0")) field.flags += '0';
  if (field.align == '\0') field.align = value.is_number() ? '>' : '<';
  take_size(spec, field);
  if (value.is(Type::kInt) || (value.is(Type::kBool) && !whole.empty())) field.type = 'd';
  if (const char type = take(spec, "sdefg")) field.type = type;
  // Python knows no layout for lists and their like, and one of its own for floats.
  const bool is_known = field.type != 's' || whole.empty() || value.is_string();
  if (!is_known || !spec.empty()) throw_unsupported("{:" + std::string(whole) + "}");
  return field;
}

// The value that "{name}", "{0}" or "{}" means.
const Val& braces_value(const Call& call, std::string_view name, size_t& next) {
  const Vals& values = call.args.positional;
  if (name.find_first_not_of("0123456789") == name.npos) {
    const size_t i = name.empty() ? next++ : static_cast<size_t>(take_number(name));
    if (i < values.size()) return values[i];
    fail("Replacement index ", i, " out of range");
  }
  for (const auto& [keyword, value] : call.args.keywords) {
    if (keyword == name) return value;
  }
  if (name.find_first_of(".[!") != name.npos) throw_unsupported("{" + std::string(name) + "}");
  fail("the format has no value named '", name, "'");
}

}  // namespace

PromptText padded(Heap& heap, const PromptText& text, char align, int64_t width,
                  std::string_view fill) {
  constexpr int64_t kMaxWidth = 1 << 24;
  const int64_t missing = width - static_cast<int64_t>(count_code_points(text.text()));
  if (missing <= 0) return text;
  if (missing > kMaxWidth) fail("padding needs too much memory");
  heap.check_bytes(2 * static_cast<size_t>(missing) * fill.size());
  heap.charge_bytes(static_cast<size_t>(missing) * fill.size());
  const int64_t before = align == '<' ? 0 : align == '>' ? missing : missing / 2;
  PromptText out;
  for (int64_t i = 0; i < before; ++i) out.append(fill, false);
  out.append(text);
  for (int64_t i = before; i < missing; ++i) out.append(fill, false);
  return out;
}

Val format_percent(Heap& heap, const Val& format, const Val& args) {
  const PromptText& pattern = format.prompt_text();
  const std::string_view text = pattern.text();
  heap.charge_bytes(text.size());
  const Val values = args.is(Type::kTuple) ? args : make_tuple(heap, {args});
  size_t used = 0;
  PromptText out;
  for (size_t position = 0;;) {
    const size_t found = text.find('%', position);
    append(heap, out, pattern.substr(position, found - position));
    if (found == text.npos) break;
    if (text.substr(found, 2) == "%%") {
      append(heap, out, pattern.substr(found, 1));
      position = found + 2;
      continue;
    }
    std::string_view rest = text.substr(found + 1);
    append(heap, out, percent_field(heap, rest, args, values.items(), used));
    position = text.size() - rest.size();
  }
  // Python takes these for mappings, whose values need not be used.
  const bool may_be_left =
      args.is(Type::kDict) || args.is(Type::kList) || args.is(Type::kUndefined);
  if (used < values.items().size() && !may_be_left) {
    fail("not all arguments converted during string formatting");
  }
  return make_string(heap, std::move(out));
}

Val format_braces(const Call& call) {
  const PromptText& pattern = call.self.prompt_text();
  const std::string_view text = pattern.text();
  PromptText out;
  size_t next = 0;
  for (size_t position = 0;;) {
    const size_t found = text.find_first_of("{}", position);
    append(call.heap, out, pattern.substr(position, found - position));
    if (found == text.npos) break;
    if (found + 1 < text.size() && text[found + 1] == text[found]) {
      append(call.heap, out, pattern.substr(found, 1));
      position = found + 2;
      continue;
    }
    const size_t end = text[found] == '{' ? text.find('}', found) : text.npos;
    if (end == text.npos) fail("single '{' or '}' in format string");
    const std::string_view field = text.substr(found + 1, end - found - 1);
    const size_t colon = std::min(field.find(':'), field.size());
    const Val& value = braces_value(call, field.substr(0, colon), next);
    const std::string_view spec = field.substr(std::min(colon + 1, field.size()));
    append(call.heap, out, format_field(call.heap, parse_spec(spec, value), value));
    position = end + 1;
  }
  return make_string(call.heap, std::move(out));
}

}  // namespace sluice::text::jinja
