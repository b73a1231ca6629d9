#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sluice::machine {

// Bytes a second that a file comes from its disk, past the page cache, read in large pieces: a
// quarter of a gigabyte at most. Nothing where that cannot be asked for, or for a small file.
std::optional<double> measure_disk_speed(const std::string& path);

}  // namespace sluice::machine
