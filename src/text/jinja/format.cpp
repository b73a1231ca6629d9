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
  char align = '\0';  // '<', '>', '^', or 0 for the type's own
  bool shows_plus = false;
  bool has_zeros = false;  // between sign and digits
  int width = 0;
  int precision = -1;
  char type = 's';
};

[[noreturn]] void throw_unsupported(std::string_view what) {
  throw TemplateError("the format '" + std::string(what.substr(0, 40)) + "' is not supported");
}

bool take(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

int take_number(std::string_view& text) {
  constexpr int kMaxNumber = 1000;
  int value = 0;
  for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1)) {
    value = value * 10 + (text[0] - '0');
    if (value > kMaxNumber) throw TemplateError("a format's width or precision is too big");
  }
  return value;
}

void take_size(std::string_view& text, Field& field) {
  field.has_zeros = take(text, '0') || field.has_zeros;
  field.width = take_number(text);
  if (take(text, '.')) field.precision = take_number(text);
}

std::string number_text(const Field& field, const Val& value) {
  std::string form = field.shows_plus ? "%+" : "%";
  if (field.has_zeros) form += "0" + std::to_string(field.width);
  char buffer[1500];  // the longest number has 309 digits, and what width and precision add
  if (field.type == 'd') {
    std::snprintf(buffer, sizeof buffer, (form + "ld").c_str(),
                  static_cast<long>(value.int_value()));
  } else {
    form += ".*f";
    std::snprintf(buffer, sizeof buffer, form.c_str(), field.precision < 0 ? 6 : field.precision,
                  value.as_double());
  }
  return buffer;
}

PromptText format_field(Heap& heap, const Field& field, const Val& value) {
  PromptText text;
  char align = '<';
  if (field.type == 'd' || field.type == 'f') {
    const bool fits = field.type == 'd' ? value.is_integral() : value.is_number();
    if (!fits) throw_type_error(std::string("format with '") + field.type + "'", value);
    text = PromptText(number_text(field, value), true);
    align = '>';
  } else {
    const Val string = to_string(heap, value);
    const size_t size = field.precision < 0
                            ? std::string::npos
                            : byte_offset(string.text(), static_cast<size_t>(field.precision));
    text = string.prompt_text().substr(0, size);
  }
  if (field.align != '\0') align = field.align;
  const auto length = static_cast<int>(std::min<size_t>(count_code_points(text.text()), 1 << 20));
  if (length >= field.width) return text;
  const int missing = field.width - length;
  const int before = align == '>' ? missing : align == '^' ? missing / 2 : 0;
  PromptText out;
  for (int i = 0; i < before; ++i) out.append(field.fill, false);
  out.append(text);
  for (int i = before; i < missing; ++i) out.append(field.fill, false);
  return out;
}

void append(Heap& heap, PromptText& out, const PromptText& text) {
  heap.charge_bytes(64 + text.size());
  heap.check_bytes(2 * (out.size() + out.extra_bytes()) + text.size());
  out.append(text);
}

// The values of a "%" in turn: the items of a tuple, or the one value; or by name of a mapping.
class PercentValues {
 public:
  explicit PercentValues(const Val& args) : args_(args) {}

  const Val& next() {
    const bool is_tuple = args_.is(Type::kTuple);
    if (used_ >= (is_tuple ? args_.items().size() : 1)) {
      throw TemplateError("not enough arguments for format string");
    }
    ++used_;
    return is_tuple ? args_.items()[used_ - 1] : args_;
  }

  const Val& named(std::string_view name) {
    const Val* value = args_.is(Type::kDict) ? args_.as<DictObject>().find(name) : nullptr;
    if (value == nullptr) {
      throw TemplateError("the format has no value named '" + std::string(name) + "'");
    }
    return *value;
  }

  void require_all_used() const {
    const bool is_open = args_.is(Type::kTuple)
                             ? used_ < args_.items().size()
                             : used_ == 0 && !args_.is(Type::kDict) && !args_.is(Type::kList) &&
                                   !args_.is(Type::kUndefined);
    if (is_open) throw TemplateError("not all arguments converted during string formatting");
  }

 private:
  const Val& args_;
  size_t used_ = 0;
};

// "%[(name)][-+0][width][.precision]type" without its '%'.
PromptText percent_field(Heap& heap, std::string_view& rest, PercentValues& values) {
  const std::string_view whole = rest;
  Field field;
  const Val* value = nullptr;
  if (take(rest, '(')) {
    const size_t end = rest.find(')');
    if (end == std::string_view::npos) throw TemplateError("incomplete format key");
    value = &values.named(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  field.align = '>';
  for (bool found = true; found;) {
    found = false;
    if (take(rest, '-')) field.align = '<', found = true;
    if (take(rest, '+')) field.shows_plus = found = true;
    if (rest.starts_with('0')) field.has_zeros = found = take(rest, '0');
  }
  take_size(rest, field);
  if (rest.empty()) throw TemplateError("incomplete format");
  char type = rest[0];
  rest.remove_prefix(1);
  if (type == 'i') type = 'd';
  if (value == nullptr) value = &values.next();
  field.type = type;
  if (type == 's') return format_field(heap, field, *value);
  if (type == 'r')
    return format_field(heap, field, make_string(heap, to_repr(heap, *value), false));
  if (type == 'd' && value->is(Type::kFloat)) {
    return format_field(
        heap, field,
        Val::integer(static_cast<int64_t>(std::clamp(value->float_value(), -9e18, 9e18))));
  }
  if (type == 'd' || type == 'f') return format_field(heap, field, *value);
  throw_unsupported("%" + std::string(whole.substr(0, whole.size() - rest.size())));
}

// "[[fill]align][+][0][width][.precision][type]".
Field parse_spec(std::string_view spec, const Val& value) {
  const std::string_view whole = spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^'; };
  Field field;
  if (value.is(Type::kInt) || (value.is(Type::kBool) && !spec.empty())) field.type = 'd';
  size_t end = 0;
  if (!spec.empty()) next_code_point(spec, end);
  if (end < spec.size() && is_align(spec[end])) {
    field.fill = spec.substr(0, end);
    spec.remove_prefix(end);
  }
  if (!spec.empty() && is_align(spec[0])) {
    field.align = spec[0];
    spec.remove_prefix(1);
  } else if (value.is_number()) {
    field.align = '>';
  }
  field.shows_plus = take(spec, '+');
  take_size(spec, field);
  if (!spec.empty()) {
    field.type = spec[0];
    spec.remove_prefix(1);
  }
  bool is_known = field.type == 's' || field.type == 'd' || field.type == 'f';
  // Python knows no layout for lists and their like, and one of its own for floats.
  if (field.type == 's' && !whole.empty()) is_known = value.is_string();
  if (!is_known || !spec.empty()) throw_unsupported("{:" + std::string(whole) + "}");
  return field;
}

// The value that "{name}", "{0}" or "{}" means.
const Val& braces_value(const Call& call, std::string_view name, size_t& next) {
  const Vals& values = call.args.positional;
  const bool is_number = name.find_first_not_of("0123456789") == std::string_view::npos;
  if (is_number) {
    const size_t i = name.empty() ? next++ : static_cast<size_t>(take_number(name));
    if (i < values.size()) return values[i];
    throw TemplateError("Replacement index " + std::to_string(i) + " out of range");
  }
  for (const auto& [keyword, value] : call.args.keywords) {
    if (keyword == name) return value;
  }
  if (name.find_first_of(".[!") != std::string_view::npos) {
    throw_unsupported("{" + std::string(name) + "}");
  }
  throw TemplateError("the format has no value named '" + std::string(name) + "'");
}

}  // namespace

Val format_percent(Heap& heap, const Val& format, const Val& args) {
  const PromptText& pattern = format.prompt_text();
  const std::string_view text = pattern.text();
  heap.charge_bytes(text.size());
  PercentValues values(args);
  PromptText out;
  size_t position = 0;
  while (true) {
    const size_t found = text.find('%', position);
    append(heap, out, pattern.substr(position, found - position));
    if (found == std::string_view::npos) break;
    if (text.substr(found, 2) == "%%") {
      append(heap, out, pattern.substr(found, 1));
      position = found + 2;
      continue;
    }
    std::string_view rest = text.substr(found + 1);
    append(heap, out, percent_field(heap, rest, values));
    position = text.size() - rest.size();
  }
  values.require_all_used();
  return make_string(heap, std::move(out));
}

Val format_braces(const Call& call) {
  const PromptText& pattern = call.self.prompt_text();
  const std::string_view text = pattern.text();
  PromptText out;
  size_t next = 0, position = 0;
  while (true) {
    const size_t found = text.find_first_of("{}", position);
    append(call.heap, out, pattern.substr(position, found - position));
    if (found == std::string_view::npos) break;
    if (found + 1 < text.size() && text[found + 1] == text[found]) {
      append(call.heap, out, pattern.substr(found, 1));
      position = found + 2;
      continue;
    }
    const size_t end = text[found] == '{' ? text.find('}', found) : std::string_view::npos;
    if (end == std::string_view::npos) throw TemplateError("single '{' or '}' in format string");
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
