#include "text/jinja/runtime.h"

#include "text/jinja/ops.h"

namespace sluice::text::jinja {

FrameObject::FrameObject(Heap& heap, const Function& function, FrameObject* parent)
    : Object(heap, Type::kFrame, true),
      slots(static_cast<size_t>(function.num_slots), Val::missing()) {
  if (parent != nullptr) parent_ = Val(parent);
  add_bytes(slots.size() * sizeof(Val));
}

void FrameObject::clear() {
  slots.clear();
  parent_ = Val();
}

LoopObject::LoopObject(Heap& heap, Val iterable, Val iterator, int depth0_in)
    : Object(heap, Type::kLoop, true),
      depth0(depth0_in),
      last_changed(Val::missing()),
      iterable_(std::move(iterable)),
      iterator_(std::move(iterator)),
      after_(Val::missing()) {}

void LoopObject::clear() {
  for (Val* value : {&previous, &current, &last_changed, &frame, &iterable_, &iterator_, &after_}) {
    *value = Val();
  }
}

bool LoopObject::advance(Val& item) {
  if (!after_.is_missing()) {
    item = std::move(after_);
    after_ = Val::missing();
  } else if (!iterator_.as<IteratorObject>().next(item)) {
    return false;
  }
  ++index0;
  previous = std::move(current);
  current = item;
  return true;
}

bool LoopObject::peek(Val& item) {
  if (after_.is_missing()) {
    Val next;
    if (!iterator_.as<IteratorObject>().next(next)) return false;
    after_ = std::move(next);
  }
  item = after_;
  return true;
}

int64_t LoopObject::length() {
  if (length_ >= 0) return length_;
  length_ = length_of(iterable_);
  if (length_ >= 0) return length_;
  Vals rest = to_vals(heap(), iterator_);
  length_ = static_cast<int64_t>(rest.size()) + index0 + 1 + (after_.is_missing() ? 0 : 1);
  iterator_ = iterate(heap(), make_list(heap(), std::move(rest)));
  return length_;
}

}  // namespace sluice::text::jinja
