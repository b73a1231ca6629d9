#pragma once

#include <string_view>

namespace sluice::server {

inline constexpr std::string_view kVersion = "0.1.0";
// What /api/version says: the version of Ollama whose interface this is. Its clients compare it
// with the oldest one that they can work with.
inline constexpr std::string_view kOllamaVersion = "0.17.6";

}  // namespace sluice::server
