#pragma once

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>

#include "test_data.h"
#include "text/chat_template.h"

// Goldens of the chat template tests.
namespace sluice::text {

using Json = nlohmann::ordered_json;

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline Json golden(const std::string& name) {
  return Json::parse(read_text(test_data("text/golden/templates/") + name));
}

inline Value to_value(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) {
    Value::List list;
    for (const Json& item : json) list.push_back(to_value(item));
    return list;
  }
  if (!json.is_object()) return {};
  Value::Dict dict;
  for (const auto& [name, member] : json.items()) dict.emplace_back(name, to_value(member));
  return dict;
}

// The moment at which the goldens were made: 2026-07-04 09:05:07, a Saturday.
inline RenderLimits golden_limits() {
  std::tm now{};
  now.tm_year = 2026 - 1900;
  now.tm_mon = 6;
  now.tm_mday = 4;
  now.tm_hour = 9;
  now.tm_min = 5;
  now.tm_sec = 7;
  now.tm_wday = 6;
  now.tm_yday = 184;
  RenderLimits limits;
  limits.now = now;
  return limits;
}

// FNV-1a, 64 bits.
class Digest {
 public:
  void add(std::string_view bytes) {
    for (char c : bytes) value_ = (value_ ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  }
  std::string hex() const {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value_));
    return text;
  }

 private:
  uint64_t value_ = 0xCBF29CE484222325u;
};

}  // namespace sluice::text
