#include <algorithm>
#include <cstdlib>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/strings.h"
#include "text/jinja/unicode.h"

// Members, items and slices.
namespace sluice::text::jinja {

namespace {

Val undefined_member(Heap& heap, const Val& object, std::string_view what) {
  const std::string owner = object.is_none() ? "None" : std::string(type_name(object)) + " object";
  return make_undefined(
      heap, "'" + owner + "' has no attribute '" + std::string(what.substr(0, 100)) + "'");
}

// The characters from number `first` on.
Val part_of_text(Heap& heap, const Val& object, size_t first, size_t count) {
  if (object.as<StringObject>().is_ascii()) {
    return make_string(heap, object.prompt_text().substr(first, count));
  }
  const std::string_view text = object.text();
  heap.charge_bytes(text.size());
  const size_t begin = byte_offset(text, first);
  const size_t size = byte_offset(text.substr(begin), count);
  return make_string(heap, object.prompt_text().substr(begin, size));
}

// object[key] proper; missing where Python raises TypeError or LookupError.
Val subscript(Heap& heap, const Val& object, const Val& key) {
  if (object.is_undefined()) throw_type_error("subscript", object);
  if (object.is(Type::kDict)) {
    const Val* value = object.as<DictObject>().find(key);
    return value != nullptr ? *value : Val::missing();
  }
  const bool is_indexed = object.is_string() || object.is_sequence();
  if (!is_indexed || !key.is_integral()) return Val::missing();
  const int64_t length = length_of(object);
  const int64_t index = key.int_value() < 0 ? key.int_value() + length : key.int_value();
  if (index < 0 || index >= length) return Val::missing();
  return object.is_string() ? part_of_text(heap, object, static_cast<size_t>(index), 1)
                            : object.items()[static_cast<size_t>(index)];
}

// A method or a plain attribute, never an item; missing when there is none.
Val find_attribute(Heap& heap, const Val& object, std::string_view name) {
  if (object.is_undefined()) throw_type_error("get an attribute of", object);
  // The sandbox hides what every object of Python has.
  if (name.starts_with("__")) fail("access to attribute '", name, "' is unsafe");
  if (object.is(Type::kNamespace)) {
    const Val* value = object.as<NamespaceObject>().find(name);
    return value != nullptr ? *value : Val::missing();
  }
  if (object.is(Type::kLoop)) {
    Val value = object.as<LoopObject>().attribute(name);
    if (!value.is_missing()) return value;
  }
  const Builtin* method = find_method(object.type(), name);
  return method != nullptr ? Val(new BuiltinObject(heap, *method, object)) : Val::missing();
}

struct SliceRange {
  int64_t start, step, count;
};

// slice.indices: the positions that start:stop:step selects from `length` items.
SliceRange slice_range(int64_t length, const Val& start, const Val& stop, const Val& step) {
  SliceRange range{0, step.is_none() ? 1 : to_index(step, "a slice step"), 0};
  if (range.step == 0) fail("slice step cannot be zero");
  // What is behind the end is so whatever the step: this one can be negated.
  range.step = std::clamp(range.step, -length - 1, length + 1);
  const bool backwards = range.step < 0;
  const int64_t low = backwards ? -1 : 0, high = backwards ? length - 1 : length;
  const auto clamp = [&](const Val& value, int64_t otherwise) {
    if (value.is_none()) return otherwise;
    const int64_t position = to_index(value, "a slice index");
    return std::clamp(position < 0 ? position + length : position, low, high);
  };
  range.start = clamp(start, backwards ? high : low);
  const int64_t end = clamp(stop, backwards ? low : high);
  const int64_t distance = backwards ? range.start - end : end - range.start;
  if (distance > 0) range.count = (distance - 1) / std::abs(range.step) + 1;
  return range;
}

}  // namespace

Val get_item(Heap& heap, const Val& object, const Val& key) {
  Val value = subscript(heap, object, key);
  if (!value.is_missing()) return value;
  if (!key.is_string()) return undefined_member(heap, object, "[...]");
  value = find_attribute(heap, object, key.text());
  return value.is_missing() ? undefined_member(heap, object, key.text()) : value;
}

Val get_attribute(Heap& heap, const Val& object, std::string_view name, bool names_method) {
  // A method hides a key of the same name, as in Python.
  if (names_method || !object.is(Type::kDict)) {
    Val value = find_attribute(heap, object, name);
    if (!value.is_missing()) return value;
  }
  if (object.is(Type::kDict)) {
    if (const Val* item = object.as<DictObject>().find(name)) return *item;
  }
  return undefined_member(heap, object, name);
}

Val get_slice(Heap& heap, const Val& object, const Val& start, const Val& stop, const Val& step) {
  if (!object.is_string() && !object.is_sequence()) throw_type_error("slice", object);
  const SliceRange range = slice_range(length_of(object), start, stop, step);
  const auto count = static_cast<size_t>(range.count);
  if (object.is_string() && range.step == 1) {
    return part_of_text(heap, object, static_cast<size_t>(range.start), count);
  }
  const Val sequence = to_sequence(heap, object);
  heap.check_bytes(count * sizeof(Val));
  Vals items;
  items.reserve(count);
  for (int64_t i = 0; i < range.count; ++i) {
    items.push_back(sequence.items()[static_cast<size_t>(range.start + i * range.step)]);
  }
  if (object.is_string()) return join(heap, items, {});
  return Val(new SequenceObject(heap, object.type(), std::move(items)));
}

}  // namespace sluice::text::jinja
