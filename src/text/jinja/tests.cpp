#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

// The tests behind `is`.
namespace sluice::text::jinja {

namespace {

template <Type... types>
Val is_type(const Call& call) {
  return Val::boolean((call.self.is(types) || ...));
}

Val is_defined(const Call& call) { return Val::boolean(!call.self.is_undefined()); }

template <bool truth>
Val is_bool(const Call& call) {
  return Val::boolean(call.self.is(Type::kBool) && (call.self.int_value() != 0) == truth);
}

Val is_iterable_test(const Call& call) { return Val::boolean(call.self.is_iterable()); }

Val is_same_as(const Call& call) { return Val::boolean(is_same(call.self, call[0])); }

// value % divisor == remainder.
Val has_remainder(const Call& call, const Val& divisor, int64_t remainder) {
  const Val rest = binary_op(call.heap, Op::kMod, call.self, divisor);
  return Val::boolean(equals(rest, Val::integer(remainder)));
}
Val is_odd(const Call& call) { return has_remainder(call, Val::integer(2), 1); }
Val is_even(const Call& call) { return has_remainder(call, Val::integer(2), 0); }
Val is_divisible_by(const Call& call) { return has_remainder(call, call[0], 0); }

template <bool (*right)(char32_t), bool (*wrong)(char32_t)>
Val text_has_case(const Call& call) {
  return Val::boolean(is_in_case(to_text(call.heap, call.self), right, wrong));
}

Val is_in(const Call& call) { return Val::boolean(contains(call[0], call.self)); }

template <Op op>
Val compares(const Call& call) {
  return Val::boolean(compare(op, call.self, call[0]));
}

constexpr Builtin kTests[] = {
    {"defined", "", is_defined},
    {"undefined", "", is_type<Type::kUndefined>},
    {"none", "", is_type<Type::kNone>},
    {"boolean", "", is_type<Type::kBool>},
    {"true", "", is_bool<true>},
    {"false", "", is_bool<false>},
    {"integer", "", is_type<Type::kInt>},
    {"float", "", is_type<Type::kFloat>},
    {"number", "", is_type<Type::kInt, Type::kBool, Type::kFloat>},
    {"string", "", is_type<Type::kString>},
    {"mapping", "", is_type<Type::kDict>},
    {"sequence", "",
     is_type<Type::kUndefined, Type::kString, Type::kList, Type::kTuple, Type::kDict>},
    {"iterable", "", is_iterable_test},
    {"callable", "", is_type<Type::kUndefined, Type::kMacro, Type::kLoop, Type::kFunction>},
    {"odd", "", is_odd},
    {"even", "", is_even},
    {"divisibleby", "num", is_divisible_by},
    {"lower", "", text_has_case<is_lower, is_upper>},
    {"upper", "", text_has_case<is_upper, is_lower>},
    {"sameas", "other", is_same_as},
    {"in", "seq", is_in},
    {"==", "other", compares<Op::kEq>},
    {"eq", "other", compares<Op::kEq>},
    {"equalto", "other", compares<Op::kEq>},
    {"!=", "other", compares<Op::kNe>},
    {"ne", "other", compares<Op::kNe>},
    {">", "other", compares<Op::kGt>},
    {"gt", "other", compares<Op::kGt>},
    {"greaterthan", "other", compares<Op::kGt>},
    {">=", "other", compares<Op::kGe>},
    {"ge", "other", compares<Op::kGe>},
    {"<", "other", compares<Op::kLt>},
    {"lt", "other", compares<Op::kLt>},
    {"lessthan", "other", compares<Op::kLt>},
    {"<=", "other", compares<Op::kLe>},
    {"le", "other", compares<Op::kLe>},
};

}  // namespace

const Builtin* find_test(std::string_view name) { return find_row(kTests, name); }

}  // namespace sluice::text::jinja
