#include "text/jinja/object.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

Heap::~Heap() {
  // Emptying one object may bury others, which must not be deleted while the list is walked.
  for (Object* object = tracked_; object != nullptr; object = object->next_) object->clear();
  sweep_dead();
}

void Heap::throw_memory() { throw TemplateError("the template needs too much memory"); }

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
  if (child_depth >= heap_.max_depth()) throw TemplateError("values are nested too deeply");
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
    : Object(heap, Type::kIterator, false), items_(std::move(items)) {
  add_bytes(items_.size() * sizeof(Val));
  heap.charge(items_.size() / 4);
  for (const Val& item : items_) contain(item.depth());
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
  static const uint64_t seed = [] {
    std::random_device device;
    return static_cast<uint64_t>(device()) << 32 | device();
  }();
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

void DictObject::set(Val key, Val value) {
  size_t hash = 0;
  if (!hash_value(heap(), key, hash)) {
    throw TemplateError("unhashable type: '" + std::string(type_name(key)) + "'");
  }
  contain(std::max(key.depth(), value.depth()));
  size_t index = locate(hash, [&](const Val& other) { return equals(other, key); });
  if (index < items_.size()) {
    items_[index].second = std::move(value);
    return;
  }
  add_bytes(sizeof(items_[0]) + sizeof(size_t) + 2 * sizeof(uint32_t));
  items_.emplace_back(std::move(key), std::move(value));
  hashes_.push_back(hash);
  if (items_.size() > kSmallDict) rehash();
}

void DictObject::rehash() {
  if (table_.size() >= 2 * items_.size()) {
    size_t at = hashes_.back() & (table_.size() - 1);
    while (table_[at] != 0) at = (at + 1) & (table_.size() - 1);
    table_[at] = static_cast<uint32_t>(items_.size());
    return;
  }
  size_t size = 32;
  while (size < 4 * items_.size()) size *= 2;
  table_.assign(size, 0);
  for (size_t i = 0; i < items_.size(); ++i) {
    size_t at = hashes_[i] & (size - 1);
    while (table_[at] != 0) at = (at + 1) & (size - 1);
    table_[at] = static_cast<uint32_t>(i + 1);
  }
}

template <typename IsKey>
size_t DictObject::locate(size_t hash, IsKey is_key) const {
  if (table_.empty()) {
    for (size_t i = 0; i < items_.size(); ++i) {
      if (hashes_[i] == hash && is_key(items_[i].first)) return i;
    }
    return items_.size();
  }
  for (size_t at = hash & (table_.size() - 1); table_[at] != 0;
       at = (at + 1) & (table_.size() - 1)) {
    size_t index = table_[at] - 1;
    if (hashes_[index] == hash && is_key(items_[index].first)) return index;
    heap().charge(1);
  }
  return items_.size();
}

const Val* DictObject::find(const Val& key) const {
  size_t hash = 0;
  if (!hash_value(heap(), key, hash)) return nullptr;
  size_t index = locate(hash, [&](const Val& other) { return equals(other, key); });
  return index < items_.size() ? &items_[index].second : nullptr;
}

const Val* DictObject::find(std::string_view key) const {
  size_t index = locate(hash_text(key),
                        [&](const Val& other) { return other.is_string() && other.text() == key; });
  return index < items_.size() ? &items_[index].second : nullptr;
}

void NamespaceObject::set(std::string_view name, Val value) {
  for (auto& [key, old] : attributes_) {
    if (key.text() == name) {
      old = std::move(value);
      return;
    }
  }
  heap().charge(attributes_.size());
  add_bytes(sizeof(attributes_[0]));
  attributes_.emplace_back(make_string(heap(), std::string(name), true), std::move(value));
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

bool hash_value(Heap& heap, const Val& value, size_t& hash) {
  constexpr size_t kOdd = 0x9E3779B97F4A7C15u;
  switch (value.type()) {
    case Type::kBool:
    case Type::kInt:
      hash = static_cast<size_t>(value.int_value()) * kOdd;
      return true;
    case Type::kFloat: {
      double number = value.float_value();
      bool is_whole = number == std::floor(number) && std::fabs(number) < 9e18;
      hash = is_whole ? static_cast<size_t>(static_cast<int64_t>(number)) * kOdd
                      : std::hash<double>{}(number);
      return true;
    }
    case Type::kString:
      heap.charge_bytes(value.text().size());
      hash = hash_text(value.text());
      return true;
    case Type::kTuple:
      heap.charge(1 + value.items().size() / 4);
      hash = 0x345678;
      for (const Val& item : value.items()) {
        size_t part = 0;
        if (!hash_value(heap, item, part)) return false;
        hash = (hash ^ part) * 1000003u;
      }
      return true;
    case Type::kNone:
    case Type::kUndefined:
      hash = static_cast<size_t>(value.type());
      return true;
    case Type::kList:
    case Type::kDict:
    case Type::kMissing:
      return false;
    default:
      hash = std::hash<const void*>{}(value.object());
      return true;
  }
}

}  // namespace sluice::text::jinja
