#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

// Members, items and slices.
namespace sluice::text::jinja {

namespace {

Val undefined_member(Heap& heap, const Val& object, std::string_view what) {
  std::string owner = object.is_none() ? "None" : std::string(type_name(object)) + " object";
  return make_undefined(
      heap, "'" + owner + "' has no attribute '" + std::string(what.substr(0, 100)) + "'");
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
  if (object.as<StringObject>().is_ascii()) {
    return make_string(heap, object.prompt_text().substr(index, 1));
  }
  const std::string& text = object.text();
  heap.charge_bytes(text.size());
  size_t start = byte_offset(text, index), end = start;
  next_code_point(text, end);
  return make_string(heap, object.prompt_text().substr(start, end - start));
}

// object[key] proper; missing where Python raises TypeError or LookupError.
Val subscript(Heap& heap, const Val& object, const Val& key) {
  if (object.is_undefined()) throw_type_error("subscript", object);
  if (object.is(Type::kDict)) {
    const Val* value = object.as<DictObject>().find(key);
    return value != nullptr ? *value : Val::missing();
  }
  size_t index = 0;
  bool is_indexed = object.is_string() || object.is_sequence();
  if (!is_indexed || !key.is_integral() || !normalize_index(key, length_of(object), index)) {
    return Val::missing();
  }
  return object.is_string() ? character_at(heap, object, index) : object.items()[index];
}

// A method or a plain attribute, never an item; missing when there is none.
Val find_attribute(Heap& heap, const Val& object, std::string_view name) {
  if (object.is_undefined()) throw_type_error("get an attribute of", object);
  if (name.starts_with("__")) {  // the sandbox hides what every object of Python has
    throw TemplateError("access to attribute '" + std::string(name) + "' is unsafe");
  }
  if (object.is(Type::kNamespace)) {
    const Val* value = object.as<NamespaceObject>().find(name);
    return value != nullptr ? *value : Val::missing();
  }
  if (object.is(Type::kLoop)) {
    Val value = object.as<LoopObject>().attribute(name);
    if (!value.is_missing()) return value;
  }
  const Builtin* method = find_method(object.type(), name);
  return method != nullptr ? Val(new MethodObject(heap, object, *method)) : Val::missing();
}

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
  if (range.count == 0) range.start = 0;
  return range;
}

Val slice_text(Heap& heap, const Val& object, const SliceRange& range) {
  const std::string& text = object.text();
  auto first = static_cast<size_t>(range.start), count = static_cast<size_t>(range.count);
  heap.charge_bytes(text.size());
  if (range.step == 1) {
    if (object.as<StringObject>().is_ascii()) {
      return make_string(heap, object.prompt_text().substr(first, count));
    }
    size_t begin = byte_offset(text, first);
    size_t size = byte_offset(std::string_view(text).substr(begin), count);
    return make_string(heap, object.prompt_text().substr(begin, size));
  }
  heap.check_bytes(4 * text.size());
  std::u32string characters = to_code_points(text), result;
  for (int64_t i = 0, at = range.start; i < range.count; ++i) {
    result.push_back(characters[static_cast<size_t>(at)]);
    if (i + 1 < range.count) at += range.step;
  }
  return make_string(heap, to_utf8(result), object.prompt_text().is_trusted());
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
  SliceRange range = slice_range(length_of(object), start, stop, step);
  if (object.is_string()) return slice_text(heap, object, range);
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
