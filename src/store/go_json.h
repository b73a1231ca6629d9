#pragma once

#include <string>

namespace sluice::store {

// As Go's encoder writes JSON: a newline at the end, and <, >, & escaped (they stand in strings
// only), so that the same content has the same digest in both programs.
template <typename Json>
std::string go_json(const Json& json) {
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string escaped;
  escaped.reserve(text.size() + 1);
  for (const char character : text) {
    switch (character) {
      case '<':
        escaped += "\\u003c";
        break;
      case '>':
        escaped += "\\u003e";
        break;
      case '&':
        escaped += "\\u0026";
        break;
      default:
        escaped += character;
    }
  }
  return escaped + "\n";
}

}  // namespace sluice::store
