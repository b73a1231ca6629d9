#include "text/jinja/ops.h"

#include <algorithm>

#include "text/jinja/runtime.h"
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
      return value.is_markup() ? "Markup" : "str";
    case Type::kList:
      return "list";
    case Type::kTuple:
      return "tuple";
    case Type::kDict:
      return "dict";
    case Type::kRange:
      return "range";
    case Type::kDictView:
      return "dict view";
    case Type::kIterator:
      return "generator";
    case Type::kNamespace:
      return "Namespace";
    case Type::kMacro:
      return "Macro";
    case Type::kLoop:
      return "LoopContext";
    case Type::kCycler:
      return "Cycler";
    case Type::kJoiner:
      return "Joiner";
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
    default: {
      int64_t length = length_of(value);
      return length != 0;  // what has no length is true
    }
  }
}

bool is_same(const Val& a, const Val& b) {
  if (a.type() != b.type()) return false;
  if (a.is_object()) {
    if (a.object() == b.object()) return true;
    // Python shares equal short strings and the empty tuple; other equal objects are distinct.
    return a.is_string() && b.is_string() && a.text() == b.text();
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
      return a.object() == b.object() || a.text() == b.text();
    case Type::kList:
    case Type::kTuple:
      return a.object() == b.object() || sequences_equal(a.items(), b.items(), a.object()->heap());
    case Type::kDict:
      return a.object() == b.object() || dicts_equal(a.as<DictObject>(), b.as<DictObject>());
    case Type::kRange: {
      const auto &x = a.as<RangeObject>(), &y = b.as<RangeObject>();
      if (x.length != y.length) return false;
      return x.length == 0 || (x.start == y.start && (x.length == 1 || x.step == y.step));
    }
    default:
      return a.object() == b.object();
  }
}

bool is_less(const Val& a, const Val& b) {
  bool unordered = false;
  return order(a, b, unordered) < 0 && !unordered;
}

bool compare(Op op, const Val& a, const Val& b, Heap& heap) {
  heap.charge(1);
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
      size_t hash = 0;
      if (!hash_value(item, hash)) throw_type_error("use as a key", item);
      return container.as<DictObject>().find(item) != nullptr;
    }
    case Type::kUndefined:
      return false;
    case Type::kRange:
    case Type::kDictView:
    case Type::kIterator: {
      Val iterator = iterate(container.object()->heap(), container);
      Val value;
      while (iterator.as<IteratorObject>().next(value)) {
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
    case Type::kDictView:
      return length_of(value.as<DictViewObject>().dict);
    case Type::kRange:
      return value.as<RangeObject>().length;
    case Type::kLoop:
      return value.as<LoopObject>().length();
    default:
      return -1;
  }
}

Vals view_items(Heap& heap, const DictViewObject& view) {
  Vals result;
  const auto& items = view.dict.as<DictObject>().items();
  heap.charge(items.size() / 2);
  heap.check_bytes(items.size() * 128);
  result.reserve(items.size());
  for (const auto& [key, value] : items) {
    if (view.what == DictViewObject::What::kKeys) result.push_back(key);
    if (view.what == DictViewObject::What::kValues) result.push_back(value);
    if (view.what == DictViewObject::What::kItems) result.push_back(make_tuple(heap, {key, value}));
  }
  return result;
}

namespace {

// Walks a list, tuple, dict (its keys), view, range or string without copying it.
class ContainerIterator : public IteratorObject {
 public:
  ContainerIterator(Heap& heap, Val source) : IteratorObject(heap), source_(std::move(source)) {
    contain(source_.depth());
  }

  bool next(Val& out) override {
    heap().charge(1);
    switch (source_.type()) {
      case Type::kString:
        return next_character(out);
      case Type::kRange: {
        const auto& range = source_.as<RangeObject>();
        if (static_cast<int64_t>(index_) >= range.length) return false;
        out = Val::integer(range.start + static_cast<int64_t>(index_++) * range.step);
        return true;
      }
      case Type::kList:
      case Type::kTuple:
        if (index_ >= source_.items().size()) return false;
        out = source_.items()[index_++];
        return true;
      default:
        return next_item(out);
    }
  }

 private:
  bool next_character(Val& out) {
    const std::string& text = source_.text();
    if (index_ >= text.size()) return false;
    size_t start = index_;
    next_code_point(text, index_);
    out = make_string(heap(), text.substr(start, index_ - start));
    return true;
  }

  bool next_item(Val& out) {
    bool is_view = source_.is(Type::kDictView);
    const Val& dict = is_view ? source_.as<DictViewObject>().dict : source_;
    auto what = is_view ? source_.as<DictViewObject>().what : DictViewObject::What::kKeys;
    const auto& items = dict.as<DictObject>().items();
    if (index_ >= items.size()) return false;
    const auto& [key, value] = items[index_++];
    if (what == DictViewObject::What::kKeys) {
      out = key;
    } else {
      out = what == DictViewObject::What::kValues ? value : make_tuple(heap(), {key, value});
    }
    return true;
  }

  Val source_;
  size_t index_ = 0;
};

}  // namespace

bool is_iterable(const Val& value) {
  switch (value.type()) {
    case Type::kUndefined:
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kDict:
    case Type::kDictView:
    case Type::kRange:
    case Type::kIterator:
    case Type::kLoop:
      return true;
    default:
      return false;
  }
}

Val iterate(Heap& heap, const Val& value) {
  if (value.is(Type::kIterator)) return value;
  if (value.is_undefined()) return Val(new ContainerIterator(heap, make_list(heap, {})));
  if (!is_iterable(value) || value.is(Type::kLoop)) throw_type_error("iterate over", value);
  return Val(new ContainerIterator(heap, value));
}

Vals to_vals(Heap& heap, const Val& value) {
  if (value.is_sequence()) {
    heap.charge(value.items().size() / 4);
    heap.check_bytes(value.items().size() * sizeof(Val));
    return value.items();
  }
  if (value.is(Type::kDictView)) return view_items(heap, value.as<DictViewObject>());
  Val iterator = iterate(heap, value);
  Vals result;
  Val item;
  while (iterator.as<IteratorObject>().next(item)) {
    heap.check_bytes(2 * result.size() * sizeof(Val));
    result.push_back(std::move(item));
  }
  return result;
}

}  // namespace sluice::text::jinja
