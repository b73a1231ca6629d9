#include "text/jinja/ops.h"

#include <algorithm>
#include <compare>

#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

std::string_view type_name(const Val& value) {
  static constexpr std::string_view kNames[] = {
      "Undefined", "NoneType",    "bool",     "int",  "float",     "Undefined",
      "str",       "list",        "tuple",    "dict", "generator", "Namespace",
      "Macro",     "LoopContext", "function", "scope"};
  return kNames[static_cast<size_t>(value.type())];
}

void throw_type_error(const std::string& what, const Val& value) {
  if (value.is_undefined()) fail(value.as<UndefinedObject>().reason);
  fail("cannot ", what, " a '", type_name(value), "'");
}

bool is_true(const Val& value) {
  switch (value.type()) {
    case Type::kMissing:
    case Type::kNone:
      return false;
    case Type::kBool:
    case Type::kInt:
      return value.int_value() != 0;
    case Type::kFloat:
      return value.float_value() != 0;
    case Type::kString:
      return !value.text().empty();
    default:
      return length_of(value) != 0;  // what has no length is true
  }
}

bool is_same(const Val& a, const Val& b) {
  if (a.type() != b.type()) return false;
  // Python shares equal short strings; other equal objects are distinct.
  return a.is_object() && !a.is_string() ? a.object() == b.object() : equals(a, b);
}

namespace {

bool sequences_equal(const Vals& a, const Vals& b, Heap& heap) {
  if (a.size() != b.size()) return false;
  heap.charge(a.size() / 4 + 1);
  return std::equal(a.begin(), a.end(), b.begin(), equals);
}

bool dicts_equal(const DictObject& a, const DictObject& b) {
  if (a.items().size() != b.items().size()) return false;
  a.heap().charge(a.items().size() / 2 + 1);
  return std::all_of(a.items().begin(), a.items().end(), [&](const auto& item) {
    const Val* other = b.find(item.first);
    return other != nullptr && equals(item.second, *other);
  });
}

std::partial_ordering order_numbers(const Val& a, const Val& b) {
  if (a.is_integral() && b.is_integral()) return a.int_value() <=> b.int_value();
  // An x86 long double holds every int64 and every double exactly.
  const auto wide = [](const Val& v) -> long double {
    return v.is_integral() ? static_cast<long double>(v.int_value()) : v.float_value();
  };
  return wide(a) <=> wide(b);
}

// Throws when Python cannot order the two.
std::partial_ordering order(const Val& a, const Val& b) {
  if (a.is_number() && b.is_number()) return order_numbers(a, b);
  if (a.is_string() && b.is_string()) {
    a.object()->heap().charge_bytes(std::min(a.text().size(), b.text().size()));
    return a.text() <=> b.text();  // UTF-8 sorts as code points do
  }
  if (a.is_sequence() && a.type() == b.type()) {
    const Vals &x = a.items(), &y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      a.object()->heap().charge(1);
      if (!equals(x[i], y[i])) return order(x[i], y[i]);
    }
    return x.size() <=> y.size();
  }
  const Val& culprit = a.is_undefined() ? a : b;
  if (culprit.is_undefined()) throw_type_error("compare", culprit);
  fail("'<' not supported between '", type_name(a), "' and '", type_name(b), "'");
}

}  // namespace

bool equals(const Val& a, const Val& b) {
  if (a.is_number() && b.is_number()) return order_numbers(a, b) == 0;
  if (a.type() != b.type()) return false;
  if (a.is_object() && a.object() == b.object()) return true;
  switch (a.type()) {
    case Type::kNone:
    case Type::kMissing:
    case Type::kUndefined:
      return true;
    case Type::kString:
      if (a.text().size() != b.text().size()) return false;
      a.object()->heap().charge_bytes(a.text().size());
      return a.text() == b.text();
    case Type::kList:
    case Type::kTuple:
      return sequences_equal(a.items(), b.items(), a.object()->heap());
    case Type::kDict:
      return dicts_equal(a.as<DictObject>(), b.as<DictObject>());
    default:
      return false;
  }
}

bool is_less(const Val& a, const Val& b) { return order(a, b) < 0; }

bool compare(Op op, const Val& a, const Val& b) {
  switch (op) {
    case Op::kEq:
      return equals(a, b);
    case Op::kNe:
      return !equals(a, b);
    case Op::kIn:
      return contains(b, a);
    case Op::kNotIn:
      return !contains(b, a);
    case Op::kLt:
      return order(a, b) < 0;
    case Op::kLe:
      return order(a, b) <= 0;
    case Op::kGt:
      return order(a, b) > 0;
    default:
      return order(a, b) >= 0;
  }
}

bool contains(const Val& container, const Val& item) {
  switch (container.type()) {
    case Type::kString:
      if (!item.is_string()) throw_type_error("look in a string for", item);
      container.object()->heap().charge_bytes(container.text().size());
      return find_text(container.text(), item.text()) != std::string::npos;
    case Type::kDict: {
      const auto& dict = container.as<DictObject>();
      if (!hash_of(dict.heap(), item)) throw_type_error("use as a key", item);
      return dict.find(item) != nullptr;
    }
    default: {
      if (!container.is_iterable()) throw_type_error("look into", container);
      Heap& heap = container.object()->heap();
      const Val sequence = to_sequence(heap, container);
      heap.charge(sequence.items().size() / 4);
      return std::any_of(sequence.items().begin(), sequence.items().end(),
                         [&](const Val& other) { return equals(other, item); });
    }
  }
}

int64_t length_of(const Val& value) {
  switch (value.type()) {
    case Type::kUndefined:
      return 0;
    case Type::kString:
      return value.as<StringObject>().length();
    case Type::kList:
    case Type::kTuple:
      return static_cast<int64_t>(value.items().size());
    case Type::kDict:
      return static_cast<int64_t>(value.as<DictObject>().items().size());
    case Type::kLoop:
      return value.as<LoopObject>().length();
    default:
      return -1;
  }
}

Vals to_vals(Heap& heap, const Val& value) {
  if (!value.is_iterable()) throw_type_error("iterate over", value);
  Vals result;
  const auto add = [&](Val item) {
    heap.charge(1);
    heap.check_bytes(2 * result.size() * sizeof(Val));
    result.push_back(std::move(item));
  };
  if (value.is_sequence()) {
    heap.charge(value.items().size() / 4);
    heap.check_bytes(value.items().size() * sizeof(Val));
    result = value.items();
  } else if (value.is_string()) {
    for (size_t position = 0; position < value.text().size();) {
      const size_t start = position;
      next_code_point(value.text(), position);
      add(make_string(heap, value.prompt_text().substr(start, position - start)));
    }
  } else if (value.is(Type::kDict)) {
    for (const auto& item : value.as<DictObject>().items()) add(item.first);
  } else if (value.is(Type::kIterator)) {
    for (Val item; value.as<IteratorObject>().next(item);) add(item);
  }
  return result;  // undefined: empty
}

Val to_sequence(Heap& heap, const Val& value) {
  return value.is_sequence() ? value : make_list(heap, to_vals(heap, value));
}

}  // namespace sluice::text::jinja
