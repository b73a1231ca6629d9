#include "text/jinja/object.h"

#include <cmath>
#include <cstring>
#include <functional>

#include "base/random_seed.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

Heap::~Heap() {
  // Emptying one object may bury others, which must not be deleted while the list is walked.
  for (Object* object = tracked_; object != nullptr; object = object->next_) object->clear();
  sweep_dead();
}

void Heap::track(Object* object) {
  object->next_ = tracked_;
  if (tracked_ != nullptr) tracked_->previous_ = object;
  tracked_ = object;
}

void Heap::sweep_dead() {
  while (!dead_.empty()) {
    Object* object = dead_.back();
    dead_.pop_back();
    delete object;
  }
}

Object::Object(Heap& heap, Type type, bool changeable)
    : heap_(heap), type_(type), changeable_(changeable) {
  constexpr size_t kObjectBytes = 96;  // about what any of the objects takes by itself
  heap_.add_bytes(kObjectBytes);
  size_bytes_ = kObjectBytes;
  if (changeable_) heap_.track(this);
}

Object::~Object() {
  heap_.remove_bytes(size_bytes_);
  if (!changeable_) return;
  if (previous_ != nullptr) previous_->next_ = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  if (heap_.tracked_ == this) heap_.tracked_ = next_;
}

void Object::contain(int child_depth) {
  if (child_depth >= heap_.max_depth()) fail("values are nested too deeply");
  if (child_depth + 1 > depth_) depth_ = child_depth + 1;
}

void Object::add_bytes(size_t size_bytes) {
  heap_.add_bytes(size_bytes);
  size_bytes_ += size_bytes;
}

// Unchangeable objects nest at most max_depth deep, so deleting them may recurse. Changeable ones
// may be chained without bound and wait for the sweep.
void Object::drop() {
  if (changeable_) {
    heap_.bury(this);
  } else {
    delete this;
  }
}

const PromptText& Val::prompt_text() const { return as<StringObject>().text; }
const Vals& Val::items() const { return as<SequenceObject>().items; }

StringObject::StringObject(Heap& heap, PromptText text_in, bool is_safe)
    : Object(heap, Type::kString, false), text(std::move(text_in)), is_safe(is_safe) {
  add_bytes(text.size() + text.extra_bytes());
  heap.charge_bytes(text.size());
}

int64_t StringObject::length() const {
  if (length_ < 0) length_ = static_cast<int64_t>(count_code_points(text.text()));
  return length_;
}

SequenceObject::SequenceObject(Heap& heap, Type type, Vals items_in)
    : Object(heap, type, false), items(std::move(items_in)) {
  add_bytes(items.size() * sizeof(Val));
  heap.charge(items.size() / 4);
  for (const Val& item : items) contain(item.depth());
}

IteratorObject::IteratorObject(Heap& heap, Vals items)
    : Object(heap, Type::kIterator, false), list_(make_list(heap, std::move(items))) {
  contain(list_.depth());
}

bool IteratorObject::next(Val& out) {
  if (position_ == list_.items().size()) return false;
  out = list_.items()[position_++];
  return true;
}

namespace {

constexpr size_t kSmallDict = 8;

// Folds the 128 bits of a product, as wyhash does.
uint64_t fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Clients choose the keys: without a secret seed they could choose them to collide.
uint64_t hash_text(std::string_view text) {
  static const uint64_t seed = random_seed();
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u;
  uint64_t hash = seed ^ fold(text.size() ^ kOdd, seed | 1);
  while (!text.empty()) {
    uint64_t word = 0;
    const size_t size = std::min(text.size(), sizeof(word));
    std::memcpy(&word, text.data(), size);
    hash = fold(hash ^ word, seed ^ kOdd);
    text.remove_prefix(size);
  }
  return hash;
}

}  // namespace

void DictObject::reserve(size_t num_items) {
  items_.reserve(num_items);
  hashes_.reserve(num_items);
}

void DictObject::set(Val key, Val value) {
  const std::optional<size_t> hash = hash_of(heap(), key);
  if (!hash) fail("unhashable type: '", type_name(key), "'");
  contain(std::max(key.depth(), value.depth()));
  const size_t index = locate(*hash, [&](const Val& other) { return equals(other, key); });
  if (index < items_.size()) {
    items_[index].second = std::move(value);
    return;
  }
  constexpr size_t kIndexBytes = 64;  // about what an entry of the index takes
  add_bytes(sizeof(items_[0]) + sizeof(size_t) + kIndexBytes);
  items_.emplace_back(std::move(key), std::move(value));
  hashes_.push_back(*hash);
  if (items_.size() <= kSmallDict) return;
  for (size_t i = index_.size(); i < items_.size(); ++i) index_.emplace(hashes_[i], i);
}

template <typename IsKey>
size_t DictObject::locate(size_t hash, IsKey is_key) const {
  if (items_.size() <= kSmallDict) {
    for (size_t i = 0; i < items_.size(); ++i) {
      if (hashes_[i] == hash && is_key(items_[i].first)) return i;
    }
    return items_.size();
  }
  for (auto [at, end] = index_.equal_range(hash); at != end; ++at) {
    heap().charge(1);
    if (is_key(items_[at->second].first)) return at->second;
  }
  return items_.size();
}

const Val* DictObject::find(const Val& key) const {
  const std::optional<size_t> hash = hash_of(heap(), key);
  if (!hash) return nullptr;
  const size_t index = locate(*hash, [&](const Val& other) { return equals(other, key); });
  return index < items_.size() ? &items_[index].second : nullptr;
}

const Val* DictObject::find(std::string_view key) const {
  const size_t index = locate(
      hash_text(key), [&](const Val& other) { return other.is_string() && other.text() == key; });
  return index < items_.size() ? &items_[index].second : nullptr;
}

void NamespaceObject::set(PromptText name, Val value) {
  if (name.text().starts_with('_')) {
    fail("attributes of a namespace may not start with '_': ", name.text());
  }
  for (auto& [key, old] : attributes_) {
    if (key.text() == name.text()) {
      old = std::move(value);
      return;
    }
  }
  heap().charge(attributes_.size());
  add_bytes(sizeof(attributes_[0]));
  attributes_.emplace_back(make_string(heap(), std::move(name)), std::move(value));
}

const Val* NamespaceObject::find(std::string_view name) const {
  for (const auto& [key, value] : attributes_) {
    if (key.text() == name) return &value;
  }
  return nullptr;
}

Val make_string(Heap& heap, PromptText text) {
  return Val(new StringObject(heap, std::move(text)));
}
Val make_string(Heap& heap, std::string text, bool is_trusted) {
  return make_string(heap, PromptText(std::move(text), is_trusted));
}
Val make_list(Heap& heap, Vals items) {
  return Val(new SequenceObject(heap, Type::kList, std::move(items)));
}
Val make_tuple(Heap& heap, Vals items) {
  return Val(new SequenceObject(heap, Type::kTuple, std::move(items)));
}
Val make_undefined(Heap& heap, std::string reason) {
  return Val(new UndefinedObject(heap, std::move(reason)));
}

std::optional<size_t> hash_of(Heap& heap, const Val& value) {
  if (value.is_number()) return std::hash<double>{}(value.as_double());
  switch (value.type()) {
    case Type::kString:
      heap.charge_bytes(value.text().size());
      return hash_text(value.text());
    case Type::kTuple: {
      heap.charge(1 + value.items().size() / 4);
      size_t hash = 0x345678;
      for (const Val& item : value.items()) {
        const std::optional<size_t> part = hash_of(heap, item);
        if (!part) return std::nullopt;
        hash = (hash ^ *part) * 1000003u;
      }
      return hash;
    }
    case Type::kNone:
    case Type::kUndefined:
      return static_cast<size_t>(value.type());
    case Type::kList:
    case Type::kDict:
    case Type::kMissing:
      return std::nullopt;
    default:
      return std::hash<const void*>{}(value.object());
  }
}

}  // namespace sluice::text::jinja
