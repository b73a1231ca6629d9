#include "base/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "base/cgroup.h"

namespace sluice {
namespace {

// A number behind `key` in a file of "Key:   value kB" lines.
std::optional<uint64_t> read_field(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string name;
  while (file >> name) {
    uint64_t value = 0;
    if (name == key && file >> value) return value;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

}  // namespace

uint64_t available_memory_bytes() {
  uint64_t available = read_field("/proc/meminfo", "MemAvailable:").value_or(0) * 1024;
  if (const auto left = read_cgroup_limits().memory_bytes) available = std::min(available, *left);
  return available;
}

uint64_t resident_memory_bytes() {
  return read_field("/proc/self/status", "VmRSS:").value_or(0) * 1024;
}

int num_process_threads() {
  return static_cast<int>(read_field("/proc/self/status", "Threads:").value_or(0));
}

}  // namespace sluice
