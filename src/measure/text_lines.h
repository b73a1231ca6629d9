#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "base/error.h"

// Files of one thing a line, as users bring them.
namespace sluice::measure {

// Calls `take` with every line that is not empty, without its end and spaces there, and its number.
template <typename Take>
void for_each_line(std::string_view text, const Take& take) {
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (!line.empty()) take(line, number);
  }
}

inline Error wrong_line(const std::string& name, size_t number, const std::string& what) {
  return Error(ErrorCode::kInvalidArgument,
               name + ", line " + std::to_string(number) + ": " + what);
}

}  // namespace sluice::measure
