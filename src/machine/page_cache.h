#pragma once

#include <optional>
#include <string>

namespace sluice::machine {

// How much of a file is in the kernel's page cache (0 to 1), by mincore(2): of large files that of
// some stretches spread over it, so that a look takes well below a millisecond. Nothing for what is
// no file with something in it, and for files that are not ours, of which the kernel does not tell.
std::optional<double> page_cache_share(const std::string& path);

}  // namespace sluice::machine
