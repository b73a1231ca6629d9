#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

// The tests behind `is`.
namespace sluice::text::jinja {

namespace {

using Args = const CallArgs&;

void no_args(Args args, std::string_view name) { bind(args, name, ""); }

template <Type type>
bool is_type(Interpreter&, const Val& value, Args args) {
  no_args(args, "test");
  return value.is(type);
}

bool is_defined(Interpreter&, const Val& value, Args args) {
  no_args(args, "defined");
  return !value.is_undefined();
}

template <bool truth>
bool is_bool(Interpreter&, const Val& value, Args args) {
  no_args(args, truth ? "true" : "false");
  return value.is(Type::kBool) && (value.int_value() != 0) == truth;
}

bool is_number(Interpreter&, const Val& value, Args args) {
  no_args(args, "number");
  return value.is_number();
}

bool is_sequence(Interpreter&, const Val& value, Args args) {
  no_args(args, "sequence");
  switch (value.type()) {
    case Type::kUndefined:
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kDict:
    case Type::kRange:
      return true;
    default:
      return false;
  }
}

bool is_iterable_test(Interpreter&, const Val& value, Args args) {
  no_args(args, "iterable");
  return is_iterable(value);
}

bool is_callable(Interpreter&, const Val& value, Args args) {
  no_args(args, "callable");
  switch (value.type()) {
    case Type::kUndefined:
    case Type::kMacro:
    case Type::kLoop:
    case Type::kJoiner:
    case Type::kMethod:
    case Type::kFunction:
      return true;
    default:
      return false;
  }
}

bool is_same_as(Interpreter&, const Val& value, Args args) {
  return is_same(value, bind(args, "sameas", "other")[0]);
}

bool is_escaped(Interpreter&, const Val& value, Args args) {
  no_args(args, "escaped");
  return value.is_markup();
}

// value % divisor == remainder.
bool has_remainder(Interpreter& interpreter, const Val& value, const Val& divisor,
                   int64_t remainder) {
  Val rest = binary_op(interpreter.heap(), Op::kMod, value, divisor);
  return equals(rest, Val::integer(remainder));
}

bool is_odd(Interpreter& interpreter, const Val& value, Args args) {
  no_args(args, "odd");
  return has_remainder(interpreter, value, Val::integer(2), 1);
}

bool is_even(Interpreter& interpreter, const Val& value, Args args) {
  no_args(args, "even");
  return has_remainder(interpreter, value, Val::integer(2), 0);
}

bool is_divisible_by(Interpreter& interpreter, const Val& value, Args args) {
  return has_remainder(interpreter, value, bind(args, "divisibleby", "num")[0], 0);
}

// Some cased character, and none of the set `wrong` or titlecase.
bool has_case(Interpreter& interpreter, const Val& value, const CharacterSet& right,
              const CharacterSet& wrong) {
  bool found = false;
  std::string text = to_text(interpreter.heap(), value);
  for (size_t position = 0; position < text.size();) {
    char32_t c = next_code_point(text, position);
    if (has(wrong, c) || has(kTitle, c)) return false;
    found = found || has(right, c);
  }
  return found;
}

bool is_lower(Interpreter& interpreter, const Val& value, Args args) {
  no_args(args, "lower");
  return has_case(interpreter, value, kLower, kUpper);
}

bool is_upper(Interpreter& interpreter, const Val& value, Args args) {
  no_args(args, "upper");
  return has_case(interpreter, value, kUpper, kLower);
}

bool is_in(Interpreter&, const Val& value, Args args) {
  return contains(bind(args, "in", "seq")[0], value);
}

bool is_filter(Interpreter& interpreter, const Val& value, Args args) {
  no_args(args, "filter");
  return find_filter(to_text(interpreter.heap(), value)) != nullptr;
}

bool is_test(Interpreter& interpreter, const Val& value, Args args) {
  no_args(args, "test");
  return find_test(to_text(interpreter.heap(), value)) != nullptr;
}

template <Op op>
bool compares(Interpreter& interpreter, const Val& value, Args args) {
  return compare(op, value, bind(args, "comparison", "other", true)[0], interpreter.heap());
}

constexpr TestEntry kTests[] = {
    {"odd", is_odd},
    {"even", is_even},
    {"divisibleby", is_divisible_by},
    {"defined", is_defined},
    {"undefined", is_type<Type::kUndefined>},
    {"filter", is_filter},
    {"test", is_test},
    {"none", is_type<Type::kNone>},
    {"boolean", is_type<Type::kBool>},
    {"false", is_bool<false>},
    {"true", is_bool<true>},
    {"integer", is_type<Type::kInt>},
    {"float", is_type<Type::kFloat>},
    {"lower", is_lower},
    {"upper", is_upper},
    {"string", is_type<Type::kString>},
    {"mapping", is_type<Type::kDict>},
    {"number", is_number},
    {"sequence", is_sequence},
    {"iterable", is_iterable_test},
    {"callable", is_callable},
    {"sameas", is_same_as},
    {"escaped", is_escaped},
    {"in", is_in},
    {"==", compares<Op::kEq>},
    {"eq", compares<Op::kEq>},
    {"equalto", compares<Op::kEq>},
    {"!=", compares<Op::kNe>},
    {"ne", compares<Op::kNe>},
    {">", compares<Op::kGt>},
    {"gt", compares<Op::kGt>},
    {"greaterthan", compares<Op::kGt>},
    {"ge", compares<Op::kGe>},
    {">=", compares<Op::kGe>},
    {"<", compares<Op::kLt>},
    {"lt", compares<Op::kLt>},
    {"lessthan", compares<Op::kLt>},
    {"<=", compares<Op::kLe>},
    {"le", compares<Op::kLe>},
};

}  // namespace

const TestEntry* find_test(std::string_view name) {
  auto found = std::find_if(std::begin(kTests), std::end(kTests),
                            [&](const TestEntry& entry) { return entry.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace sluice::text::jinja
