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

// The whole text as a decimal number with white space around it.
template <typename Number>
std::optional<Number> parse(std::string_view text) {
  text = strip_right(strip_left(text));
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.ends_with(')')) return std::nullopt;
  if (error == std::errc::result_out_of_range) fail("out of range: ", text.substr(0, 40));
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

// The `attribute` argument of filters: "a.b.0" looks up a, then b, then item 0; none is the item.
class AttributePath {
 public:
  AttributePath(Heap& heap, const Val& attribute, bool ignore_case = false, Val otherwise = Val())
      : heap_(heap), ignore_case_(ignore_case), otherwise_(std::move(otherwise)) {
    if (attribute.is_string()) {
      add_parts(attribute.text());
    } else if (!attribute.is_missing() && !attribute.is_none()) {
      parts_.push_back(attribute);
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
  void add_parts(std::string_view path) {
    for (size_t end = 0; end != path.npos; path.remove_prefix(std::min(end + 1, path.size()))) {
      end = path.find('.');
      const std::string part(path.substr(0, end));
      const std::optional<int64_t> index = parse<int64_t>(part);
      parts_.push_back(index ? Val::integer(*index) : make_string(heap_, part, true));
    }
  }

  Heap& heap_;
  Vals parts_;
  bool ignore_case_;
  Val otherwise_;  // instead of undefined, unless none
};

// Text.

template <std::string (*transform)(std::string_view)>
Val case_filter(const Call& call) {
  return transformed(call.heap, to_string(call.heap, call.self), transform);
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
  const int64_t count = call.is_given(2) ? call.index(2, "a count") : -1;
  return replace(call.heap, to_string(call.heap, call.self), old.text(), fresh.prompt_text(),
                 count);
}

Val indent(const Call& call) {
  if (!call.self.is_string()) throw_type_error("indent", call.self);
  Heap& heap = call.heap;
  std::string prefix;
  bool is_trusted = call.self.prompt_text().is_trusted();
  if (call.has(0) && call[0].is_string()) {
    prefix = call[0].text();
    is_trusted = is_trusted && call[0].prompt_text().is_trusted();
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
  return make_string(heap, std::move(out), is_trusted);
}

Val format(const Call& call) {
  const Val pattern = to_string(call.heap, call.self);
  if (call.args.keywords.empty()) {
    return format_percent(call.heap, pattern, make_tuple(call.heap, call.args.positional));
  }
  auto* dict = new DictObject(call.heap);
  const Val values(dict);
  for (const auto& [name, value] : call.args.keywords) {
    dict->set(make_string(call.heap, name, call.args.has_own_keywords), value);
  }
  return format_percent(call.heap, pattern, values);
}

// Single values.

Val default_filter(const Call& call) {
  if (!call.self.is_undefined() && (!call.flag(1) || is_true(call.self))) return call.self;
  return call.has(0) ? call[0] : make_string(call.heap, "", true);
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
  return real && !std::isnan(*real) ? to_integer(*real) : otherwise;
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
  if (digits < 0 || digits > kMostDigits) fail("the precision is out of range");
  const double value = call.self.as_double(), unit = std::pow(10.0, static_cast<double>(digits));
  if (method == "ceil") return Val::real(std::ceil(value * unit) / unit);
  if (method == "floor") return Val::real(std::floor(value * unit) / unit);
  if (method != "common") fail("method must be common, ceil or floor");
  if (call.self.is_integral()) return Val::integer(call.self.int_value());
  // The C library rounds the exact decimal value, ties to even, as Python does.
  char text[700];
  std::snprintf(text, sizeof text, "%.*f", static_cast<int>(digits), value);
  return Val::real(std::strtod(text, nullptr));
}

Val tojson(const Call& call) {
  JsonOptions options;
  options.ensure_ascii = call.flag(0);
  options.sort_keys = call.flag(3);
  if (call.is_given(1)) {
    constexpr int64_t kMaxIndent = 1000;
    options.item_separator = ",";
    if (call[1].is_string()) {
      options.indent = call[1].text();
    } else {
      const int64_t width = call.index(1, "an indent");
      if (width > kMaxIndent) fail("the indent is too wide");
      options.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  if (call.is_given(2)) {
    const Vals pair = to_vals(call.heap, call[2]);
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      fail("separators must be two strings");
    }
    options.item_separator = pair[0].text();
    options.key_separator = pair[1].text();
  }
  return to_json(call.heap, call.self, options);
}

// Lists and mappings.

// What Python's reversed() takes.
bool is_reversible(const Val& value) { return value.is_iterable() && !value.is(Type::kIterator); }

Val iterator(const Call& call, Vals items) {
  return Val(new IteratorObject(call.heap, std::move(items)));
}

// The first or last item.
template <bool wants_last>
Val end_item(const Call& call) {
  if (wants_last && !is_reversible(call.self)) throw_type_error("reverse", call.self);
  Val item;
  if (call.self.is(Type::kIterator)) {
    if (call.self.as<IteratorObject>().next(item)) return item;
  } else if (call.self.is_string() || call.self.is_sequence()) {
    item = get_item(call.heap, call.self, Val::integer(wants_last ? -1 : 0));
    if (!item.is_undefined()) return item;
  } else {
    const Vals items = to_vals(call.heap, call.self);
    if (!items.empty()) return wants_last ? items.back() : items.front();
  }
  return make_undefined(call.heap, "the sequence is empty: it has no first or last item");
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
  if (!call.self.is(Type::kDict)) fail("Can only get item pairs from a mapping.");
  Vals pairs;
  for (const auto& [key, value] : call.self.as<DictObject>().items()) {
    pairs.push_back(make_tuple(call.heap, {key, value}));
  }
  return iterator(call, std::move(pairs));
}

struct Keyed {
  Val key, value;
};

Val sorted(const Call& call, std::vector<Keyed>& items, bool backwards) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    call.heap.charge(1);
    if (equals(a.key, b.key)) return false;  // also where there is no order
    return backwards ? is_less(b.key, a.key) : is_less(a.key, b.key);
  });
  Vals result;
  for (Keyed& item : items) result.push_back(std::move(item.value));
  return make_list(call.heap, std::move(result));
}

Val sort(const Call& call) {
  if (call.has(2) && call[2].is_string() && call[2].text().find(',') != std::string::npos) {
    fail("sort by several attributes is not supported");
  }
  const AttributePath path(call.heap, call[2], !call.flag(1));
  std::vector<Keyed> items;
  for (Val& item : to_vals(call.heap, call.self)) {
    Val key = path.get(item);
    items.push_back({std::move(key), std::move(item)});
  }
  return sorted(call, items, call.flag(0));
}

Val dictsort(const Call& call) {
  const std::string by = call.has(1) ? to_text(call.heap, call[1]) : "key";
  if (by != "key" && by != "value") fail("dictsort goes by 'key' or by 'value'");
  if (!call.self.is(Type::kDict)) throw_type_error("sort as a mapping", call.self);
  const AttributePath path(call.heap, Val(), !call.flag(0));
  std::vector<Keyed> items;
  for (const auto& [key, value] : call.self.as<DictObject>().items()) {
    items.push_back({path.get(by == "key" ? key : value), make_tuple(call.heap, {key, value})});
  }
  return sorted(call, items, call.flag(2));
}

template <bool wants_max>
Val extreme(const Call& call) {
  const AttributePath path(call.heap, call[1], !call.flag(0));
  Val best, best_key = Val::missing();
  for (Val& item : to_vals(call.heap, call.self)) {
    Val key = path.get(item);
    const bool is_better =
        best_key.is_missing() || (wants_max ? is_less(best_key, key) : is_less(key, best_key));
    if (!is_better) continue;
    best = std::move(item);
    best_key = std::move(key);
  }
  if (!best_key.is_missing()) return best;
  return make_undefined(call.heap, "the sequence is empty: it has no least or greatest item");
}

Val sum(const Call& call) {
  const AttributePath path(call.heap, call[0]);
  Val total = call.has(1) ? call[1] : Val::integer(0);
  if (total.is_string()) fail("sum() can't sum strings");
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

// map, select and their like take another filter's or test's name, and its arguments.
const Builtin& take_named(CallArgs& args, const Builtin* (*find)(std::string_view)) {
  const Val name = args.positional[0];
  const Builtin* builtin = name.is_string() ? find(name.text()) : nullptr;
  if (builtin == nullptr) {
    fail("No filter or test named '", name.is_string() ? name.text().substr(0, 100) : "", "'");
  }
  args.positional.erase(args.positional.begin());
  return *builtin;
}

Val map_attribute(const Call& call, Vals items) {
  Val attribute = Val::missing(), otherwise;
  for (const auto& [name, value] : call.args.keywords) {
    if (name != "attribute" && name != "default") fail("map() has no argument '", name, "'");
    (name == "attribute" ? attribute : otherwise) = value;
  }
  if (attribute.is_missing()) fail("map requires a filter argument");
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
  CallArgs args = call.args;
  const Builtin& filter = take_named(args, find_filter);
  for (Val& item : result) item = call.interpreter.call_builtin(filter, item, args);
  return iterator(call, std::move(result));
}

template <bool by_attribute, bool wanted>
Val select(const Call& call) {
  const Vals items = items_or_none(call);
  if (items.empty()) return iterator(call, {});
  CallArgs args = call.args;
  Val attribute;
  if (by_attribute) {
    if (args.positional.empty()) fail("Missing parameter: attribute name");
    attribute = args.positional[0];
    args.positional.erase(args.positional.begin());
  }
  const AttributePath path(call.heap, attribute);
  const Builtin* test = args.positional.empty() ? nullptr : &take_named(args, find_test);
  Vals result;
  for (const Val& item : items) {
    const Val value = path.get(item);
    const bool passes =
        is_true(test == nullptr ? value : call.interpreter.call_builtin(*test, value, args));
    if (passes == wanted) result.push_back(item);
  }
  return iterator(call, std::move(result));
}

constexpr Builtin kFilters[] = {
    {"upper", "", case_filter<upper_text>},
    {"lower", "", case_filter<lower_text>},
    {"capitalize", "", case_filter<capitalize_text>},
    {"title", "", case_filter<title_words>},
    {"string", "", string_filter},
    {"safe", "", safe},
    {"trim", "chars?", trim},
    {"replace", "old new count?", replace_filter},
    {"indent", "width? first? blank?", indent},
    {"format", "*", format},
    {"default", "default_value? boolean?", default_filter},
    {"d", "default_value? boolean?", default_filter},
    {"int", "default?", int_filter},
    {"float", "default?", float_filter},
    {"abs", "", abs_filter},
    {"round", "precision? method?", round_filter},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", tojson},
    {"first", "", end_item<false>},
    {"last", "", end_item<true>},
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

const Builtin* find_filter(std::string_view name) { return find_row(kFilters, name); }

}  // namespace sluice::text::jinja
