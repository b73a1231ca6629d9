#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/work.h"

namespace sluice::server {

// Whether a body in this Content-Encoding is taken: zstd, which Codex sends, and none at all.
bool is_known_encoding(std::string_view encoding);

// A body that was compressed with zstd, as it was before. Throws Error(kInvalidArgument) for what
// is no zstd or becomes larger than `max_bytes`, and what `work` throws, to which it is charged.
std::string unpack_zstd(std::string_view packed, size_t max_bytes, Work& work);

}  // namespace sluice::server
