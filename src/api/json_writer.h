#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "api/json.h"

namespace sluice::api {

std::string json_string(std::string_view text);

// The JSON text of a string, a number, a boolean or nullptr. What is no UTF-8 becomes U+FFFD.
template <typename T>
std::string json_text(const T& value) {
  if constexpr (std::is_null_pointer_v<T>) {
    return "null";
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_integral_v<T>) {
    return std::to_string(value);
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return json_string(value);
  } else {
    return dump_json(Json(value));
  }
}

// Objects and lists of replies, written as text at once: no tree is built, copied or taken apart.
// Members stand in the order in which they are added, whatever their names.
class JsonObject {
 public:
  template <typename T>
  void add(std::string_view name, const T& value) {
    add_json(name, json_text(value));
  }
  void add_json(std::string_view name, std::string_view json) {
    if (text_.size() > 1) text_ += ',';
    text_ += json_text(name);
    text_ += ':';
    text_ += json;
  }
  std::string take() { return std::move(text_) + "}"; }

 private:
  std::string text_ = "{";
};

class JsonList {
 public:
  template <typename T>
  void add(const T& value) {
    add_json(json_text(value));
  }
  void add_json(std::string_view json) {
    if (text_.size() > 1) text_ += ',';
    text_ += json;
  }
  std::string take() { return std::move(text_) + "]"; }

 private:
  std::string text_ = "[";
};

}  // namespace sluice::api
