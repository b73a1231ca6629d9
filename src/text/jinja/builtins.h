#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/object.h"

// What templates can call: filters, tests, methods and global functions, each a row of a table.
namespace sluice::text::jinja {

class Interpreter;

// The arguments of one call, before they are matched with parameters.
struct CallArgs {
  Vals positional;
  std::vector<std::pair<std::string, Val>> keywords;
  bool has_own_keywords = true;  // the template itself spells all of their names
};

// One call of a builtin. The bytes of `self` and of the arguments are charged already.
struct Call {
  Interpreter& interpreter;
  Heap& heap;
  const Val& self;  // what a filter or test is applied to, or whose method it is
  CallArgs args;    // one positional a parameter, missing where absent; as given for "*"

  const Val& operator[](size_t i) const { return args.positional[i]; }
  bool has(size_t i) const { return !args.positional[i].is_missing(); }
  bool is_given(size_t i) const { return has(i) && !args.positional[i].is_none(); }
  bool flag(size_t i) const;  // given and true
  // The argument as a number or text; throws naming what it is needed for.
  int64_t index(size_t i, const char* what, int64_t otherwise = 0) const;
  const PromptText& string(size_t i, const char* what) const;
};

// `params` names the parameters, separated by spaces; a '?' behind a name makes it optional. "*":
// whatever is given.
struct Builtin {
  std::string_view name;
  std::string_view params;
  Val (*call)(const Call& call);
  Type of = Type::kMissing;  // of a method: the type of its object
};

// The row of that name (and, of methods, for such objects); null when there is none.
template <size_t size>
const Builtin* find_row(const Builtin (&table)[size], std::string_view name,
                        Type of = Type::kMissing) {
  for (const Builtin& row : table) {
    if (row.name == name && row.of == of) return &row;
  }
  return nullptr;
}
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);
const Builtin* find_method(Type type, std::string_view name);
bool names_method(std::string_view name);

// Matches arguments with parameters. Throws for too many, too few or unknown ones.
void bind(const Builtin& builtin, CallArgs& args);

// "format" % args and str.format.
Val format_percent(Heap& heap, const Val& format, const Val& args);
Val format_braces(const Call& call);
// The text at the left ('<') or right ('>') end, or in the middle ('^'), of `width` characters.
PromptText padded(Heap& heap, const PromptText& text, char align, int64_t width,
                  std::string_view fill);

}  // namespace sluice::text::jinja
