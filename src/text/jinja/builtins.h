#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/object.h"

// Tables of what templates can call: filters, tests, methods and global functions.
namespace sluice::text::jinja {

class Interpreter;

// The arguments of one call, before they are matched with parameters.
struct CallArgs {
  Vals positional;
  std::vector<std::pair<std::string, Val>> keywords;
};

// Matches arguments with parameters. `params` names them, separated by spaces; a '?' behind a name
// makes it optional, and it is missing when absent. Throws for too many, too few or unknown ones.
Vals bind(const CallArgs& args, std::string_view function, std::string_view params,
          bool positional_only = false);
// The value, or `otherwise` when it is missing.
inline const Val& value_or(const Val& value, const Val& otherwise) {
  return value.is_missing() ? otherwise : value;
}

struct FilterEntry {
  std::string_view name;
  Val (*apply)(Interpreter& interpreter, const Val& value, const CallArgs& args);
};
struct TestEntry {
  std::string_view name;
  bool (*apply)(Interpreter& interpreter, const Val& value, const CallArgs& args);
};
struct MethodEntry {
  std::string_view name;
  Val (*call)(Interpreter& interpreter, const Val& self, const CallArgs& args);
  bool changes = false;  // would change a list or dict: the sandbox hides it
};
struct FunctionEntry {
  std::string_view name;
  Val (*call)(Interpreter& interpreter, const CallArgs& args);
};

// Null when there is none of that name.
const FilterEntry* find_filter(std::string_view name);
const TestEntry* find_test(std::string_view name);
const MethodEntry* find_method(Type type, std::string_view name);
const FunctionEntry* find_function(std::string_view name);
// Attributes that are plain values, as loop.index; missing when there is none.
Val find_property(Heap& heap, const Val& object, std::string_view name);

// Parts of the tables, one a file.
using FilterTable = std::vector<FilterEntry>;
const FilterTable& text_filters();
const FilterTable& layout_filters();
const FilterTable& sequence_filters();
const FilterTable& selection_filters();
const FilterTable& value_filters();
using MethodTable = std::vector<MethodEntry>;
const MethodTable& string_methods();
const MethodTable& string_search_methods();
const MethodTable& string_class_methods();

// "format" % args and str.format.
std::string format_percent(Heap& heap, const Val& format, const Val& args);
std::string format_braces(Interpreter& interpreter, const Val& format, const CallArgs& args);
// format(value, spec).
std::string format_value(Heap& heap, const Val& value, std::string_view spec);
// time.strftime for the rendering's moment.
std::string format_time(Interpreter& interpreter, const std::string& format);

}  // namespace sluice::text::jinja
