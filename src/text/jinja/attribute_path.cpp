#include "text/jinja/attribute_path.h"

#include <algorithm>
#include <charconv>

#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

namespace {
Val path_part(Heap& heap, std::string_view part) {
  bool digits = !part.empty() &&
                std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
  int64_t index = 0;
  if (digits) {
    auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    if (error == std::errc()) return Val::integer(index);
  }
  return make_string(heap, std::string(part));
}
}  // namespace

AttributePath::AttributePath(Heap& heap, const Val& attribute, bool ignore_case, Val otherwise)
    : heap_(heap), ignore_case_(ignore_case), otherwise_(std::move(otherwise)) {
  if (attribute.is_missing() || attribute.is_none()) return;
  if (!attribute.is_string()) {
    parts_.push_back(attribute);
    return;
  }
  std::string_view rest = attribute.text();
  while (true) {
    size_t dot = std::min(rest.find('.'), rest.size());
    parts_.push_back(path_part(heap, rest.substr(0, dot)));
    heap.charge(1);
    if (dot == rest.size()) return;
    rest.remove_prefix(dot + 1);
  }
}

Val AttributePath::get(const Val& item) const {
  Val value = item;
  for (const Val& part : parts_) {
    heap_.charge(1);
    value = get_item(heap_, value, part);
    if (value.is_undefined() && !otherwise_.is_none()) value = otherwise_;
  }
  return ignore_case_ ? without_case(heap_, value) : value;
}

Val without_case(Heap& heap, const Val& value) {
  if (!value.is_string()) return value;
  heap.charge_bytes(16 * value.text().size());
  heap.check_bytes(16 * value.text().size());
  return make_string(heap, lower_text(value.text()), value.is_markup());
}

}  // namespace sluice::text::jinja
