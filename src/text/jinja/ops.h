#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/object.h"

// What Python's operators and protocols do with values. Everything here throws TemplateError where
// Python would raise.
namespace sluice::text::jinja {

// Python's name of the value's type: "str", "NoneType".
std::string_view type_name(const Val& value);
// Throws the value's own error when it is undefined, else "cannot WHAT a 'TYPE'".
[[noreturn]] void throw_type_error(const std::string& what, const Val& value);

bool is_true(const Val& value);
bool is_same(const Val& a, const Val& b);  // Python's `is`
bool equals(const Val& a, const Val& b);
bool is_less(const Val& a, const Val& b);
bool compare(Op op, const Val& a, const Val& b, Heap& heap);
bool contains(const Val& container, const Val& item);
// len(value), or -1 when it has none.
int64_t length_of(const Val& value);

// Position of `needle` at or behind `from`, or npos; linear time.
size_t find_text(std::string_view text, std::string_view needle, size_t from = 0);

bool is_iterable(const Val& value);
// An IteratorObject over the value's items.
Val iterate(Heap& heap, const Val& value);
Vals to_vals(Heap& heap, const Val& value);
// The items of a dict as tuples; of key views as keys, and so on.
Vals view_items(Heap& heap, const DictViewObject& view);

Val binary_op(Heap& heap, Op op, const Val& a, const Val& b);
Val negate(const Val& value);
Val plus(const Val& value);
// base ** exponent for integers; throws past 64 bits.
int64_t integer_power(int64_t base, int64_t exponent);

// An int, also from a bool; throws for anything else, naming what it is needed for.
int64_t to_index(const Val& value, const char* what);

// obj[key] and obj.name with jinja2's rules: what is not there is undefined.
Val get_item(Heap& heap, const Val& object, const Val& key);
Val get_attribute(Heap& heap, const Val& object, std::string_view name);
// Only a real attribute, not an item; missing when there is none.
Val find_attribute(Heap& heap, const Val& object, std::string_view name);
// object[start:stop:step]; parts that are absent are none.
Val get_slice(Heap& heap, const Val& object, const Val& start, const Val& stop, const Val& step);

// str(value) and repr(value).
std::string to_text(Heap& heap, const Val& value);
std::string to_repr(Heap& heap, const Val& value);
// The value itself when it is a string (markup stays markup), else str(value).
Val to_string(Heap& heap, const Val& value);
std::string float_repr(double value);
std::string string_repr(std::string_view text);
// Only ASCII: what ascii() makes of a repr.
std::string ascii_only(std::string_view repr);

// HTML escaping as markupsafe does it; markup is already escaped.
std::string escape_html(std::string_view text);
std::string escaped(Heap& heap, const Val& value);

struct JsonOptions {
  bool ensure_ascii = false;
  bool has_indent = false;
  bool sort_keys = false;
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// json.dumps.
std::string to_json(Heap& heap, const Val& value, const JsonOptions& options);

}  // namespace sluice::text::jinja
