#include <algorithm>
#include <cmath>

#include "text/jinja/interpreter.h"
#include "text/jinja/number_parsing.h"
#include "text/jinja/ops.h"

// Filters over single values: defaults, numbers, JSON.
namespace sluice::text::jinja {

namespace {

using Args = const CallArgs&;

Val default_filter(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "default", "default_value? boolean?");
  bool replaces =
      value.is_undefined() || (!bound[1].is_missing() && is_true(bound[1]) && !is_true(value));
  if (!replaces) return value;
  return bound[0].is_missing() ? interpreter.string("") : bound[0];
}

Val int_filter(Interpreter&, const Val& value, Args args) {
  Vals bound = bind(args, "int", "default? base?");
  Val otherwise = value_or(bound[0], Val::integer(0));
  if (value.is_integral()) return Val::integer(value.int_value());
  if (value.is(Type::kFloat)) {
    if (std::isnan(value.float_value())) return otherwise;
    return Val::integer(truncate_to_int(value.float_value()));
  }
  if (value.is_undefined()) throw_type_error("make a number of", value);
  if (!value.is_string()) return otherwise;
  int64_t base = bound[1].is_missing() ? 10 : to_index(bound[1], "a base");
  if (auto integer = parse_python_int(value.text(), base)) return Val::integer(*integer);
  auto real = parse_python_float(value.text());
  if (!real || !std::isfinite(*real)) return otherwise;
  return Val::integer(truncate_to_int(*real));
}

Val float_filter(Interpreter&, const Val& value, Args args) {
  Val otherwise = value_or(bind(args, "float", "default?")[0], Val::real(0));
  if (value.is_number()) return Val::real(value.as_double());
  if (value.is_undefined()) throw_type_error("make a number of", value);
  if (!value.is_string()) return otherwise;
  auto real = parse_python_float(value.text());
  return real ? Val::real(*real) : otherwise;
}

Val abs_filter(Interpreter&, const Val& value, Args args) {
  bind(args, "abs", "");
  if (value.is(Type::kFloat)) return Val::real(std::fabs(value.float_value()));
  if (!value.is_integral()) throw_type_error("take abs() of", value);
  return value.int_value() < 0 ? negate(value) : Val::integer(value.int_value());
}

Val round_filter(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "round", "precision? method?");
  std::string method = bound[1].is_missing() ? "common" : to_text(interpreter.heap(), bound[1]);
  if (method != "common" && method != "ceil" && method != "floor") {
    throw TemplateError("method must be common, ceil or floor");
  }
  if (!value.is_number()) throw_type_error("round", value);
  bool to_int = method == "common" && bound[0].is_none();  // round(value, None)
  int64_t digits = bound[0].is_missing() || to_int ? 0 : to_index(bound[0], "a precision");
  if (method == "common") {
    if (value.is_integral()) return Val::integer(round_to_digits(value.int_value(), digits));
    double rounded = round_to_digits(value.float_value(), digits);
    return to_int ? Val::integer(truncate_to_int(rounded)) : Val::real(rounded);
  }
  double unit = std::pow(10.0, static_cast<double>(digits));
  double scaled = value.as_double() * unit;
  if (!std::isfinite(scaled)) throw TemplateError("cannot convert float to integer");
  return Val::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

// The separators argument of json.dumps.
void set_separators(Heap& heap, const Val& value, JsonOptions& options) {
  Vals pair = to_vals(heap, value);
  if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
    throw TemplateError("separators must be two strings");
  }
  options.item_separator = pair[0].text();
  options.key_separator = pair[1].text();
}

Val tojson(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "tojson", "ensure_ascii? indent? separators? sort_keys?");
  Heap& heap = interpreter.heap();
  JsonOptions options;
  options.ensure_ascii = !bound[0].is_missing() && is_true(bound[0]);
  options.sort_keys = !bound[3].is_missing() && is_true(bound[3]);
  const Val& indent = bound[1];
  if (!indent.is_missing() && !indent.is_none()) {
    constexpr int64_t kMaxIndent = 1000;
    options.has_indent = true;
    options.item_separator = ",";
    if (indent.is_string()) {
      options.indent = indent.text();
    } else {
      int64_t width = std::max<int64_t>(to_index(indent, "an indent"), 0);
      if (width > kMaxIndent) throw TemplateError("the indent is too wide");
      options.indent.assign(static_cast<size_t>(width), ' ');
    }
  }
  if (!bound[2].is_missing() && !bound[2].is_none()) set_separators(heap, bound[2], options);
  return interpreter.string(to_json(heap, value, options));
}

Val attr(Interpreter& interpreter, const Val& value, Args args) {
  Val name = bind(args, "attr", "name")[0];
  if (!name.is_string()) throw_type_error("use as an attribute name", name);
  Val found = find_attribute(interpreter.heap(), value, name.text());
  if (!found.is_missing()) return found;
  return make_undefined(interpreter.heap(), "'" + std::string(type_name(value)) +
                                                " object' has no attribute '" + name.text() + "'");
}

Val filesizeformat(Interpreter& interpreter, const Val& value, Args args) {
  Val binary = bind(args, "filesizeformat", "binary?")[0];
  bool is_binary = !binary.is_missing() && is_true(binary);
  std::optional<double> parsed;
  if (value.is_number()) parsed = value.as_double();
  if (value.is_string()) parsed = parse_python_float(value.text());
  if (!parsed) throw_type_error("make a file size of", value);
  double size = *parsed, base = is_binary ? 1024 : 1000;
  if (size == 1) return interpreter.string("1 Byte");
  if (size < base) {
    return interpreter.string(std::to_string(truncate_to_int(size)) + " Bytes");
  }
  static constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  std::string prefix;
  for (size_t i = 0; i < kPrefixes.size(); ++i) {
    unit *= base;
    prefix = kPrefixes[i];
    if (size < unit) break;
  }
  if (is_binary) prefix = prefix == "k" ? "Ki" : prefix + "i";
  std::string number = format_value(interpreter.heap(), Val::real(base * size / unit), ".1f");
  return interpreter.string(number + " " + prefix + "B");
}

}  // namespace

const FilterTable& value_filters() {
  static const FilterTable table = {
      {"default", default_filter}, {"d", default_filter}, {"int", int_filter},
      {"float", float_filter},     {"abs", abs_filter},   {"round", round_filter},
      {"tojson", tojson},          {"attr", attr},        {"filesizeformat", filesizeformat},
  };
  return table;
}

}  // namespace sluice::text::jinja
