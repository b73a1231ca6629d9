#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::convert {

using Json = nlohmann::json;

// Parses an object that comes from outside: nothing deeper than `max_depth`, no key twice in one
// object. `what` begins the message ("config.json"). Throws Error(kCorruptData).
Json parse_object(std::string_view text, const std::string& what, int max_depth = 32);

// Fields of an object, which must live as long. Nothing (or the fallback) when the key is absent or
// null; Error(kCorruptData) naming it when it has another type or is out of range.
class Fields {
 public:
  Fields(const Json& object, std::string what) : object_(&object), what_(std::move(what)) {}

  const Json* find(const char* key) const;  // null when absent or null
  std::optional<int64_t> get_int(const char* key, int64_t min, int64_t max) const;
  int64_t require_int(const char* key, int64_t min, int64_t max) const;
  std::optional<double> get_float(const char* key) const;
  std::optional<bool> get_bool(const char* key) const;
  std::optional<std::string> get_string(const char* key) const;
  std::optional<Fields> get_object(const char* key) const;

  const Json& object() const { return *object_; }
  const std::string& what() const { return what_; }
  [[noreturn]] void fail(const std::string& reason) const;

 private:
  const Json* object_;
  std::string what_;
};

}  // namespace sluice::convert
