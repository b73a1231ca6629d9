#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/object.h"

// What Python's operators and protocols do with values. Everything here throws TemplateError where
// Python would raise, and charges the bytes that it touches.
namespace sluice::text::jinja {

// Python's name of the value's type: "str", "NoneType".
std::string_view type_name(const Val& value);
// Throws the value's own error when it is undefined, else "cannot WHAT a 'TYPE'".
[[noreturn]] void throw_type_error(const std::string& what, const Val& value);

bool is_true(const Val& value);
bool is_same(const Val& a, const Val& b);  // Python's `is`
bool equals(const Val& a, const Val& b);
bool is_less(const Val& a, const Val& b);
bool compare(Op op, const Val& a, const Val& b);
bool contains(const Val& container, const Val& item);
// len(value), or -1 when it has none.
int64_t length_of(const Val& value);

// The items of whatever can be iterated over: of a mapping its keys, of a string its characters.
// An iterator is used up.
Vals to_vals(Heap& heap, const Val& value);
// The same as a list or tuple, which is `value` itself when it is one.
Val to_sequence(Heap& heap, const Val& value);

Val binary_op(Heap& heap, Op op, const Val& a, const Val& b);
Val negate(const Val& value);
// An int, also from a bool; throws for anything else, naming what it is needed for.
int64_t to_index(const Val& value, const char* what);
// int(value); throws when it does not fit.
Val to_integer(double value);
// What is not safe already, with the escapes of HTML.
Val escaped(Heap& heap, const Val& text);

// obj[key] and obj.name with jinja2's rules: what is not there is undefined. `names_method`: some
// method has this name (or it may).
Val get_item(Heap& heap, const Val& object, const Val& key);
Val get_attribute(Heap& heap, const Val& object, std::string_view name, bool names_method = true);
// object[start:stop:step]; parts that are absent are none.
Val get_slice(Heap& heap, const Val& object, const Val& start, const Val& stop, const Val& step);

// str(value) as a string value: a string is itself; anything else is the template's own text when
// every string in it is.
Val to_string(Heap& heap, const Val& value);
std::string to_text(Heap& heap, const Val& value);  // without the origin

struct JsonOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// json.dumps; the origin as with to_string.
Val to_json(Heap& heap, const Val& value, const JsonOptions& options);

}  // namespace sluice::text::jinja
