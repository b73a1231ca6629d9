#include <algorithm>

#include "text/jinja/attribute_path.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"

// Filters over lists and mappings.
namespace sluice::text::jinja {

namespace {

using Args = const CallArgs&;

bool flag(const Val& value) { return !value.is_missing() && is_true(value); }

Val first(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "first", "");
  Val iterator = iterate(interpreter.heap(), value);
  Val item;
  if (iterator.as<IteratorObject>().next(item)) return item;
  return make_undefined(interpreter.heap(), "No first item, sequence was empty.");
}

bool is_reversible(const Val& value) {
  return is_iterable(value) && !value.is(Type::kIterator) && !value.is(Type::kLoop);
}

Val last(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "last", "");
  if (!is_reversible(value)) throw_type_error("reverse", value);
  if (value.is_sequence() && !value.items().empty()) return value.items().back();
  Vals items = to_vals(interpreter.heap(), value);
  if (!items.empty()) return items.back();
  return make_undefined(interpreter.heap(), "No last item, sequence was empty.");
}

Val length(Interpreter&, const Val& value, Args args) {
  bind(args, "length", "");
  int64_t size = length_of(value);
  if (size < 0) throw_type_error("take the length of", value);
  return Val::integer(size);
}

Val list(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "list", "");
  return make_list(interpreter.heap(), to_vals(interpreter.heap(), value));
}

Val reverse(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "reverse", "");
  Heap& heap = interpreter.heap();
  if (value.is_string()) {
    return get_slice(heap, value, Val(), Val(), Val::integer(-1));
  }
  Vals items = to_vals(heap, value);
  std::reverse(items.begin(), items.end());
  Val result = make_list(heap, std::move(items));
  return is_reversible(value) ? iterate(heap, result) : result;
}

Val join(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "join", "d? attribute?");
  Heap& heap = interpreter.heap();
  std::string separator = bound[0].is_missing() ? "" : to_text(heap, bound[0]);
  AttributePath path(heap, bound[1], false);
  Val iterator = iterate(heap, value), item;
  std::string text;
  for (bool is_first = true; iterator.as<IteratorObject>().next(item); is_first = false) {
    if (!is_first) text += separator;
    text += to_text(heap, path.get(item));
    heap.charge_bytes(separator.size());
    heap.check_bytes(2 * text.size());
  }
  return interpreter.string(std::move(text));
}

struct Keyed {
  Val key, value;
};

void sort_by_key(Heap& heap, std::vector<Keyed>& items, bool backwards) {
  auto less = [&](const Keyed& a, const Keyed& b) {
    heap.charge(1);
    return backwards ? is_less(b.key, a.key) : is_less(a.key, b.key);
  };
  std::stable_sort(items.begin(), items.end(), less);
}

Val values_of(Heap& heap, std::vector<Keyed>& items) {
  Vals result;
  for (Keyed& item : items) result.push_back(std::move(item.value));
  return make_list(heap, std::move(result));
}

// The comma separated attributes of `sort`.
std::vector<AttributePath> sort_paths(Heap& heap, const Val& attribute, bool ignore_case) {
  std::vector<AttributePath> paths;
  if (!attribute.is_string()) {
    paths.emplace_back(heap, attribute, ignore_case);
    return paths;
  }
  std::string_view rest = attribute.text();
  while (true) {
    size_t comma = std::min(rest.find(','), rest.size());
    paths.emplace_back(heap, make_string(heap, std::string(rest.substr(0, comma))), ignore_case);
    if (comma == rest.size()) return paths;
    rest.remove_prefix(comma + 1);
  }
}

Val sort(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "sort", "reverse? case_sensitive? attribute?");
  Heap& heap = interpreter.heap();
  std::vector<AttributePath> paths = sort_paths(heap, bound[2], !flag(bound[1]));
  std::vector<Keyed> items;
  for (Val& item : to_vals(heap, value)) {
    Vals key;
    for (const AttributePath& path : paths) key.push_back(path.get(item));
    items.push_back({make_list(heap, std::move(key)), std::move(item)});
  }
  sort_by_key(heap, items, flag(bound[0]));
  return values_of(heap, items);
}

Val dictsort(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "dictsort", "case_sensitive? by? reverse?");
  bool by_value = false;
  if (!bound[1].is_missing()) {
    by_value = bound[1].is_string() && bound[1].text() == "value";
    if (!by_value && !(bound[1].is_string() && bound[1].text() == "key")) {
      throw TemplateError("You can only sort by either \"key\" or \"value\"");
    }
  }
  if (!value.is(Type::kDict)) throw_type_error("sort as a mapping", value);
  Heap& heap = interpreter.heap();
  std::vector<Keyed> items;
  for (const auto& [key, member] : value.as<DictObject>().items()) {
    const Val& by = by_value ? member : key;
    items.push_back(
        {flag(bound[0]) ? by : without_case(heap, by), make_tuple(heap, {key, member})});
  }
  sort_by_key(heap, items, flag(bound[2]));
  return values_of(heap, items);
}

template <bool want_max>
Val extreme(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, want_max ? "max" : "min", "case_sensitive? attribute?");
  Heap& heap = interpreter.heap();
  AttributePath path(heap, bound[1], !flag(bound[0]));
  Val iterator = iterate(heap, value), item, best, best_key;
  if (!iterator.as<IteratorObject>().next(best)) {
    return make_undefined(heap, "No aggregated item, sequence was empty.");
  }
  best_key = path.get(best);
  while (iterator.as<IteratorObject>().next(item)) {
    Val key = path.get(item);
    if (want_max ? is_less(best_key, key) : is_less(key, best_key)) {
      best = std::move(item);
      best_key = std::move(key);
    }
  }
  return best;
}

Val sum(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "sum", "attribute? start?");
  Heap& heap = interpreter.heap();
  AttributePath path(heap, bound[0], false);
  Val total = value_or(bound[1], Val::integer(0));
  if (total.is_string()) throw TemplateError("sum() can't sum strings");
  Val iterator = iterate(heap, value), item;
  while (iterator.as<IteratorObject>().next(item)) {
    total = binary_op(heap, Op::kAdd, total, path.get(item));
  }
  return total;
}

Val groupby(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "groupby", "attribute default? case_sensitive?");
  Heap& heap = interpreter.heap();
  Val otherwise = value_or(bound[1], Val());
  bool ignore_case = !flag(bound[2]);
  AttributePath path(heap, bound[0], ignore_case, otherwise);
  AttributePath exact(heap, bound[0], false, otherwise);
  std::vector<Keyed> items;
  for (Val& item : to_vals(heap, value)) items.push_back({path.get(item), std::move(item)});
  sort_by_key(heap, items, false);
  Vals groups;
  for (size_t i = 0; i < items.size();) {
    Vals members;
    size_t start = i;
    for (; i < items.size() && equals(items[i].key, items[start].key); ++i) {
      members.push_back(items[i].value);
    }
    Val key = ignore_case ? exact.get(members[0]) : items[start].key;
    Vals group = {key, make_list(heap, std::move(members))};
    groups.push_back(Val(new SequenceObject(heap, Type::kTuple, std::move(group), true)));
  }
  return make_list(heap, std::move(groups));
}

class UniqueIterator : public IteratorObject {
 public:
  UniqueIterator(Heap& heap, const Val& source, const Val& attribute, bool ignore_case)
      : IteratorObject(heap), source_(source), path_(heap, attribute, ignore_case), seen_(heap) {
    contain(source_.depth());
  }
  bool next(Val& out) override {
    if (!source_.is(Type::kIterator)) source_ = iterate(heap(), source_);
    while (source_.as<IteratorObject>().next(out)) {
      Val key = path_.get(out);
      if (seen_.find(key) != nullptr) continue;
      seen_.set(key, Val());
      return true;
    }
    return false;
  }

 private:
  Val source_;
  AttributePath path_;
  DictObject seen_;
};

Val unique(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "unique", "case_sensitive? attribute?");
  return Val(new UniqueIterator(interpreter.heap(), value, bound[1], !flag(bound[0])));
}

// A generator whose values are made at once, but not before the first is asked for.
class LateIterator : public IteratorObject {
 public:
  using Make = Vals (*)(Heap& heap, const Val& value, const Vals& bound);
  LateIterator(Heap& heap, Make make, const Val& value, Vals bound)
      : IteratorObject(heap), make_(make), value_(value), bound_(std::move(bound)) {
    contain(value_.depth());
    for (const Val& argument : bound_) contain(argument.depth());
  }
  bool next(Val& out) override {
    if (make_ != nullptr)
      value_ = iterate(heap(), make_list(heap(), make_(heap(), value_, bound_)));
    make_ = nullptr;
    return value_.as<IteratorObject>().next(out);
  }

 private:
  Make make_;
  Val value_;
  Vals bound_;
};

Vals items_of(Heap& heap, const Val& value, const Vals&) {
  if (value.is_undefined()) return {};
  if (!value.is(Type::kDict)) throw TemplateError("Can only get item pairs from a mapping.");
  Val view(new DictViewObject(value, DictViewObject::What::kItems));
  return view_items(heap, view.as<DictViewObject>());
}

Vals batches_of(Heap& heap, const Val& value, const Vals& bound) {
  int64_t size = to_index(bound[0], "a batch size");
  Vals result, batch;
  for (Val& item : to_vals(heap, value)) {
    if (static_cast<int64_t>(batch.size()) == size) {
      result.push_back(make_list(heap, std::move(batch)));
      batch.clear();
    }
    batch.push_back(std::move(item));
  }
  if (batch.empty()) return result;
  bool fills = !bound[1].is_missing() && !bound[1].is_none();
  if (fills && static_cast<int64_t>(batch.size()) < size) {
    auto missing = static_cast<size_t>(size) - batch.size();
    heap.charge(missing);
    heap.check_bytes(std::min<size_t>(missing, SIZE_MAX / 64) * sizeof(Val));
    batch.insert(batch.end(), missing, bound[1]);
  }
  result.push_back(make_list(heap, std::move(batch)));
  return result;
}

Vals slices_of(Heap& heap, const Val& value, const Vals& bound) {
  Vals items = to_vals(heap, value);
  int64_t slices = to_index(bound[0], "a number of slices");
  if (slices == 0) throw TemplateError("division by zero");
  Vals result;
  if (slices < 0) return result;
  auto count = static_cast<size_t>(slices);
  heap.charge(count);
  size_t each = items.size() / count, longer = items.size() % count, start = 0;
  bool fills = !bound[1].is_missing() && !bound[1].is_none();
  for (size_t i = 0; i < count; ++i) {
    size_t end = start + each + (i < longer ? 1 : 0);
    Vals slice(items.begin() + static_cast<std::ptrdiff_t>(start),
               items.begin() + static_cast<std::ptrdiff_t>(end));
    if (fills && i >= longer) slice.push_back(bound[1]);
    result.push_back(make_list(heap, std::move(slice)));
    start = end;
  }
  return result;
}

Val items(Interpreter& interpreter, const Val& value, Args args) {
  return Val(new LateIterator(interpreter.heap(), items_of, value, bind(args, "items", "")));
}

Val batch(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "batch", "linecount fill_with?");
  return Val(new LateIterator(interpreter.heap(), batches_of, value, std::move(bound)));
}

Val slice(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "slice", "slices fill_with?");
  return Val(new LateIterator(interpreter.heap(), slices_of, value, std::move(bound)));
}

Val refuse_random(Interpreter&, const Val&, Args) {
  throw TemplateError("the filter random is not supported: a prompt must not be random");
}

}  // namespace

const FilterTable& sequence_filters() {
  static const FilterTable table = {
      {"first", first},        {"last", last},         {"length", length},
      {"count", length},       {"list", list},         {"reverse", reverse},
      {"join", join},          {"sort", sort},         {"dictsort", dictsort},
      {"min", extreme<false>}, {"max", extreme<true>}, {"sum", sum},
      {"groupby", groupby},    {"unique", unique},     {"items", items},
      {"batch", batch},        {"slice", slice},       {"random", refuse_random},
  };
  return table;
}

}  // namespace sluice::text::jinja
