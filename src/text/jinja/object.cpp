#include "text/jinja/object.h"

#include <cmath>
#include <functional>

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

const std::string& Val::text() const { return as<StringObject>().text; }
bool Val::is_markup() const { return is_string() && as<StringObject>().markup; }
const Vals& Val::items() const { return as<SequenceObject>().items; }

StringObject::StringObject(Heap& heap, std::string text_in, bool markup_in)
    : Object(heap, Type::kString, false), text(std::move(text_in)), markup(markup_in) {
  add_bytes(text.size());
  heap.charge_bytes(text.size());
}

int64_t StringObject::length() const {
  if (length_ < 0) length_ = static_cast<int64_t>(count_code_points(text));
  return length_;
}

SequenceObject::SequenceObject(Heap& heap, Type type, Vals items_in, bool group_in)
    : Object(heap, type, false), items(std::move(items_in)), group(group_in) {
  add_bytes(items.size() * sizeof(Val));
  heap.charge(items.size() / 4);
  for (const Val& item : items) contain(item.depth());
}

namespace {
constexpr size_t kSmallDict = 8;
}

void DictObject::set(Val key, Val value) {
  size_t hash = 0;
  if (!hash_value(key, hash)) {
    throw TemplateError("unhashable type: '" + std::string(type_name(key)) + "'");
  }
  contain(std::max(key.depth(), value.depth()));
  size_t index = locate(key, hash);
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

size_t DictObject::locate(const Val& key, size_t hash) const {
  if (table_.empty()) {
    for (size_t i = 0; i < items_.size(); ++i) {
      if (hashes_[i] == hash && equals(items_[i].first, key)) return i;
    }
    return items_.size();
  }
  // Crafted keys may collide: every probe costs a step.
  for (size_t at = hash & (table_.size() - 1); table_[at] != 0;
       at = (at + 1) & (table_.size() - 1)) {
    size_t index = table_[at] - 1;
    if (hashes_[index] == hash && equals(items_[index].first, key)) return index;
    heap().charge(1);
  }
  return items_.size();
}

const Val* DictObject::find(const Val& key) const {
  size_t hash = 0;
  if (!hash_value(key, hash)) return nullptr;
  size_t index = locate(key, hash);
  return index < items_.size() ? &items_[index].second : nullptr;
}

const Val* DictObject::find(std::string_view key) const {
  size_t hash = std::hash<std::string_view>{}(key);
  auto matches = [&](size_t i) {
    return hashes_[i] == hash && items_[i].first.is_string() && items_[i].first.text() == key;
  };
  if (table_.empty()) {
    for (size_t i = 0; i < items_.size(); ++i) {
      if (matches(i)) return &items_[i].second;
    }
    return nullptr;
  }
  for (size_t at = hash & (table_.size() - 1); table_[at] != 0;
       at = (at + 1) & (table_.size() - 1)) {
    if (matches(table_[at] - 1)) return &items_[table_[at] - 1].second;
    heap().charge(1);
  }
  return nullptr;
}

DictViewObject::DictViewObject(Val dict_in, What what_in)
    : Object(dict_in.object()->heap(), Type::kDictView, false),
      dict(std::move(dict_in)),
      what(what_in) {
  contain(dict.depth());
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
  attributes_.emplace_back(make_string(heap(), std::string(name)), std::move(value));
}

const Val* NamespaceObject::find(std::string_view name) const {
  for (const auto& [key, value] : attributes_) {
    if (key.text() == name) return &value;
  }
  return nullptr;
}

CyclerObject::CyclerObject(Heap& heap, Vals items_in)
    : Object(heap, Type::kCycler, true), items(std::move(items_in)) {
  add_bytes(items.size() * sizeof(Val));
}

JoinerObject::JoinerObject(Heap& heap, Val separator_in)
    : Object(heap, Type::kJoiner, true), separator(std::move(separator_in)) {}

Val make_string(Heap& heap, std::string text, bool markup) {
  return Val(new StringObject(heap, std::move(text), markup));
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

bool hash_value(const Val& value, size_t& hash) {
  switch (value.type()) {
    case Type::kBool:
    case Type::kInt:
      hash = std::hash<int64_t>{}(value.int_value()) * 0x9E3779B97F4A7C15u;
      return true;
    case Type::kFloat: {
      double number = value.float_value();
      if (number == std::floor(number) && std::fabs(number) < 9e18) {
        hash = std::hash<int64_t>{}(static_cast<int64_t>(number)) * 0x9E3779B97F4A7C15u;
      } else {
        hash = std::hash<double>{}(number);
      }
      return true;
    }
    case Type::kString:
      hash = std::hash<std::string_view>{}(value.text());
      return true;
    case Type::kTuple: {
      value.object()->heap().charge(1 + value.items().size() / 4);
      hash = 0x345678;
      for (const Val& item : value.items()) {
        size_t part = 0;
        if (!hash_value(item, part)) return false;
        hash = (hash ^ part) * 1000003u;
      }
      return true;
    }
    case Type::kNone:
      hash = 0x1234567;
      return true;
    case Type::kUndefined:
      hash = 0x7654321;
      return true;
    case Type::kList:
    case Type::kDict:
    case Type::kDictView:
    case Type::kMissing:
      return false;
    case Type::kRange: {
      const auto& range = value.as<RangeObject>();
      hash = std::hash<int64_t>{}(range.start ^ (range.length << 20));
      return true;
    }
    default:
      hash = std::hash<const void*>{}(value.object());
      return true;
  }
}

}  // namespace sluice::text::jinja
