#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/strings.h"
#include "text/jinja/unicode.h"

// The filters. Those of jinja2 that make HTML, or lay out what no prompt needs, are not here: a
// template that asks for one is told its name.
namespace sluice::text::jinja {

namespace {

// The `attribute` argument of filters: "a.b.0" looks up a, then b, then item 0; none is the item.
class AttributePath {
 public:
  AttributePath(Heap& heap, const Val& attribute, bool ignore_case = false, Val otherwise = Val())
      : heap_(heap), ignore_case_(ignore_case), otherwise_(std::move(otherwise)) {
    if (attribute.is_missing() || attribute.is_none()) return;
    if (!attribute.is_string()) {
      parts_.push_back(attribute);
      return;
    }
    for (std::string_view rest = attribute.text();;) {
      const size_t dot = std::min(rest.find('.'), rest.size());
      parts_.push_back(part(rest.substr(0, dot)));
      if (dot == rest.size()) return;
      rest.remove_prefix(dot + 1);
    }
  }

  Val get(const Val& item) const {
    Val value = item;
    for (const Val& part : parts_) {
      heap_.charge(1);
      value = get_item(heap_, value, part);
      if (value.is_undefined() && !otherwise_.is_none()) value = otherwise_;
    }
    return ignore_case_ && value.is_string() ? transformed(heap_, value, lower_text) : value;
  }

 private:
  Val part(std::string_view text) const {
    int64_t index = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
    const bool is_index = error == std::errc() && end == text.data() + text.size() && index >= 0;
    return is_index ? Val::integer(index) : make_string(heap_, std::string(text), true);
  }

  Heap& heap_;
  Vals parts_;
  bool ignore_case_;
  Val otherwise_;  // instead of undefined, unless none
};

// Text.

template <std::string (*transform)(std::string_view)>
Val to_case(const Call& call) {
  return transformed(call.heap, to_string(call.heap, call.self), transform);
}

// Words begin behind white space, '-' and opening brackets: jinja2's own rule.
std::string title_words(std::string_view text) {
  std::string out, word;
  const auto flush = [&] {
    size_t first = 0;
    if (!word.empty()) next_code_point(word, first);
    out += upper_text(word.substr(0, first)) + lower_text(word.substr(first));
    word.clear();
  };
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    const char32_t c = next_code_point(text, position);
    const bool splits = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    if (splits) flush();
    (splits ? out : word).append(text.substr(start, position - start));
  }
  flush();
  return out;
}

Val string_filter(const Call& call) { return to_string(call.heap, call.self); }

Val safe(const Call& call) {
  const Val text = to_string(call.heap, call.self);
  return Val(new StringObject(call.heap, text.prompt_text(), true));
}

Val trim(const Call& call) {
  return strip(call.heap, to_string(call.heap, call.self), call[0], true, true);
}

Val replace_filter(const Call& call) {
  const Val old = to_string(call.heap, call[0]), fresh = to_string(call.heap, call[1]);
  return replace(call.heap, to_string(call.heap, call.self), old.text(), fresh.prompt_text(),
                 call.index(2, "a count", -1));
}

Val indent(const Call& call) {
  if (!call.self.is_string()) throw_type_error("indent", call.self);
  Heap& heap = call.heap;
  std::string prefix;
  if (call.has(0) && call[0].is_string()) {
    prefix = call[0].text();
  } else {
    const auto width = static_cast<size_t>(std::max<int64_t>(call.index(0, "an indent", 4), 0));
    heap.check_bytes(width);
    prefix.assign(width, ' ');
  }
  const std::string text = call.self.text() + "\n";
  heap.check_bytes(text.size() * sizeof(std::string_view));
  std::string out = call.flag(1) ? prefix : "";
  bool is_first = true;
  for (const std::string_view line : split_lines(text, false)) {
    if (!is_first) {
      out.push_back('\n');
      if (call.flag(2) || !line.empty()) out += prefix;
    }
    is_first = false;
    heap.charge_bytes(64 + prefix.size());
    heap.check_bytes(2 * out.size() + line.size());
    out += line;
  }
  return make_string(heap, std::move(out), call.self.prompt_text().is_trusted());
}

Val format(const Call& call) {
  const Val pattern = to_string(call.heap, call.self);
  if (call.args.keywords.empty()) {
    return format_percent(call.heap, pattern, make_tuple(call.heap, call.args.positional));
  }
  auto* dict = new DictObject(call.heap);
  const Val values(dict);
  for (const auto& [name, value] : call.args.keywords) {
    dict->set(make_string(call.heap, name, true), value);
  }
  return format_percent(call.heap, pattern, values);
}

Val word_count(const Call& call) {
  const Val text = to_string(call.heap, call.self);
  call.heap.charge_bytes(4 * text.text().size());  // character by character
  int64_t words = 0;
  bool in_word = false;
  for (size_t position = 0; position < text.text().size();) {
    const char32_t c = next_code_point(text.text(), position);
    const bool is_word = c == '_' || is_alphanumeric(c);
    words += is_word && !in_word;
    in_word = is_word;
  }
  return Val::integer(words);
}

Val truncate(const Call& call) {
  constexpr int64_t kDefaultLength = 255, kDefaultLeeway = 5;
  const int64_t length = call.index(0, "a length", kDefaultLength);
  const int64_t leeway = call.index(3, "a leeway", kDefaultLeeway);
  const Val end = call.has(2) ? call[2] : make_string(call.heap, "...", true);
  if (call.self.is_undefined()) return call.self;
  if (!call.self.is_string()) throw_type_error("truncate", call.self);
  if (length < length_of(end) || leeway < 0) {
    throw TemplateError("truncate() length is too small");
  }
  const int64_t size = length_of(call.self);
  if (size <= leeway || size - leeway <= length) return call.self;
  Val cut = get_slice(call.heap, call.self, Val(), Val::integer(length - length_of(end)), Val());
  const size_t space = call.flag(1) ? std::string::npos : cut.text().rfind(' ');
  if (space != std::string::npos) cut = make_string(call.heap, cut.prompt_text().substr(0, space));
  return binary_op(call.heap, Op::kAdd, cut, end);
}

// Single values.

Val default_filter(const Call& call) {
  if (!call.self.is_undefined() && (!call.flag(1) || is_true(call.self))) return call.self;
  return call.has(0) ? call[0] : make_string(call.heap, "", true);
}

int64_t truncate_to_int(double value) {
  const double whole = std::trunc(value);
  if (!(whole >= -9223372036854775808.0 && whole < 9223372036854775808.0)) {
    throw TemplateError("number does not fit a 64-bit integer");
  }
  return static_cast<int64_t>(whole);
}

// The whole text as a decimal number with white space around it.
template <typename Number>
std::optional<Number> parse(std::string_view text) {
  text = strip_right(strip_left(text, nullptr), nullptr);
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.ends_with(')')) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    throw TemplateError("the number '" + std::string(text.substr(0, 40)) + "' is out of range");
  }
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

Val int_filter(const Call& call) {
  const Val otherwise = call.has(0) ? call[0] : Val::integer(0);
  const Val& value = call.self;
  if (value.is_integral()) return Val::integer(value.int_value());
  std::optional<double> real;
  if (value.is(Type::kFloat)) real = value.float_value();
  if (value.is_undefined()) throw_type_error("make a number of", value);
  if (value.is_string()) {
    const bool is_whole = value.text().find_first_of(".eEnN") == std::string::npos;
    if (const auto integer = is_whole ? parse<int64_t>(value.text()) : std::nullopt) {
      return Val::integer(*integer);
    }
    real = parse<double>(value.text());
    if (real && std::isinf(*real)) return otherwise;
  }
  return real && !std::isnan(*real) ? Val::integer(truncate_to_int(*real)) : otherwise;
}

Val float_filter(const Call& call) {
  const Val& value = call.self;
  if (value.is_number()) return Val::real(value.as_double());
  if (value.is_undefined()) throw_type_error("make a number of", value);
  const auto real = value.is_string() ? parse<double>(value.text()) : std::nullopt;
  if (real) return Val::real(*real);
  return call.has(0) ? call[0] : Val::real(0);
}

Val abs_filter(const Call& call) {
  const Val& value = call.self;
  if (value.is(Type::kFloat)) return Val::real(std::fabs(value.float_value()));
  if (!value.is_integral()) throw_type_error("take abs() of", value);
  return value.int_value() < 0 ? negate(value) : Val::integer(value.int_value());
}

Val round_filter(const Call& call) {
  constexpr int64_t kMostDigits = 300;
  const std::string method = call.has(1) ? to_text(call.heap, call[1]) : "common";
  const int64_t digits = call.index(0, "a precision");
  if (!call.self.is_number()) throw_type_error("round", call.self);
  if (digits < 0 || digits > kMostDigits) throw TemplateError("the precision is out of range");
  const double value = call.self.as_double();
  if (method == "common") {
    if (call.self.is_integral()) return Val::integer(call.self.int_value());
    // The C library rounds the exact decimal value, ties to even, as Python does.
    char text[700];
    std::snprintf(text, sizeof text, "%.*f", static_cast<int>(digits), value);
    return Val::real(std::strtod(text, nullptr));
  }
  if (method != "ceil" && method != "floor") {
    throw TemplateError("method must be common, ceil or floor");
  }
  const double unit = std::pow(10.0, static_cast<double>(digits));
  return Val::real((method == "ceil" ? std::ceil(value * unit) : std::floor(value * unit)) / unit);
}

Val tojson(const Call& call) {
  JsonOptions options;
  options.ensure_ascii = call.flag(0);
  options.sort_keys = call.flag(3);
  if (call.is_given(1)) {
    constexpr int64_t kMaxIndent = 1000;
    options.has_indent = true;
    options.item_separator = ",";
    if (call[1].is_string()) {
      options.indent = call[1].text();
    } else {
      const int64_t width = call.index(1, "an indent");
      if (width > kMaxIndent) throw TemplateError("the indent is too wide");
      options.indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  if (call.is_given(2)) {
    const Vals pair = to_vals(call.heap, call[2]);
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      throw TemplateError("separators must be two strings");
    }
    options.item_separator = pair[0].text();
    options.key_separator = pair[1].text();
  }
  return to_json(call.heap, call.self, options);
}

// Lists and mappings.

bool is_reversible(const Val& value) {
  return is_iterable(value) && !value.is(Type::kIterator) && !value.is(Type::kLoop);
}

Val iterator(const Call& call, Vals items) {
  return Val(new IteratorObject(call.heap, std::move(items)));
}

Val first(const Call& call) {
  Cursor cursor(call.heap, call.self);
  Val item;
  if (cursor.next(item)) return item;
  return make_undefined(call.heap, "No first item, sequence was empty.");
}

Val last(const Call& call) {
  if (!is_reversible(call.self)) throw_type_error("reverse", call.self);
  if (call.self.is_sequence() && !call.self.items().empty()) return call.self.items().back();
  Vals items = to_vals(call.heap, call.self);
  if (!items.empty()) return items.back();
  return make_undefined(call.heap, "No last item, sequence was empty.");
}

Val length(const Call& call) {
  const int64_t size = length_of(call.self);
  if (size < 0) throw_type_error("take the length of", call.self);
  return Val::integer(size);
}

Val list(const Call& call) { return make_list(call.heap, to_vals(call.heap, call.self)); }

Val reverse(const Call& call) {
  if (call.self.is_string()) {
    return get_slice(call.heap, call.self, Val(), Val(), Val::integer(-1));
  }
  Vals items = to_vals(call.heap, call.self);
  std::reverse(items.begin(), items.end());
  return is_reversible(call.self) ? iterator(call, std::move(items))
                                  : make_list(call.heap, std::move(items));
}

Val join_filter(const Call& call) {
  const AttributePath path(call.heap, call[1]);
  Vals parts = to_vals(call.heap, call.self);
  for (Val& part : parts) part = path.get(part);
  const Val separator =
      call.has(0) ? to_string(call.heap, call[0]) : make_string(call.heap, "", true);
  return join(call.heap, parts, separator.prompt_text());
}

Val items(const Call& call) {
  if (call.self.is_undefined()) return iterator(call, {});
  if (!call.self.is(Type::kDict)) throw TemplateError("Can only get item pairs from a mapping.");
  Vals pairs;
  for (const auto& [key, value] : call.self.as<DictObject>().items()) {
    pairs.push_back(make_tuple(call.heap, {key, value}));
  }
  return iterator(call, std::move(pairs));
}

struct Keyed {
  Vals key;
  Val value;
};

Val sorted(const Call& call, std::vector<Keyed>& items, bool backwards) {
  const auto is_before = [&](const Keyed& a, const Keyed& b) {
    for (size_t i = 0; i < a.key.size(); ++i) {
      call.heap.charge(1);
      if (!equals(a.key[i], b.key[i])) return is_less(a.key[i], b.key[i]);
    }
    return false;
  };
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return backwards ? is_before(b, a) : is_before(a, b);
  });
  Vals result;
  for (Keyed& item : items) result.push_back(std::move(item.value));
  return make_list(call.heap, std::move(result));
}

Val sort(const Call& call) {
  const bool ignore_case = !call.flag(1);
  std::vector<AttributePath> paths;
  if (call.has(2) && call[2].is_string()) {  // several, separated by commas
    for (std::string_view rest = call[2].text();;) {
      const size_t comma = std::min(rest.find(','), rest.size());
      const Val path = make_string(call.heap, std::string(rest.substr(0, comma)), true);
      paths.emplace_back(call.heap, path, ignore_case);
      if (comma == rest.size()) break;
      rest.remove_prefix(comma + 1);
    }
  } else {
    paths.emplace_back(call.heap, call[2], ignore_case);
  }
  std::vector<Keyed> items;
  for (Val& item : to_vals(call.heap, call.self)) {
    Vals key;
    for (const AttributePath& path : paths) key.push_back(path.get(item));
    items.push_back({std::move(key), std::move(item)});
  }
  return sorted(call, items, call.flag(0));
}

Val dictsort(const Call& call) {
  const std::string by = call.has(1) ? to_text(call.heap, call[1]) : "key";
  if (by != "key" && by != "value") {
    throw TemplateError("You can only sort by either \"key\" or \"value\"");
  }
  if (!call.self.is(Type::kDict)) throw_type_error("sort as a mapping", call.self);
  const AttributePath path(call.heap, Val(), !call.flag(0));
  std::vector<Keyed> items;
  for (const auto& [key, value] : call.self.as<DictObject>().items()) {
    items.push_back({{path.get(by == "key" ? key : value)}, make_tuple(call.heap, {key, value})});
  }
  return sorted(call, items, call.flag(2));
}

template <bool wants_max>
Val extreme(const Call& call) {
  const AttributePath path(call.heap, call[1], !call.flag(0));
  Cursor cursor(call.heap, call.self);
  Val item, best, best_key;
  if (!cursor.next(best)) {
    return make_undefined(call.heap, "No aggregated item, sequence was empty.");
  }
  best_key = path.get(best);
  while (cursor.next(item)) {
    Val key = path.get(item);
    if (wants_max ? is_less(best_key, key) : is_less(key, best_key)) {
      best = std::move(item);
      best_key = std::move(key);
    }
  }
  return best;
}

Val sum(const Call& call) {
  const AttributePath path(call.heap, call[0]);
  Val total = call.has(1) ? call[1] : Val::integer(0);
  if (total.is_string()) throw TemplateError("sum() can't sum strings");
  for (const Val& item : to_vals(call.heap, call.self)) {
    total = binary_op(call.heap, Op::kAdd, total, path.get(item));
  }
  return total;
}

Val unique(const Call& call) {
  const AttributePath path(call.heap, call[1], !call.flag(0));
  auto* seen = new DictObject(call.heap);
  const Val keep(seen);
  Vals result;
  for (Val& item : to_vals(call.heap, call.self)) {
    Val key = path.get(item);
    if (seen->find(key) != nullptr) continue;
    seen->set(std::move(key), Val());
    result.push_back(std::move(item));
  }
  return iterator(call, std::move(result));
}

// map, select and their like take another filter's or test's name and arguments.
const Val& first_argument(const CallArgs& args, const char* what) {
  if (args.positional.empty()) throw TemplateError(std::string("Missing parameter: ") + what);
  return args.positional[0];
}

CallArgs without_first(CallArgs args) {
  args.positional.erase(args.positional.begin());
  return args;
}

const Builtin& named(const Val& name, const Builtin* (*find)(std::string_view), const char* kind) {
  const Builtin* builtin = name.is_string() ? find(name.text()) : nullptr;
  if (builtin != nullptr) return *builtin;
  throw TemplateError(std::string("No ") + kind + " named '" +
                      (name.is_string() ? name.text().substr(0, 100) : "") + "'");
}

Val map_attribute(const Call& call, Vals items) {
  Val attribute = Val::missing(), otherwise;
  for (const auto& [name, value] : call.args.keywords) {
    if (name != "attribute" && name != "default") {
      throw TemplateError("map() got an unexpected keyword argument '" + name + "'");
    }
    (name == "attribute" ? attribute : otherwise) = value;
  }
  if (attribute.is_missing()) throw TemplateError("map requires a filter argument");
  const AttributePath path(call.heap, attribute, false, otherwise);
  for (Val& item : items) item = path.get(item);
  return iterator(call, std::move(items));
}

// The items that map and select go through. None, 0 and their like count as empty, as in jinja2,
// and nothing else is checked then.
Vals items_or_none(const Call& call) {
  return is_true(call.self) ? to_vals(call.heap, call.self) : Vals();
}

Val map(const Call& call) {
  Vals result = items_or_none(call);
  if (result.empty()) return iterator(call, {});
  if (call.args.positional.empty()) return map_attribute(call, std::move(result));
  const Builtin& filter = named(call[0], find_filter, "filter");
  const CallArgs args = without_first(call.args);
  for (Val& item : result) item = call.interpreter.call_builtin(filter, item, args);
  return iterator(call, std::move(result));
}

template <bool by_attribute, bool wanted>
Val select(const Call& call) {
  Vals result;
  const Vals items = items_or_none(call);
  if (items.empty()) return iterator(call, {});
  CallArgs args = call.args;
  const Val attribute = by_attribute ? first_argument(args, "attribute name") : Val();
  if (by_attribute) args = without_first(std::move(args));
  const AttributePath path(call.heap, attribute);
  const Builtin* test = nullptr;
  if (!args.positional.empty()) {
    test = &named(args.positional[0], find_test, "test");
    args = without_first(std::move(args));
  }
  for (const Val& item : items) {
    const Val value = path.get(item);
    const bool passes =
        is_true(test == nullptr ? value : call.interpreter.call_builtin(*test, value, args));
    if (passes == wanted) result.push_back(item);
  }
  return iterator(call, std::move(result));
}

constexpr Builtin kFilters[] = {
    {"upper", "", to_case<upper_text>},
    {"lower", "", to_case<lower_text>},
    {"capitalize", "", to_case<capitalize_text>},
    {"title", "", to_case<title_words>},
    {"string", "", string_filter},
    {"safe", "", safe},
    {"trim", "chars?", trim},
    {"replace", "old new count?", replace_filter},
    {"indent", "width? first? blank?", indent},
    {"format", "*", format},
    {"wordcount", "", word_count},
    {"truncate", "length? killwords? end? leeway?", truncate},
    {"default", "default_value? boolean?", default_filter},
    {"d", "default_value? boolean?", default_filter},
    {"int", "default?", int_filter},
    {"float", "default?", float_filter},
    {"abs", "", abs_filter},
    {"round", "precision? method?", round_filter},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", tojson},
    {"first", "", first},
    {"last", "", last},
    {"length", "", length},
    {"count", "", length},
    {"list", "", list},
    {"reverse", "", reverse},
    {"join", "d? attribute?", join_filter},
    {"items", "", items},
    {"sort", "reverse? case_sensitive? attribute?", sort},
    {"dictsort", "case_sensitive? by? reverse?", dictsort},
    {"min", "case_sensitive? attribute?", extreme<false>},
    {"max", "case_sensitive? attribute?", extreme<true>},
    {"sum", "attribute? start?", sum},
    {"unique", "case_sensitive? attribute?", unique},
    {"map", "*", map},
    {"select", "*", select<false, true>},
    {"reject", "*", select<false, false>},
    {"selectattr", "*", select<true, true>},
    {"rejectattr", "*", select<true, false>},
};

}  // namespace

const Builtin* find_filter(std::string_view name) {
  const auto found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                  [&](const Builtin& filter) { return filter.name == name; });
  return found != std::end(kFilters) ? found : nullptr;
}

}  // namespace sluice::text::jinja
