#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "model/memory_plan.h"
#include "model/model.h"

// The one way from a file to a model that runs: of the server, and of the commands that run a model
// in their own process.
namespace sluice::model {

// Where a model runs, and what it may take there.
struct Placement {
  std::string device = "cpu";  // or "reference": plain code in 32-bit floats, to compare with
  int num_threads = 0;         // 0: the usable cores
  std::string isa;             // of the CPU; "": the best there is
  // For weights, workspace and cache together, where they lie in the host's memory (none: what is
  // free) and where in the device's own (none: what it has).
  std::optional<uint64_t> max_host_bytes = {};
  std::optional<uint64_t> max_device_bytes = {};
};

// Throws what Model() throws, Error(kInvalidArgument) for a device that is not known, and
// Error(kOutOfMemory) before anything is loaded for weights and workspace that are too large.
std::unique_ptr<Model> load_model(const std::string& path, const Placement& placement,
                                  const backend::LoadOptions& options);

// What plan_cache() must know of a loaded model and the memory that is left for its cache. How long
// and how many the sequences are is for the caller to say.
CacheNeeds cache_needs(Model& model, const Placement& placement);

}  // namespace sluice::model
