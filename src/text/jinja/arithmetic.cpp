#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/ops.h"

namespace sluice::text::jinja {

namespace {

[[noreturn]] void throw_overflow() { throw TemplateError("integer does not fit 64 bits"); }
[[noreturn]] void throw_zero_division() { throw TemplateError("division by zero"); }

[[noreturn]] void throw_operands(const char* op, const Val& a, const Val& b) {
  if (a.is_undefined()) throw_type_error("calculate with", a);
  if (b.is_undefined()) throw_type_error("calculate with", b);
  throw TemplateError(std::string("unsupported operand types for ") + op + ": '" +
                      std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

// Quotient rounded down, and the remainder with the divisor's sign.
void floor_divide(int64_t a, int64_t b, int64_t& quotient, int64_t& remainder) {
  if (b == 0) throw_zero_division();
  if (b == -1) {
    if (__builtin_sub_overflow(int64_t{0}, a, &quotient)) throw_overflow();
    remainder = 0;
    return;
  }
  quotient = a / b;
  remainder = a % b;
  if (remainder != 0 && (remainder < 0) != (b < 0)) {
    --quotient;
    remainder += b;
  }
}

void floor_divide(double a, double b, double& quotient, double& remainder) {
  if (b == 0) throw_zero_division();
  remainder = std::fmod(a, b);
  double exact = (a - remainder) / b;
  if (remainder != 0) {
    if ((b < 0) != (remainder < 0)) {
      remainder += b;
      exact -= 1;
    }
  } else {
    remainder = std::copysign(0.0, b);
  }
  if (exact == 0) {
    quotient = std::copysign(0.0, a / b);
    return;
  }
  quotient = std::floor(exact);
  if (exact - quotient > 0.5) quotient += 1;
}

int64_t integer_power(int64_t base, int64_t exponent) {
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  if (exponent > 64) throw_overflow();
  int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(result, base, &result)) throw_overflow();
  }
  return result;
}

Val integer_op(Op op, int64_t a, int64_t b) {
  int64_t result = 0, other = 0;
  bool overflow = false;
  switch (op) {
    case Op::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Op::kSub:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Op::kMul:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case Op::kDiv:
      if (b == 0) throw_zero_division();
      return Val::real(
          static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Op::kFloorDiv:
      floor_divide(a, b, result, other);
      break;
    case Op::kMod:
      floor_divide(a, b, other, result);
      break;
    default:
      if (b >= 0) return Val::integer(integer_power(a, b));
      if (a == 0) throw_zero_division();
      return Val::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  if (overflow) throw_overflow();
  return Val::integer(result);
}

Val float_power(double a, double b) {
  if (a == 0 && b < 0) throw_zero_division();
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b)) {
    throw TemplateError("complex numbers are not supported");
  }
  double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) {
    throw TemplateError("numerical result out of range");
  }
  return Val::real(result);
}

Val float_op(Op op, double a, double b) {
  double result = 0, other = 0;
  switch (op) {
    case Op::kAdd:
      return Val::real(a + b);
    case Op::kSub:
      return Val::real(a - b);
    case Op::kMul:
      return Val::real(a * b);
    case Op::kDiv:
      if (b == 0) throw_zero_division();
      return Val::real(a / b);
    case Op::kFloorDiv:
      floor_divide(a, b, result, other);
      return Val::real(result);
    case Op::kMod:
      floor_divide(a, b, other, result);
      return Val::real(result);
    default:
      return float_power(a, b);
  }
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

// What is not safe of two strings is escaped.
Val concatenate_safe(Heap& heap, const Val& a, const Val& b) {
  PromptText text;
  for (const Val* part : {&a, &b}) {
    heap.check_bytes(text.size() + 5 * part->text().size());
    if (part->as<StringObject>().is_safe) {
      text.append(part->prompt_text());
    } else {
      text.append(escape_html(part->text()), part->prompt_text().is_trusted());
    }
  }
  return Val(new StringObject(heap, std::move(text), true));
}

Val concatenate(Heap& heap, const Val& a, const Val& b) {
  if (a.is_string() && (a.as<StringObject>().is_safe || b.as<StringObject>().is_safe)) {
    return concatenate_safe(heap, a, b);
  }
  if (a.is_string()) {
    heap.check_bytes(a.text().size() + b.text().size());
    PromptText text = a.prompt_text();
    text.append(b.prompt_text());
    return make_string(heap, std::move(text));
  }
  heap.check_bytes((a.items().size() + b.items().size()) * sizeof(Val));
  Vals items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return Val(new SequenceObject(heap, a.type(), std::move(items)));
}

Val repeat(Heap& heap, const Val& value, int64_t times) {
  size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  size_t unit = value.is_string() ? value.text().size() + value.prompt_text().extra_bytes()
                                  : value.items().size() * sizeof(Val);
  size_t total = 0;
  if (__builtin_mul_overflow(unit, count, &total)) total = SIZE_MAX;
  heap.check_bytes(total);
  heap.charge_bytes(total);
  if (unit == 0) count = 0;
  if (value.is_string()) {
    PromptText text;
    for (size_t i = 0; i < count; ++i) text.append(value.prompt_text());
    return make_string(heap, std::move(text));
  }
  Vals items;
  items.reserve(total / sizeof(Val));
  for (size_t i = 0; i < count; ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return Val(new SequenceObject(heap, value.type(), std::move(items)));
}

bool is_repeatable(const Val& value) { return value.is_string() || value.is_sequence(); }

const char* spelling(Op op) {
  static constexpr const char* kSpellings[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSpellings[static_cast<int>(op)];
}

}  // namespace

Val binary_op(Heap& heap, Op op, const Val& a, const Val& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return integer_op(op, a.int_value(), b.int_value());
    return float_op(op, a.as_double(), b.as_double());
  }
  if (op == Op::kAdd) {
    bool strings = a.is_string() && b.is_string();
    if (strings || (a.is_sequence() && a.type() == b.type())) return concatenate(heap, a, b);
  }
  if (op == Op::kMul) {
    if (is_repeatable(a) && b.is_integral()) return repeat(heap, a, b.int_value());
    if (is_repeatable(b) && a.is_integral()) return repeat(heap, b, a.int_value());
  }
  if (op == Op::kMod && a.is_string()) {
    return format_percent(heap, a, b);
  }
  throw_operands(spelling(op), a, b);
}

Val negate(const Val& value) {
  if (value.is(Type::kFloat)) return Val::real(-value.float_value());
  if (!value.is_integral()) throw_type_error("negate", value);
  int64_t result = 0;
  if (__builtin_sub_overflow(int64_t{0}, value.int_value(), &result)) throw_overflow();
  return Val::integer(result);
}

Val plus(const Val& value) {
  if (!value.is_number()) throw_type_error("apply + to", value);
  return value.is_integral() ? Val::integer(value.int_value()) : value;
}

int64_t to_index(const Val& value, const char* what) {
  if (!value.is_integral()) throw_type_error(std::string("use as ") + what, value);
  return value.int_value();
}

}  // namespace sluice::text::jinja
