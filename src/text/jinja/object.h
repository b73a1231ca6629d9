#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/work.h"
#include "text/prompt_text.h"

// Values while a template runs. A Val is 16 bytes: a tag and a number or a counted pointer. One
// rendering runs in one thread, so counts are plain integers; nothing here is shared between
// threads.
namespace sluice::text::jinja {

// What jinja2 or Python would raise; the rendering adds the line.
class TemplateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws a TemplateError; its message is the parts, one behind the other.
template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw TemplateError(message.str());
}

class Object;

// Budget and owner of everything one rendering makes. Objects that can be changed after they were
// made (and so could form cycles) stay on a list and are emptied at the end.
class Heap {
 public:
  Heap(uint64_t max_steps, size_t max_bytes, int max_depth, Work& work)
      : steps_left_(max_steps), max_bytes_(max_bytes), max_depth_(max_depth), work_(work) {}
  ~Heap();
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // Takes `count` steps from the budget; throws TemplateError when it is used up, and what the
  // request's Work throws.
  void charge(uint64_t count) {
    if (count > steps_left_) fail("the template runs too long: step limit passed");
    steps_left_ -= count;
    work_.charge(count * kBytesPerStep);
  }
  // Steps for touching `size_bytes` of text.
  void charge_bytes(size_t size_bytes) { charge(size_bytes / kBytesPerStep); }
  // Throws when `size_bytes` more would not fit; takes nothing. Call before building something big.
  void check_bytes(size_t size_bytes) const {
    if (size_bytes > max_bytes_ - live_bytes_) fail("the template needs too much memory");
  }
  void add_bytes(size_t size_bytes) {
    check_bytes(size_bytes);
    live_bytes_ += size_bytes;
  }
  void remove_bytes(size_t size_bytes) { live_bytes_ -= size_bytes; }
  int max_depth() const { return max_depth_; }

  // Deletes objects nobody refers to any more. Cheap when there are none.
  void sweep() {
    if (!dead_.empty()) sweep_dead();
  }
  void track(Object* object);
  void bury(Object* object) { dead_.push_back(object); }

 private:
  static constexpr size_t kBytesPerStep = 64;

  void sweep_dead();

  uint64_t steps_left_;
  size_t max_bytes_;
  size_t live_bytes_ = 0;
  int max_depth_;
  Work& work_;
  std::vector<Object*> dead_;
  Object* tracked_ = nullptr;  // head of the list of changeable objects
  friend class Object;
};

enum class Type : uint8_t {
  kMissing,  // no value at all: an unset variable or argument; templates never see it
  kNone,
  kBool,
  kInt,
  kFloat,
  kUndefined,  // this and what follows are objects
  kString,
  kList,
  kTuple,
  kDict,
  kIterator,  // from kUndefined to here: what can be iterated over
  kNamespace,
  kMacro,
  kLoop,
  kFunction,  // or a method
  kScope,
};

// A counted heap object. `depth` is the nesting below and bounds every recursion over values.
class Object {
 public:
  Object(Heap& heap, Type type, bool changeable);
  virtual ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  Type type() const { return type_; }
  int depth() const { return depth_; }
  Heap& heap() const { return heap_; }
  bool is_shared() const { return refs_ > 1; }
  // Gives up all references, to break cycles at the end of a rendering.
  virtual void clear() {}
  void retain() { ++refs_; }
  void release() {
    if (--refs_ == 0) drop();
  }

 protected:
  // Makes this at least one deeper than `child_depth`; throws past the limit.
  void contain(int child_depth);
  // Accounts for memory beyond the object itself.
  void add_bytes(size_t size_bytes);

 private:
  void drop();

  Heap& heap_;
  size_t size_bytes_ = 0;
  uint32_t refs_ = 0;
  int depth_ = 1;
  Type type_;
  bool changeable_;
  Object* previous_ = nullptr;
  Object* next_ = nullptr;
  friend class Heap;
};

class Val {
 public:
  Val() : type_(Type::kNone) { data_.integer = 0; }
  Val(const Val& other) : type_(other.type_), data_(other.data_) {
    if (is_object()) data_.object->retain();
  }
  Val(Val&& other) noexcept : type_(other.type_), data_(other.data_) { other.type_ = Type::kNone; }
  Val& operator=(Val other) noexcept {
    std::swap(type_, other.type_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Val() {
    if (is_object()) data_.object->release();
  }
  explicit Val(Object* object) : type_(object->type()) {
    data_.object = object;
    object->retain();
  }
  static Val missing() { return of_type(Type::kMissing); }
  static Val boolean(bool value) {
    Val result = of_type(Type::kBool);
    result.data_.integer = value;
    return result;
  }
  static Val integer(int64_t value) {
    Val result = of_type(Type::kInt);
    result.data_.integer = value;
    return result;
  }
  static Val real(double value) {
    Val result = of_type(Type::kFloat);
    result.data_.real = value;
    return result;
  }

  Type type() const { return type_; }
  bool is(Type type) const { return type_ == type; }
  bool is_missing() const { return type_ == Type::kMissing; }
  bool is_none() const { return type_ == Type::kNone; }
  bool is_undefined() const { return type_ == Type::kUndefined; }
  bool is_string() const { return type_ == Type::kString; }
  bool is_integral() const { return type_ == Type::kInt || type_ == Type::kBool; }
  bool is_number() const { return is_integral() || type_ == Type::kFloat; }
  bool is_sequence() const { return type_ == Type::kList || type_ == Type::kTuple; }
  bool is_object() const { return type_ >= Type::kUndefined; }
  bool is_iterable() const { return is_object() && type_ <= Type::kIterator; }
  // The number of a bool or int.
  int64_t int_value() const { return data_.integer; }
  double float_value() const { return data_.real; }
  // Any number as a double.
  double as_double() const {
    return type_ == Type::kFloat ? data_.real : static_cast<double>(data_.integer);
  }
  Object* object() const { return data_.object; }
  template <typename T>
  T& as() const {
    return static_cast<T&>(*data_.object);
  }
  int depth() const { return is_object() ? data_.object->depth() : 0; }
  // Of a string value.
  const PromptText& prompt_text() const;
  const std::string& text() const { return prompt_text().text(); }
  // The items of a list or tuple.
  const std::vector<Val>& items() const;

 private:
  static Val of_type(Type type) {
    Val result;
    result.type_ = type;
    return result;
  }
  Type type_;
  union {
    int64_t integer;
    double real;
    Object* object;
  } data_;
};

using Vals = std::vector<Val>;

// Why a value is undefined; the text of the error when it is used.
class UndefinedObject : public Object {
 public:
  UndefinedObject(Heap& heap, std::string reason)
      : Object(heap, Type::kUndefined, false), reason(std::move(reason)) {}
  const std::string reason;
};

// Text in UTF-8. `is_safe`: made by the filter `safe`, which published templates use before a "+",
// where jinja2 then writes the other side with HTML's escapes; nothing else looks at it.
class StringObject : public Object {
 public:
  StringObject(Heap& heap, PromptText text, bool is_safe = false);
  const PromptText text;
  const bool is_safe;
  // Number of code points.
  int64_t length() const;
  bool is_ascii() const { return length() == static_cast<int64_t>(text.size()); }

 private:
  mutable int64_t length_ = -1;
};

// A list or a tuple.
class SequenceObject : public Object {
 public:
  SequenceObject(Heap& heap, Type type, Vals items);
  const Vals items;
};

// A mapping in order of insertion. Built once, then unchangeable.
class DictObject : public Object {
 public:
  using Items = std::vector<std::pair<Val, Val>>;
  explicit DictObject(Heap& heap) : Object(heap, Type::kDict, false) {}
  // Only while building. set() throws TemplateError for a key that cannot be hashed.
  void reserve(size_t num_items);
  void set(Val key, Val value);
  // Null when absent or when the key cannot be hashed.
  const Val* find(const Val& key) const;
  const Val* find(std::string_view key) const;
  const Items& items() const { return items_; }

 private:
  // Index of the item with this hash that `is_key` accepts, or items_.size().
  template <typename IsKey>
  size_t locate(size_t hash, IsKey is_key) const;

  Items items_;
  std::vector<size_t> hashes_;
  std::unordered_multimap<size_t, size_t> index_;  // by hash; empty for small mappings
};

// What gives its items only once: the generators of Python.
class IteratorObject : public Object {
 public:
  IteratorObject(Heap& heap, Vals items);
  bool next(Val& out);  // false at the end

 private:
  const Val list_;
  size_t position_ = 0;
};

// namespace(...): attributes that a template may set.
class NamespaceObject : public Object {
 public:
  explicit NamespaceObject(Heap& heap) : Object(heap, Type::kNamespace, true) {}
  void clear() override { attributes_.clear(); }
  void set(PromptText name, Val value);
  const Val* find(std::string_view name) const;

 private:
  std::vector<std::pair<Val, Val>> attributes_;
};

Val make_string(Heap& heap, PromptText text);
// Text that is not the template's own, or is (`is_trusted`).
Val make_string(Heap& heap, std::string text, bool is_trusted);
Val make_list(Heap& heap, Vals items);
Val make_tuple(Heap& heap, Vals items);
Val make_undefined(Heap& heap, std::string reason);

// Hash as Python groups keys: 1, 1.0 and True agree. None for lists, mappings and other things that
// Python cannot hash. Throws what charging the bytes throws.
std::optional<size_t> hash_of(Heap& heap, const Val& value);

}  // namespace sluice::text::jinja
