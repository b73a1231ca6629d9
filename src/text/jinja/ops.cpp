#include "text/jinja/ops.h"

#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

std::string_view type_name(const Val& value) {
  switch (value.type()) {
    case Type::kUndefined:
    case Type::kMissing:
      return "Undefined";
    case Type::kNone:
      return "NoneType";
    case Type::kBool:
      return "bool";
    case Type::kInt:
      return "int";
    case Type::kFloat:
      return "float";
    case Type::kString:
      return "str";
    case Type::kList:
      return "list";
    case Type::kTuple:
      return "tuple";
    case Type::kDict:
      return "dict";
    case Type::kIterator:
      return "generator";
    case Type::kNamespace:
      return "Namespace";
    case Type::kMacro:
      return "Macro";
    case Type::kLoop:
      return "LoopContext";
    default:
      return "function";
  }
}

void throw_type_error(const std::string& what, const Val& value) {
  if (value.is_undefined()) throw TemplateError(value.as<UndefinedObject>().reason);
  throw TemplateError("cannot " + what + " a '" + std::string(type_name(value)) + "'");
}

bool is_true(const Val& value) {
  switch (value.type()) {
    case Type::kUndefined:
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
  if (a.is_object()) {
    if (a.object() == b.object()) return true;
    // Python shares equal short strings and the empty tuple; other equal objects are distinct.
    return a.is_string() && equals(a, b);
  }
  if (a.is(Type::kFloat)) return a.float_value() == b.float_value();
  return a.is_none() || a.int_value() == b.int_value();
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

int order_numbers(const Val& a, const Val& b, bool& unordered) {
  if (a.is_integral() && b.is_integral()) {
    return a.int_value() < b.int_value() ? -1 : a.int_value() > b.int_value();
  }
  // An x86 long double holds every int64 and every double exactly.
  auto wide = [](const Val& v) -> long double {
    return v.is_integral() ? static_cast<long double>(v.int_value()) : v.float_value();
  };
  long double x = wide(a), y = wide(b);
  unordered = x != x || y != y;
  return x < y ? -1 : x > y;
}

// Sign of a <=> b. Throws when Python cannot order the two.
int order(const Val& a, const Val& b, bool& unordered) {
  if (a.is_number() && b.is_number()) return order_numbers(a, b, unordered);
  if (a.is_string() && b.is_string()) {
    a.object()->heap().charge_bytes(std::min(a.text().size(), b.text().size()));
    int result = a.text().compare(b.text());  // UTF-8 sorts as code points do
    return result < 0 ? -1 : result > 0;
  }
  if (a.is_sequence() && a.type() == b.type()) {
    const Vals &x = a.items(), &y = b.items();
    size_t common = std::min(x.size(), y.size());
    for (size_t i = 0; i < common; ++i) {
      a.object()->heap().charge(1);
      if (!equals(x[i], y[i])) return order(x[i], y[i], unordered);
    }
    return x.size() < y.size() ? -1 : x.size() > y.size();
  }
  const Val& culprit = a.is_undefined() ? a : b;
  if (culprit.is_undefined()) throw_type_error("compare", culprit);
  throw TemplateError("'<' not supported between '" + std::string(type_name(a)) + "' and '" +
                      std::string(type_name(b)) + "'");
}

}  // namespace

bool equals(const Val& a, const Val& b) {
  if (a.is_number() && b.is_number()) {
    bool unordered = false;
    return order_numbers(a, b, unordered) == 0 && !unordered;
  }
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Type::kNone:
    case Type::kMissing:
    case Type::kUndefined:
      return true;
    case Type::kString:
      if (a.object() == b.object()) return true;
      if (a.text().size() != b.text().size()) return false;
      a.object()->heap().charge_bytes(a.text().size());
      return a.text() == b.text();
    case Type::kList:
    case Type::kTuple:
      return a.object() == b.object() || sequences_equal(a.items(), b.items(), a.object()->heap());
    case Type::kDict:
      return a.object() == b.object() || dicts_equal(a.as<DictObject>(), b.as<DictObject>());
    default:
      return a.object() == b.object();
  }
}

bool is_less(const Val& a, const Val& b) {
  bool unordered = false;
  return order(a, b, unordered) < 0 && !unordered;
}

bool compare(Op op, const Val& a, const Val& b) {
  if (op == Op::kEq) return equals(a, b);
  if (op == Op::kNe) return !equals(a, b);
  if (op == Op::kIn) return contains(b, a);
  if (op == Op::kNotIn) return !contains(b, a);
  bool unordered = false;
  int sign = order(a, b, unordered);
  if (unordered) return false;
  if (op == Op::kLt) return sign < 0;
  if (op == Op::kLe) return sign <= 0;
  if (op == Op::kGt) return sign > 0;
  return sign >= 0;
}

bool contains(const Val& container, const Val& item) {
  switch (container.type()) {
    case Type::kString:
      if (!item.is_string()) throw_type_error("look in a string for", item);
      container.object()->heap().charge_bytes(container.text().size());
      return find_text(container.text(), item.text()) != std::string::npos;
    case Type::kList:
    case Type::kTuple: {
      const Vals& items = container.items();
      container.object()->heap().charge(items.size() / 4);
      return std::any_of(items.begin(), items.end(),
                         [&](const Val& other) { return equals(other, item); });
    }
    case Type::kDict: {
      const auto& dict = container.as<DictObject>();
      size_t hash = 0;
      if (!hash_value(dict.heap(), item, hash)) throw_type_error("use as a key", item);
      return dict.find(item) != nullptr;
    }
    case Type::kUndefined:
      return false;
    case Type::kIterator: {
      Val value;
      while (container.as<IteratorObject>().next(value)) {
        if (equals(value, item)) return true;
      }
      return false;
    }
    default:
      throw_type_error("look into", container);
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

bool is_iterable(const Val& value) {
  switch (value.type()) {
    case Type::kUndefined:
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kDict:
    case Type::kIterator:
    case Type::kLoop:
      return true;
    default:
      return false;
  }
}

Cursor::Cursor(Heap& heap, Val source) : heap_(&heap), source_(std::move(source)) {
  if (!is_iterable(source_) || source_.is(Type::kLoop)) throw_type_error("iterate over", source_);
}

bool Cursor::next(Val& out) {
  heap_->charge(1);
  switch (source_.type()) {
    case Type::kString: {
      const std::string& text = source_.text();
      if (index_ >= text.size()) return false;
      size_t start = index_;
      next_code_point(text, index_);
      out = make_string(*heap_, source_.prompt_text().substr(start, index_ - start));
      return true;
    }
    case Type::kList:
    case Type::kTuple:
      if (index_ >= source_.items().size()) return false;
      out = source_.items()[index_++];
      return true;
    case Type::kDict: {
      const auto& items = source_.as<DictObject>().items();
      if (index_ >= items.size()) return false;
      out = items[index_++].first;
      return true;
    }
    case Type::kIterator:
      return source_.as<IteratorObject>().next(out);
    default:
      return false;  // undefined: empty
  }
}

Vals to_vals(Heap& heap, const Val& value) {
  if (value.is_sequence()) {
    heap.charge(value.items().size() / 4);
    heap.check_bytes(value.items().size() * sizeof(Val));
    return value.items();
  }
  Cursor cursor(heap, value);
  Vals result;
  Val item;
  while (cursor.next(item)) {
    heap.check_bytes(2 * result.size() * sizeof(Val));
    result.push_back(std::move(item));
  }
  return result;
}

}  // namespace sluice::text::jinja
