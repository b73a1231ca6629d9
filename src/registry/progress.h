#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace sluice::registry {

// A line of what a pull or push tells: "pulling manifest", or a blob on its way.
struct Progress {
  std::string status;
  std::string digest = {};  // "sha256:..."; "": not about a blob
  uint64_t total_bytes = 0;
  uint64_t completed_bytes = 0;
};

// Called from the thread that works; what it throws ends the work.
using OnProgress = std::function<void(const Progress&)>;

}  // namespace sluice::registry
