#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/ops.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

namespace {

Val undefined_member(Heap& heap, const Val& object, std::string_view what) {
  std::string owner = object.is_none() ? "None" : std::string(type_name(object)) + " object";
  return make_undefined(
      heap, "'" + owner + "' has no attribute '" + std::string(what.substr(0, 100)) + "'");
}

Val unsafe_member(Heap& heap, const Val& object, std::string_view name) {
  return make_undefined(heap, "access to attribute '" + std::string(name) + "' of '" +
                                  std::string(type_name(object)) + "' object is unsafe");
}

// Attributes that every Python object has; the sandbox hides them.
bool is_special_name(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "__class__",   "__doc__",          "__init__",         "__new__",          "__repr__",
      "__str__",     "__eq__",           "__ne__",           "__lt__",           "__le__",
      "__gt__",      "__ge__",           "__hash__",         "__getattribute__", "__setattr__",
      "__delattr__", "__dir__",          "__format__",       "__reduce__",       "__reduce_ex__",
      "__sizeof__",  "__subclasshook__", "__init_subclass__"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

// Index into a sequence of `length` items; false outside of it.
bool normalize_index(const Val& key, int64_t length, size_t& index) {
  int64_t position = key.int_value();
  if (position < 0) position += length;
  if (position < 0 || position >= length) return false;
  index = static_cast<size_t>(position);
  return true;
}

Val character_at(Heap& heap, const Val& object, size_t index) {
  const std::string& text = object.text();
  if (object.as<StringObject>().is_ascii()) {
    return make_string(heap, text.substr(index, 1), object.is_markup());
  }
  heap.charge_bytes(text.size());
  size_t start = byte_offset(text, index), end = start;
  next_code_point(text, end);
  return make_string(heap, text.substr(start, end - start), object.is_markup());
}

// object[key] proper; missing where Python raises TypeError or LookupError.
Val subscript(Heap& heap, const Val& object, const Val& key) {
  size_t index = 0;
  switch (object.type()) {
    case Type::kUndefined:
      throw_type_error("subscript", object);
    case Type::kDict:
      if (const Val* value = object.as<DictObject>().find(key)) return *value;
      return Val::missing();
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kRange:
      if (!key.is_integral() || !normalize_index(key, length_of(object), index)) {
        return Val::missing();
      }
      break;
    default:
      return Val::missing();
  }
  if (object.is_string()) return character_at(heap, object, index);
  if (object.is_sequence()) return object.items()[index];
  const auto& range = object.as<RangeObject>();
  return Val::integer(range.start + static_cast<int64_t>(index) * range.step);
}

}  // namespace

Val find_attribute(Heap& heap, const Val& object, std::string_view name) {
  if (object.is_undefined()) {
    if (name.size() >= 2 && name.substr(0, 2) == "__" && name.substr(name.size() - 2) == "__") {
      return Val::missing();
    }
    throw_type_error("get an attribute of", object);
  }
  if (object.is(Type::kNamespace)) {
    const Val* value = object.as<NamespaceObject>().find(name);
    return value != nullptr ? *value : Val::missing();
  }
  if (is_special_name(name)) return unsafe_member(heap, object, name);
  if (const MethodEntry* method = find_method(object.type(), name)) {
    if (method->changes) return unsafe_member(heap, object, name);
    return Val(new MethodObject(heap, object, *method));
  }
  return find_property(heap, object, name);
}

Val get_item(Heap& heap, const Val& object, const Val& key) {
  Val value = subscript(heap, object, key);
  if (!value.is_missing()) return value;
  if (!key.is_string()) return undefined_member(heap, object, "[...]");
  value = find_attribute(heap, object, key.text());
  return value.is_missing() ? undefined_member(heap, object, key.text()) : value;
}

Val get_attribute(Heap& heap, const Val& object, std::string_view name) {
  // A method hides a key of the same name, as in Python.
  Val value = find_attribute(heap, object, name);
  if (!value.is_missing()) return value;
  if (object.is(Type::kDict)) {
    if (const Val* item = object.as<DictObject>().find(name)) return *item;
  }
  return undefined_member(heap, object, name);
}

namespace {

struct SliceRange {
  int64_t start, step, count;
};

// slice.indices: the positions that start:stop:step selects from `length` items.
SliceRange slice_range(int64_t length, const Val& start, const Val& stop, const Val& step) {
  SliceRange range{0, step.is_none() ? 1 : to_index(step, "a slice step"), 0};
  if (range.step == 0) throw TemplateError("slice step cannot be zero");
  bool backwards = range.step < 0;
  int64_t low = backwards ? -1 : 0, high = backwards ? length - 1 : length;
  auto clamp = [&](const Val& value, int64_t otherwise) {
    if (value.is_none()) return otherwise;
    int64_t position = to_index(value, "a slice index");
    if (position < 0) position += length;  // length is far below the limits of int64
    return std::clamp(position, low, high);
  };
  range.start = clamp(start, backwards ? high : low);
  int64_t end = clamp(stop, backwards ? low : high);
  if (backwards && end < range.start) {
    // Unsigned arithmetic: the step may be the smallest int64.
    auto stride = 0 - static_cast<uint64_t>(range.step);
    range.count = static_cast<int64_t>((static_cast<uint64_t>(range.start - end) - 1) / stride + 1);
  } else if (!backwards && range.start < end) {
    range.count = (end - range.start - 1) / range.step + 1;
  }
  return range;
}

Val slice_text(Heap& heap, const Val& object, const SliceRange& range) {
  const std::string& text = object.text();
  auto first = static_cast<size_t>(range.start), count = static_cast<size_t>(range.count);
  heap.charge_bytes(text.size());
  if (range.step == 1) {
    if (object.as<StringObject>().is_ascii()) {
      return make_string(heap, text.substr(first, count), object.is_markup());
    }
    size_t begin = byte_offset(text, first);
    size_t size = byte_offset(std::string_view(text).substr(begin), count);
    return make_string(heap, text.substr(begin, size), object.is_markup());
  }
  heap.check_bytes(4 * text.size());
  std::u32string characters = to_code_points(text), result;
  for (int64_t i = 0, at = range.start; i < range.count; ++i) {
    result.push_back(characters[static_cast<size_t>(at)]);
    if (i + 1 < range.count) at += range.step;
  }
  return make_string(heap, to_utf8(result), object.is_markup());
}

}  // namespace

Val get_slice(Heap& heap, const Val& object, const Val& start, const Val& stop, const Val& step) {
  if (!object.is_string() && !object.is_sequence() && !object.is(Type::kRange)) {
    throw_type_error("slice", object);
  }
  SliceRange range = slice_range(length_of(object), start, stop, step);
  if (range.count == 0) range.start = 0;
  if (object.is_string()) return slice_text(heap, object, range);
  if (object.is(Type::kRange)) {
    const auto& source = object.as<RangeObject>();
    int64_t first = 0, stride = 0, last = 0;
    if (__builtin_mul_overflow(source.step, range.step, &stride) ||
        __builtin_mul_overflow(stride, range.count, &last) ||
        __builtin_add_overflow(source.start, range.start * source.step, &first) ||
        __builtin_add_overflow(first, last, &last)) {
      throw TemplateError("integer does not fit 64 bits");
    }
    return Val(new RangeObject(heap, first, last, stride, range.count));
  }
  heap.check_bytes(static_cast<size_t>(range.count) * sizeof(Val));
  Vals items;
  items.reserve(static_cast<size_t>(range.count));
  for (int64_t i = 0, at = range.start; i < range.count; ++i) {
    items.push_back(object.items()[static_cast<size_t>(at)]);
    if (i + 1 < range.count) at += range.step;
  }
  return Val(new SequenceObject(heap, object.type(), std::move(items)));
}

}  // namespace sluice::text::jinja
