#pragma once

#include <string>
#include <string_view>

namespace sluice::gguf {

// A name from a file, made safe for a one-line message: in single quotes, bytes that are not
// printable ASCII as \xNN, cut after 64 bytes.
std::string quote(std::string_view name);

}  // namespace sluice::gguf
