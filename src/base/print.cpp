#include "base/print.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace sluice {

std::string print(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  const int size = std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return std::string(text, std::min(static_cast<size_t>(std::max(size, 0)), sizeof text - 1));
}

}  // namespace sluice
