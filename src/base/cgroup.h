#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace sluice {

// What the control groups leave to this process: the least of all levels from its own group up to
// the root, as far as they are to be seen. Empty: no limit.
struct CgroupLimits {
  std::optional<double> cores;           // processor time a time; may be a fraction
  std::optional<uint64_t> memory_bytes;  // that can still be taken
};

// Reads versions 1 and 2 (cgroups(7), and Documentation/admin-guide/cgroup-v2.rst of Linux), with
// and without a namespace. What cannot be read or understood limits nothing. Paths, those in the
// system's files too, are taken below `root`.
CgroupLimits read_cgroup_limits(const std::filesystem::path& root = "/");

}  // namespace sluice
