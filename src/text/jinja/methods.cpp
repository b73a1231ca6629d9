#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/strings.h"
#include "text/jinja/unicode.h"

// The methods of strings, lists, mappings and loops. Those that would change a list or mapping are
// not here: jinja2's sandbox refuses them too.
namespace sluice::text::jinja {

namespace {

// Strings: changed text.

template <std::string (*transform)(std::string_view)>
Val to_case(const Call& call) {
  return transformed(call.heap, call.self, transform);
}

template <bool left, bool right>
Val strip_method(const Call& call) {
  return strip(call.heap, call.self, call[0], left, right);
}

Val replace_method(const Call& call) {
  return replace(call.heap, call.self, call.string(0, "text to replace").text(),
                 call.string(1, "new text"), call.index(2, "a count", -1));
}

Val join_method(const Call& call) {
  const Val parts = to_sequence(call.heap, call[0]);
  for (const Val& part : parts.items()) {
    if (!part.is_string()) throw_type_error("join as text", part);
  }
  return join(call.heap, parts.items(), call.self.prompt_text());
}

Val remove_prefix(const Call& call) {
  const std::string& prefix = call.string(0, "a prefix").text();
  if (!call.self.text().starts_with(prefix)) return call.self;
  return make_string(call.heap, call.self.prompt_text().substr(prefix.size()));
}

Val remove_suffix(const Call& call) {
  const std::string& suffix = call.string(0, "a suffix").text();
  if (!call.self.text().ends_with(suffix)) return call.self;
  return make_string(call.heap,
                     call.self.prompt_text().substr(0, call.self.text().size() - suffix.size()));
}

template <char align>
Val justify(const Call& call) {
  const std::string fill = call.has(1) ? call.string(1, "a fill character").text() : " ";
  if (count_code_points(fill) != 1) fail("the fill must be exactly one character long");
  const PromptText& text = call.self.prompt_text();
  return make_string(call.heap, padded(call.heap, text, align, call.index(0, "a width"), fill));
}

Val zfill(const Call& call) {
  const PromptText& text = call.self.prompt_text();
  const bool has_sign = text.text().starts_with('-') || text.text().starts_with('+');
  const int64_t width = call.index(0, "a width") - has_sign;
  PromptText out = text.substr(0, has_sign);
  out.append(padded(call.heap, text.substr(has_sign), '>', width, "0"));
  return make_string(call.heap, std::move(out));
}

// Strings: search.

// The part of the text that the start and stop arguments, from number `first` on, select; nothing
// when it starts behind the end.
std::optional<std::string_view> window_of(const Call& call, size_t first, int64_t& start) {
  if (!call.is_given(first) && !call.is_given(first + 1)) return call.self.text();
  const int64_t length = length_of(call.self);
  const auto position = [&](size_t i, int64_t otherwise) {
    const int64_t index = call.is_given(i) ? call.index(i, "a string index") : otherwise;
    return std::max<int64_t>(index < 0 ? index + length : index, 0);
  };
  start = position(first, 0);
  const int64_t stop = std::min(position(first + 1, length), length);
  if (start > stop) return std::nullopt;
  const std::string_view text = call.self.text();
  const size_t begin = byte_offset(text, static_cast<size_t>(start));
  return text.substr(begin, byte_offset(text.substr(begin), static_cast<size_t>(stop - start)));
}

size_t find_last(Heap& heap, std::string_view text, std::string_view needle) {
  heap.charge(text.size() / 64 * (needle.size() / 64 + 1));
  return text.rfind(needle);
}

template <bool from_right>
Val find(const Call& call) {
  const std::string& needle = call.string(0, "text to find").text();
  int64_t start = 0;
  const auto window = window_of(call, 1, start);
  if (!window) return Val::integer(-1);
  const size_t found =
      from_right ? find_last(call.heap, *window, needle) : find_text(*window, needle);
  if (found == std::string::npos) return Val::integer(-1);
  return Val::integer(start + static_cast<int64_t>(count_code_points(window->substr(0, found))));
}

template <bool from_right>
Val index(const Call& call) {
  const Val found = find<from_right>(call);
  if (found.int_value() < 0) fail("substring not found");
  return found;
}

Val count(const Call& call) {
  const std::string& needle = call.string(0, "text to find").text();
  if (needle.empty()) return Val::integer(length_of(call.self) + 1);
  int64_t total = 0;
  for (size_t at = 0; (at = find_text(call.self.text(), needle, at)) != std::string::npos;) {
    at += needle.size();
    ++total;
  }
  return Val::integer(total);
}

template <bool at_start>
Val has_affix(const Call& call) {
  int64_t start = 0;
  const auto window = window_of(call, 1, start);
  const auto matches = [&](const Val& value) {
    if (!value.is_string()) throw_type_error("search for", value);
    if (!window) return false;
    return at_start ? window->starts_with(value.text()) : window->ends_with(value.text());
  };
  if (!call[0].is(Type::kTuple)) return Val::boolean(matches(call[0]));
  const Vals& affixes = call[0].items();
  call.heap.charge(affixes.size());
  return Val::boolean(std::any_of(affixes.begin(), affixes.end(), matches));
}

// Strings: parts.

using Parts = std::vector<std::string_view>;

// The parts, which are views of the text, as strings.
Vals values_of(const Call& call, const Parts& parts) {
  constexpr size_t kStringBytes = 200;
  call.heap.check_bytes(parts.size() * kStringBytes);
  Vals items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) {
    const auto begin = static_cast<size_t>(part.data() - call.self.text().data());
    items.push_back(make_string(call.heap, call.self.prompt_text().substr(begin, part.size())));
  }
  return items;
}

Parts split_space(std::string_view text, size_t limit) {
  Parts parts;
  text = strip_left(text);
  while (!text.empty() && parts.size() < limit) {
    size_t end = 0, next = 0;
    while (end < text.size() && !is_space(next_code_point(text, next))) end = next;
    parts.push_back(text.substr(0, end));
    text = strip_left(text.substr(end));
  }
  if (!text.empty()) parts.push_back(text);
  return parts;
}

Parts split_on(std::string_view text, std::string_view separator, size_t limit) {
  Parts parts;
  size_t start = 0;
  while (parts.size() < limit) {
    const size_t found = find_text(text, separator, start);
    if (found == std::string::npos) break;
    parts.push_back(text.substr(start, found - start));
    start = found + separator.size();
  }
  parts.push_back(text.substr(start));
  return parts;
}

Parts rsplit_on(Heap& heap, std::string_view text, std::string_view separator, size_t limit) {
  Parts parts;
  while (parts.size() < limit) {
    const size_t found = find_last(heap, text, separator);
    if (found == std::string::npos) break;
    parts.push_back(text.substr(found + separator.size()));
    text = text.substr(0, found);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Val split(const Call& call) {
  const int64_t maximum = call.index(1, "a number of splits", -1);
  const size_t limit = maximum < 0 ? SIZE_MAX : static_cast<size_t>(maximum);
  const std::string& text = call.self.text();
  call.heap.check_bytes(text.size() * sizeof(std::string_view));
  if (!call.is_given(0)) {
    if (from_right && maximum >= 0) fail("rsplit() at white space takes no maximum here");
    return make_list(call.heap, values_of(call, split_space(text, limit)));
  }
  const std::string& separator = call.string(0, "a separator").text();
  if (separator.empty()) fail("empty separator");
  return make_list(call.heap,
                   values_of(call, from_right ? rsplit_on(call.heap, text, separator, limit)
                                              : split_on(text, separator, limit)));
}

Val splitlines(const Call& call) {
  call.heap.check_bytes(call.self.text().size() * sizeof(std::string_view));
  return make_list(call.heap, values_of(call, split_lines(call.self.text(), call.flag(0))));
}

template <bool from_right>
Val partition(const Call& call) {
  const std::string& separator = call.string(0, "a separator").text();
  if (separator.empty()) fail("empty separator");
  const std::string_view text = call.self.text();
  const size_t found =
      from_right ? find_last(call.heap, text, separator) : find_text(text, separator);
  const std::string_view none = text.substr(text.size());
  Parts parts = from_right ? Parts{none, none, text} : Parts{text, none, none};
  if (found != std::string::npos) {
    const size_t behind = found + separator.size();
    parts = {text.substr(0, found), text.substr(found, separator.size()), text.substr(behind)};
  }
  return make_tuple(call.heap, values_of(call, parts));
}

// Strings: classes.

// Whether there is a character and all pass.
template <bool (*passes)(char32_t)>
Val all_are(const Call& call) {
  const std::string& text = call.self.text();
  for (size_t position = 0; position < text.size();) {
    if (!passes(next_code_point(text, position))) return Val::boolean(false);
  }
  return Val::boolean(!text.empty());
}

template <bool (*right)(char32_t), bool (*wrong)(char32_t)>
Val has_case(const Call& call) {
  return Val::boolean(is_in_case(call.self.text(), right, wrong));
}

bool is_ascii(char32_t c) { return c < 0x80; }

// Lists and mappings.

Val sequence_count(const Call& call) {
  const Vals& items = call.self.items();
  call.heap.charge(items.size());
  return Val::integer(std::count_if(items.begin(), items.end(),
                                    [&](const Val& item) { return equals(item, call[0]); }));
}

Val sequence_index(const Call& call) {
  const Vals& items = call.self.items();
  call.heap.charge(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    if (equals(items[i], call[0])) return Val::integer(static_cast<int64_t>(i));
  }
  fail("the value is not in the list");
}

Val dict_get(const Call& call) {
  if (!hash_of(call.heap, call[0])) throw_type_error("use as a key", call[0]);
  const Val* found = call.self.as<DictObject>().find(call[0]);
  if (found != nullptr) return *found;
  return call.has(1) ? call[1] : Val();
}

enum class Part { kKeys, kValues, kItems };

// A list, where Python has a view.
template <Part part>
Val dict_parts(const Call& call) {
  const auto& items = call.self.as<DictObject>().items();
  constexpr size_t kTupleBytes = 200;
  call.heap.check_bytes(items.size() * kTupleBytes);
  Vals result;
  result.reserve(items.size());
  for (const auto& [key, value] : items) {
    result.push_back(part == Part::kKeys     ? key
                     : part == Part::kValues ? value
                                             : make_tuple(call.heap, {key, value}));
  }
  return make_list(call.heap, std::move(result));
}

Val copy(const Call& call) { return call.self; }  // nothing can change it

// Loops.

Val loop_changed(const Call& call) {
  auto& loop = call.self.as<LoopObject>();
  const Val before = std::exchange(loop.last_changed, make_tuple(call.heap, call.args.positional));
  return Val::boolean(!equals(before, loop.last_changed));
}

constexpr Builtin kMethods[] = {
    {"upper", "", to_case<upper_text>, Type::kString},
    {"lower", "", to_case<lower_text>, Type::kString},
    {"title", "", to_case<title_text>, Type::kString},
    {"capitalize", "", to_case<capitalize_text>, Type::kString},
    {"strip", "chars?", strip_method<true, true>, Type::kString},
    {"lstrip", "chars?", strip_method<true, false>, Type::kString},
    {"rstrip", "chars?", strip_method<false, true>, Type::kString},
    {"replace", "old new count?", replace_method, Type::kString},
    {"join", "iterable", join_method, Type::kString},
    {"removeprefix", "prefix", remove_prefix, Type::kString},
    {"removesuffix", "suffix", remove_suffix, Type::kString},
    {"ljust", "width fillchar?", justify<'<'>, Type::kString},
    {"rjust", "width fillchar?", justify<'>'>, Type::kString},
    {"zfill", "width", zfill, Type::kString},
    {"format", "*", format_braces, Type::kString},
    {"find", "sub start? end?", find<false>, Type::kString},
    {"rfind", "sub start? end?", find<true>, Type::kString},
    {"index", "sub start? end?", index<false>, Type::kString},
    {"rindex", "sub start? end?", index<true>, Type::kString},
    {"count", "sub", count, Type::kString},
    {"startswith", "prefix start? end?", has_affix<true>, Type::kString},
    {"endswith", "suffix start? end?", has_affix<false>, Type::kString},
    {"split", "sep? maxsplit?", split<false>, Type::kString},
    {"rsplit", "sep? maxsplit?", split<true>, Type::kString},
    {"splitlines", "keepends?", splitlines, Type::kString},
    {"partition", "sep", partition<false>, Type::kString},
    {"rpartition", "sep", partition<true>, Type::kString},
    {"isalpha", "", all_are<is_alphabetic>, Type::kString},
    {"isalnum", "", all_are<is_alphanumeric>, Type::kString},
    {"isascii", "", all_are<is_ascii>, Type::kString},
    {"isdecimal", "", all_are<is_decimal>, Type::kString},
    {"isdigit", "", all_are<is_decimal>, Type::kString},
    {"isnumeric", "", all_are<is_numeric>, Type::kString},
    {"isspace", "", all_are<is_space>, Type::kString},
    {"islower", "", has_case<is_lower, is_upper>, Type::kString},
    {"isupper", "", has_case<is_upper, is_lower>, Type::kString},
    {"count", "value", sequence_count, Type::kList},
    {"index", "value", sequence_index, Type::kList},
    {"copy", "", copy, Type::kList},
    {"get", "key default?", dict_get, Type::kDict},
    {"keys", "", dict_parts<Part::kKeys>, Type::kDict},
    {"values", "", dict_parts<Part::kValues>, Type::kDict},
    {"items", "", dict_parts<Part::kItems>, Type::kDict},
    {"copy", "", copy, Type::kDict},
    {"changed", "*", loop_changed, Type::kLoop},
};

}  // namespace

const Builtin* find_method(Type type, std::string_view name) {
  return find_row(kMethods, name, type == Type::kTuple ? Type::kList : type);
}

bool names_method(std::string_view name) {
  return std::any_of(std::begin(kMethods), std::end(kMethods),
                     [&](const Builtin& method) { return method.name == name; });
}

}  // namespace sluice::text::jinja
