#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/ops.h"

namespace sluice::text::jinja {

namespace {

Val integer_op(Op op, int64_t left, int64_t right) {
  using Wide = __int128;  // holds every result
  const Wide a = left, b = right;
  Wide result = 0;
  switch (op) {
    case Op::kAdd:
      result = a + b;
      break;
    case Op::kSub:
      result = a - b;
      break;
    case Op::kMul:
      result = a * b;
      break;
    case Op::kDiv:
      return Val::real(
          static_cast<double>(static_cast<long double>(left) / static_cast<long double>(right)));
    default: {
      const Wide remainder = (a % b + b) % b;  // with the divisor's sign
      result = op == Op::kMod ? remainder : (a - remainder) / b;
    }
  }
  if (result != static_cast<int64_t>(result)) fail("integer does not fit 64 bits");
  return Val::integer(static_cast<int64_t>(result));
}

Val float_op(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return Val::real(a + b);
    case Op::kSub:
      return Val::real(a - b);
    case Op::kMul:
      return Val::real(a * b);
    case Op::kDiv:
      return Val::real(a / b);
    default: {
      double remainder = std::fmod(a, b);
      if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
      if (op == Op::kFloorDiv) return Val::real(std::round((a - remainder) / b));
      return Val::real(remainder == 0 ? std::copysign(0.0, b) : remainder);
    }
  }
}

Val number_op(Op op, const Val& a, const Val& b) {
  const bool divides = op == Op::kDiv || op == Op::kFloorDiv || op == Op::kMod;
  if (divides && b.as_double() == 0) fail("division by zero");
  if (a.is_integral() && b.is_integral()) return integer_op(op, a.int_value(), b.int_value());
  return float_op(op, a.as_double(), b.as_double());
}

bool is_safe(const Val& text) { return text.as<StringObject>().is_safe; }

Val concatenate(Heap& heap, const Val& a, const Val& b) {
  if (a.is_string()) {
    const bool has_safe = is_safe(a) || is_safe(b);
    PromptText text;
    for (const Val& part : {has_safe ? escaped(heap, a) : a, has_safe ? escaped(heap, b) : b}) {
      heap.check_bytes(text.size() + text.extra_bytes() + part.text().size());
      text.append(part.prompt_text());
    }
    return Val(new StringObject(heap, std::move(text), has_safe));
  }
  heap.check_bytes((a.items().size() + b.items().size()) * sizeof(Val));
  Vals items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return Val(new SequenceObject(heap, a.type(), std::move(items)));
}

Val repeat(Heap& heap, const Val& value, int64_t times) {
  const size_t unit = value.is_string() ? value.text().size() + value.prompt_text().extra_bytes()
                                        : value.items().size() * sizeof(Val);
  const size_t count = unit > 0 ? static_cast<size_t>(std::max<int64_t>(times, 0)) : 0;
  size_t total = 0;
  if (__builtin_mul_overflow(unit, count, &total)) total = SIZE_MAX;
  heap.check_bytes(total);
  heap.charge_bytes(total);
  PromptText text;
  Vals items;
  for (size_t i = 0; i < count; ++i) {
    if (value.is_string()) {
      text.append(value.prompt_text());
    } else {
      items.insert(items.end(), value.items().begin(), value.items().end());
    }
  }
  if (value.is_string()) return make_string(heap, std::move(text));
  return Val(new SequenceObject(heap, value.type(), std::move(items)));
}

}  // namespace

Val escaped(Heap& heap, const Val& value) {
  static constexpr std::string_view kSpecial = "&<>'\"";
  static constexpr std::string_view kEscapes[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
  if (is_safe(value)) return value;
  heap.check_bytes(5 * value.text().size());
  std::string out;
  for (const char c : value.text()) {
    const size_t special = kSpecial.find(c);
    out += special == kSpecial.npos ? std::string_view(&c, 1) : kEscapes[special];
  }
  return Val(
      new StringObject(heap, PromptText(std::move(out), value.prompt_text().is_trusted()), true));
}

Val binary_op(Heap& heap, Op op, const Val& a, const Val& b) {
  static constexpr const char* kSpellings[] = {"+", "-", "*", "/", "//", "%"};
  const auto is_repeatable = [](const Val& v) { return v.is_string() || v.is_sequence(); };
  if (a.is_number() && b.is_number()) return number_op(op, a, b);
  if (op == Op::kAdd && is_repeatable(a) && a.type() == b.type()) return concatenate(heap, a, b);
  if (op == Op::kMul && is_repeatable(a) && b.is_integral()) return repeat(heap, a, b.int_value());
  if (op == Op::kMul && is_repeatable(b) && a.is_integral()) return repeat(heap, b, a.int_value());
  if (op == Op::kMod && a.is_string()) return format_percent(heap, a, b);
  for (const Val* operand : {&a, &b}) {
    if (operand->is_undefined()) throw_type_error("calculate with", *operand);
  }
  fail("unsupported operand types for ", kSpellings[static_cast<size_t>(op)], ": '", type_name(a),
       "' and '", type_name(b), "'");
}

Val negate(const Val& value) {
  if (value.is(Type::kFloat)) return Val::real(-value.float_value());
  if (!value.is_integral()) throw_type_error("negate", value);
  return integer_op(Op::kSub, 0, value.int_value());
}

Val to_integer(double value) {
  const bool fits = value >= -0x1p63 && value < 0x1p63;
  if (!fits) fail("number does not fit a 64-bit integer");
  return Val::integer(static_cast<int64_t>(value));
}

int64_t to_index(const Val& value, const char* what) {
  if (!value.is_integral()) throw_type_error(std::string("use as ") + what, value);
  return value.int_value();
}

}  // namespace sluice::text::jinja
