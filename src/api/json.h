#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/work.h"

namespace sluice::api {

// Objects keep the order of their members.
using Json = nlohmann::ordered_json;

// A value from outside, whatever its size. Taken apart without allocating: the library's destructor
// allocates, which ends the process when there is no memory left.
class JsonTree {
 public:
  JsonTree() = default;
  JsonTree(Json value) noexcept : value_(std::move(value)) {}
  JsonTree(const JsonTree&) = default;
  JsonTree(JsonTree&&) noexcept = default;
  JsonTree& operator=(JsonTree other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~JsonTree();

  operator const Json&() const { return value_; }
  const Json& operator*() const { return value_; }
  const Json* operator->() const { return &value_; }
  Json& operator*() { return value_; }

 private:
  Json value_;
};

// Checked while reading, before anything is built, so that no later walk over the value (copy,
// dump, destruction) can overflow the stack or surprise by its size.
struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;
  int max_depth = 200;
  size_t max_values = 2'000'000;  // values in all: scalars, arrays, objects
};

// Reads one JSON value. Takes what Go's decoder takes: of equal keys the last counts, and invalid
// UTF-8 and lone surrogates become U+FFFD. Linear in the length of the text.
// Throws Error(kInvalidArgument) with the place and the reason, and what Work::charge() does.
JsonTree parse_json(std::string_view text, Work& work, const JsonLimits& limits = {});
Json parse_json(std::string_view text, const JsonLimits& limits = {});  // our own, or a file's

// The body of a request: must be an object. An empty body: Error "missing request body".
JsonTree parse_body(std::string_view body, Work& work, const JsonLimits& limits = {});

// Compact text; invalid UTF-8 in strings becomes U+FFFD, never an exception.
std::string dump_json(const Json& value);

// A member by name, exactly or else without regard to case, as Go matches; null when absent, null
// or `object` is none.
const Json* find_field(const Json& object, std::string_view name);
Json* find_field(Json& object, std::string_view name);

// Typed members: nothing when absent or null; Error(kInvalidArgument) `field "x" must be a ...`
// when of another type or out of range. Numbers with a fraction are refused as integers.
std::optional<std::string> string_field(const Json& object, std::string_view name);
std::optional<bool> bool_field(const Json& object, std::string_view name);
std::optional<int64_t> int_field(const Json& object, std::string_view name, int64_t min,
                                 int64_t max);
std::optional<double> number_field(const Json& object, std::string_view name);
const Json* array_field(const Json& object, std::string_view name);
const Json* object_field(const Json& object, std::string_view name);
Json* array_field(Json& object, std::string_view name);
Json* object_field(Json& object, std::string_view name);

// As string_field(), and moves the text out: it may be most of a request. "" when there is none.
std::string take_string(Json& object, std::string_view name);

}  // namespace sluice::api
