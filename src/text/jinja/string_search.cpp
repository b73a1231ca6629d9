#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/string_tools.h"
#include "text/jinja/unicode.h"

// Methods of str that search, split and classify.
namespace sluice::text::jinja {

namespace {

using Args = const CallArgs&;

// The part of the text that start and stop arguments select.
struct Window {
  std::string_view text;
  int64_t start = 0;            // characters before it
  bool is_empty_range = false;  // start lies behind stop: nothing is found, not even ""
};

Window window_of(Heap& heap, const Val& self, const Val& start, const Val& stop) {
  int64_t length = length_of(self);
  heap.charge_bytes(self.text().size());
  auto position = [&](const Val& value, int64_t otherwise) {
    if (value.is_missing() || value.is_none()) return otherwise;
    int64_t index = to_index(value, "a string index");
    return std::max<int64_t>(index < 0 ? index + length : index, 0);
  };
  int64_t first = position(start, 0), last = std::min(position(stop, length), length);
  Window window;
  window.start = first;
  window.is_empty_range = first > last;
  if (window.is_empty_range) return window;
  std::string_view text = self.text();
  size_t begin = byte_offset(text, static_cast<size_t>(first));
  size_t size = byte_offset(text.substr(begin), static_cast<size_t>(last - first));
  window.text = text.substr(begin, size);
  return window;
}

const std::string& needle_of(const Val& value) {
  if (!value.is_string()) throw_type_error("search for", value);
  return value.text();
}

size_t find_last(Heap& heap, std::string_view text, std::string_view needle) {
  heap.charge(text.size() / 64 * (needle.size() / 64 + 1));
  return text.rfind(needle);
}

template <bool from_right, bool must_exist>
Val find(Interpreter& interpreter, const Val& self, Args args) {
  Vals bound = bind(args, "find", "sub start? end?", true);
  const std::string& needle = needle_of(bound[0]);
  Window window = window_of(interpreter.heap(), self, bound[1], bound[2]);
  size_t found = std::string::npos;
  if (!window.is_empty_range) {
    found = from_right ? find_last(interpreter.heap(), window.text, needle)
                       : find_text(window.text, needle);
  }
  if (found == std::string::npos) {
    if (must_exist) throw TemplateError("substring not found");
    return Val::integer(-1);
  }
  auto before = static_cast<int64_t>(count_code_points(window.text.substr(0, found)));
  return Val::integer(window.start + before);
}

Val count(Interpreter& interpreter, const Val& self, Args args) {
  Vals bound = bind(args, "count", "sub start? end?", true);
  const std::string& needle = needle_of(bound[0]);
  Window window = window_of(interpreter.heap(), self, bound[1], bound[2]);
  if (window.is_empty_range) return Val::integer(0);
  if (needle.empty()) {
    return Val::integer(static_cast<int64_t>(count_code_points(window.text)) + 1);
  }
  int64_t total = 0;
  for (size_t at = 0; (at = find_text(window.text, needle, at)) != std::string::npos; ++total) {
    interpreter.heap().charge(1);
    at += needle.size();
  }
  return Val::integer(total);
}

template <bool at_start>
Val has_affix(Interpreter& interpreter, const Val& self, Args args) {
  Vals bound = bind(args, at_start ? "startswith" : "endswith", "affix start? end?", true);
  Window window = window_of(interpreter.heap(), self, bound[1], bound[2]);
  auto matches = [&](const Val& value) {
    const std::string& affix = needle_of(value);
    if (window.is_empty_range || affix.size() > window.text.size()) return false;
    size_t from = at_start ? 0 : window.text.size() - affix.size();
    return window.text.substr(from, affix.size()) == affix;
  };
  if (!bound[0].is(Type::kTuple)) return Val::boolean(matches(bound[0]));
  interpreter.heap().charge(bound[0].items().size());
  const Vals& affixes = bound[0].items();
  return Val::boolean(std::any_of(affixes.begin(), affixes.end(), matches));
}

Val make_parts(Interpreter& interpreter, const Val& self,
               const std::vector<std::string_view>& parts) {
  Vals items;
  interpreter.heap().check_bytes(parts.size() * 128);
  for (std::string_view part : parts) {
    items.push_back(interpreter.string(std::string(part), self.is_markup()));
  }
  return make_list(interpreter.heap(), std::move(items));
}

using Parts = std::vector<std::string_view>;

Parts split_space(std::string_view text, size_t limit) {
  Parts parts;
  text = strip_left(text, nullptr);
  while (!text.empty() && parts.size() < limit) {
    size_t end = 0, next = 0;
    while (end < text.size() && !is_space(next_code_point(text, next))) end = next;
    parts.push_back(text.substr(0, end));
    text = strip_left(text.substr(end), nullptr);
  }
  if (!text.empty()) parts.push_back(text);
  return parts;
}

Parts rsplit_space(std::string_view text, size_t limit) {
  Parts parts;
  text = strip_right(text, nullptr);
  while (!text.empty() && parts.size() < limit) {
    // Characters are found from the front; a word starts behind the last white space.
    size_t start = text.size();
    while (start > 0) {
      size_t before = start - 1;
      while (before > 0 && (static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
      size_t position = before;
      if (is_space(next_code_point(text, position))) break;
      start = before;
    }
    parts.push_back(text.substr(start));
    text = strip_right(text.substr(0, start), nullptr);
  }
  if (!text.empty()) parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Parts split_on(std::string_view text, std::string_view separator, size_t limit) {
  Parts parts;
  size_t start = 0;
  while (parts.size() < limit) {
    size_t found = find_text(text, separator, start);
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
    size_t found = find_last(heap, text, separator);
    if (found == std::string::npos) break;
    parts.push_back(text.substr(found + separator.size()));
    text = text.substr(0, found);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Val split(Interpreter& interpreter, const Val& self, Args args) {
  Vals bound = bind(args, "split", "sep? maxsplit?");
  int64_t maximum = bound[1].is_missing() ? -1 : to_index(bound[1], "a number of splits");
  size_t limit = maximum < 0 ? SIZE_MAX : static_cast<size_t>(maximum);
  Heap& heap = interpreter.heap();
  const std::string& text = self.text();
  heap.charge_bytes(text.size());
  heap.check_bytes(text.size() * sizeof(std::string_view));
  if (bound[0].is_missing() || bound[0].is_none()) {
    return make_parts(interpreter, self,
                      from_right ? rsplit_space(text, limit) : split_space(text, limit));
  }
  const std::string& separator = needle_of(bound[0]);
  if (separator.empty()) throw TemplateError("empty separator");
  return make_parts(
      interpreter, self,
      from_right ? rsplit_on(heap, text, separator, limit) : split_on(text, separator, limit));
}

Val splitlines(Interpreter& interpreter, const Val& self, Args args) {
  Val keep = bind(args, "splitlines", "keepends?")[0];
  interpreter.heap().check_bytes(self.text().size() * sizeof(std::string_view));
  return make_parts(interpreter, self,
                    split_lines(self.text(), !keep.is_missing() && is_true(keep)));
}

template <bool from_right>
Val partition(Interpreter& interpreter, const Val& self, Args args) {
  Val argument = bind(args, "partition", "sep", true)[0];
  const std::string &separator = needle_of(argument), &text = self.text();
  if (separator.empty()) throw TemplateError("empty separator");
  size_t found =
      from_right ? find_last(interpreter.heap(), text, separator) : find_text(text, separator);
  auto part = [&](std::string_view piece) {
    return interpreter.string(std::string(piece), self.is_markup());
  };
  std::string_view view = text;
  Vals parts;
  if (found != std::string::npos) {
    parts = {part(view.substr(0, found)), part(separator),
             part(view.substr(found + separator.size()))};
  } else if (from_right) {
    parts = {part(""), part(""), part(view)};
  } else {
    parts = {part(view), part(""), part("")};
  }
  return make_tuple(interpreter.heap(), std::move(parts));
}

// Whether every character passes, and there is one.
template <typename Passes>
Val all_of(Interpreter& interpreter, const Val& self, Args args, Passes passes) {
  bind(args, "str method", "");
  interpreter.heap().charge_bytes(self.text().size());
  const std::string& text = self.text();
  for (size_t position = 0; position < text.size();) {
    if (!passes(next_code_point(text, position))) return Val::boolean(false);
  }
  return Val::boolean(!text.empty());
}

template <const CharacterSet& set>
Val is_class(Interpreter& interpreter, const Val& self, Args args) {
  return all_of(interpreter, self, args, [](char32_t c) { return has(set, c); });
}

Val is_alnum(Interpreter& interpreter, const Val& self, Args args) {
  return all_of(interpreter, self, args,
                [](char32_t c) { return has(kAlpha, c) || has(kNumeric, c); });
}

Val is_ascii(Interpreter& interpreter, const Val& self, Args args) {
  Val result = all_of(interpreter, self, args, [](char32_t c) { return c < 0x80; });
  return self.text().empty() ? Val::boolean(true) : result;
}

Val is_printable(Interpreter& interpreter, const Val& self, Args args) {
  Val result = is_class<kPrintable>(interpreter, self, args);
  return self.text().empty() ? Val::boolean(true) : result;
}

Val is_identifier(Interpreter& interpreter, const Val& self, Args args) {
  bool first = true;
  return all_of(interpreter, self, args, [&](char32_t c) {
    bool passes = c == '_' || has(first ? kIdentifierStart : kIdentifierContinue, c);
    first = false;
    return passes;
  });
}

template <bool upper>
Val is_case(Interpreter& interpreter, const Val& self, Args args) {
  bool found = false;
  Val result = all_of(interpreter, self, args, [&](char32_t c) {
    found = found || has(upper ? kUpper : kLower, c);
    return !has(upper ? kLower : kUpper, c) && !has(kTitle, c);
  });
  return Val::boolean(found && is_true(result));
}

Val is_title(Interpreter& interpreter, const Val& self, Args args) {
  bool in_word = false, found = false;
  Val result = all_of(interpreter, self, args, [&](char32_t c) {
    bool starts = has(kUpper, c) || has(kTitle, c), continues = has(kLower, c);
    bool fits = starts ? !in_word : !continues || in_word;
    in_word = starts || continues;
    found = found || in_word;
    return fits;
  });
  return Val::boolean(found && is_true(result));
}

bool ends_line(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  Parts lines;
  size_t start = 0;
  for (size_t position = 0; position < text.size();) {
    size_t end = position;
    char32_t c = next_code_point(text, position);
    if (!ends_line(c)) continue;
    if (c == '\r' && position < text.size() && text[position] == '\n') ++position;
    lines.push_back(text.substr(start, (keep_ends ? position : end) - start));
    start = position;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

const MethodTable& string_search_methods() {
  static const MethodTable table = {
      {"split", split<false>},         {"rsplit", split<true>},
      {"splitlines", splitlines},      {"partition", partition<false>},
      {"rpartition", partition<true>}, {"find", find<false, false>},
      {"rfind", find<true, false>},    {"index", find<false, true>},
      {"rindex", find<true, true>},    {"count", count},
      {"startswith", has_affix<true>}, {"endswith", has_affix<false>},
  };
  return table;
}

const MethodTable& string_class_methods() {
  static const MethodTable table = {
      {"isalnum", is_alnum},         {"isalpha", is_class<kAlpha>},
      {"isascii", is_ascii},         {"isdecimal", is_class<kDecimal>},
      {"isdigit", is_class<kDigit>}, {"isidentifier", is_identifier},
      {"islower", is_case<false>},   {"isnumeric", is_class<kNumeric>},
      {"isprintable", is_printable}, {"isspace", is_class<kSpace>},
      {"istitle", is_title},         {"isupper", is_case<true>},
  };
  return table;
}

}  // namespace sluice::text::jinja
