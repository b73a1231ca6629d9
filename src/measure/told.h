#pragma once

#include <nlohmann/json.hpp>
#include <string>

// Members of objects that come from outside: absent, or of another type, counts as not told.
namespace sluice::measure {

inline double told_number(const nlohmann::json& object, const std::string& key,
                          double otherwise = 0) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : otherwise;
}

inline std::string told_text(const nlohmann::json& object, const std::string& key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace sluice::measure
