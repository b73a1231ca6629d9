#include "server/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "base/error.h"
#include "base/units.h"

namespace sluice::server {
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

std::optional<uint64_t> read_number(const char* path) {
  std::ifstream file(path);
  uint64_t value = 0;
  if (file >> value) return value;  // "max" is no number
  return std::nullopt;
}

}  // namespace

uint64_t available_memory_bytes() {
  uint64_t available = read_field("/proc/meminfo", "MemAvailable:").value_or(0) * 1024;
  const auto limit = read_number("/sys/fs/cgroup/memory.max");
  const auto used = read_number("/sys/fs/cgroup/memory.current");
  if (limit && used) {
    // What the cgroup holds as file cache can be dropped.
    const uint64_t cached = read_field("/sys/fs/cgroup/memory.stat", "inactive_file").value_or(0);
    const uint64_t held = *used > cached ? *used - cached : 0;
    available = std::min(available, *limit > held ? *limit - held : 0);
  }
  return available;
}

uint64_t resident_memory_bytes() {
  return read_field("/proc/self/status", "VmRSS:").value_or(0) * 1024;
}

int num_process_threads() {
  return static_cast<int>(read_field("/proc/self/status", "Threads:").value_or(0));
}

CachePlan plan_cache(const CacheNeeds& needs) {
  constexpr int64_t kLeastTokens = 256;
  const int64_t trained = needs.trained_context > 0 ? needs.trained_context : needs.default_context;
  const int64_t usual = std::min<int64_t>(needs.default_context, trained);
  const int64_t wanted =
      std::max(usual * needs.num_sequences, std::min<int64_t>(trained, needs.longest_sequence));
  const int64_t wanted_blocks = (wanted + backend::kBlockTokens - 1) / backend::kBlockTokens;
  const int64_t affordable =
      needs.block_bytes == 0 ? wanted_blocks
                             : static_cast<int64_t>(needs.available_bytes / 2 / needs.block_bytes);
  const int64_t num_blocks = std::min(wanted_blocks, affordable);
  if (num_blocks * backend::kBlockTokens < std::min(kLeastTokens, trained)) {
    throw Error(ErrorCode::kOutOfMemory,
                "not enough memory for the cache: " + format_bytes(needs.available_bytes) +
                    " are available and half of it must hold " + std::to_string(kLeastTokens) +
                    " tokens of " + format_bytes(needs.block_bytes / backend::kBlockTokens) +
                    " each; stop another model or program");
  }
  CachePlan plan;
  plan.num_blocks = static_cast<int>(num_blocks);
  plan.context_length =
      static_cast<int>(std::min<int64_t>(trained, num_blocks * backend::kBlockTokens));
  return plan;
}

}  // namespace sluice::server
