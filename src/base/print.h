#pragma once

#include <string>

namespace sluice {

// printf into a string; cut after 511 bytes, which is for lines of tables.
[[gnu::format(printf, 1, 2)]] std::string print(const char* format, ...);

}  // namespace sluice
