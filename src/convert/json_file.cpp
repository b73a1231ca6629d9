#include "convert/json_file.h"

#include <cmath>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/print.h"

namespace sluice::convert {

Json parse_object(std::string_view text, const std::string& what, int max_depth) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= max_depth) {
        throw Error(ErrorCode::kCorruptData,
                    what + " is nested deeper than " + std::to_string(max_depth) + " levels");
      }
      keys.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      keys.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        throw Error(ErrorCode::kCorruptData,
                    what + " has the key '" + printable(key.substr(0, 80)) + "' twice");
      }
    }
    return true;
  };
  try {
    Json json = Json::parse(text, check);
    if (!json.is_object()) throw Error(ErrorCode::kCorruptData, what + " is no JSON object");
    return json;
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::kCorruptData,
                what + " is no JSON: " + printable(std::string(error.what()).substr(0, 200)));
  }
}

const Json* Fields::find(const char* key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

void Fields::fail(const std::string& reason) const {
  throw Error(ErrorCode::kCorruptData, what_ + ": " + reason);
}

std::optional<int64_t> Fields::get_int(const char* key, int64_t min, int64_t max) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) fail(std::string(key) + " must be a whole number");
  const bool is_large = value->is_number_unsigned() &&
                        value->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
  const int64_t number = is_large ? std::numeric_limits<int64_t>::max() : value->get<int64_t>();
  if (number < min || number > max) {
    fail(std::string(key) + " is " + std::to_string(number) + ", expected " + std::to_string(min) +
         " to " + std::to_string(max));
  }
  return number;
}

int64_t Fields::require_int(const char* key, int64_t min, int64_t max) const {
  const auto number = get_int(key, min, max);
  if (!number) fail(std::string(key) + " is missing");
  return *number;
}

std::optional<double> Fields::get_float(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) fail(std::string(key) + " must be a number");
  return value->get<double>();
}

std::optional<bool> Fields::get_bool(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail(std::string(key) + " must be true or false");
  return value->get<bool>();
}

std::optional<std::string> Fields::get_string(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(std::string(key) + " must be a string");
  return value->get<std::string>();
}

std::optional<Fields> Fields::get_object(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) fail(std::string(key) + " must be an object");
  return Fields(*value, what_ + ", " + key);
}

}  // namespace sluice::convert
