#include "api/json_writer.h"

#include <algorithm>

namespace sluice::api {

std::string json_string(std::string_view text) {
  const bool is_plain = std::all_of(text.begin(), text.end(), [](char character) {
    return character >= ' ' && character < 0x7f && character != '"' && character != '\\';
  });
  if (!is_plain) return dump_json(Json(text));
  std::string json;
  json.reserve(text.size() + 2);
  json += '"';
  json += text;
  json += '"';
  return json;
}

}  // namespace sluice::api
