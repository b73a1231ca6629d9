#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/memory_plan.h"

// Which devices a model comes to lie on.
namespace sluice::model {

// Where a model runs, and what it may take there.
struct Placement {
  // "cpu", "cuda" (the first GPU), "cuda:1", "reference" (plain code in 32-bit floats, to compare
  // with), or several ("cuda:0,cuda:1,cpu"), filled in this order when no single GPU of them holds
  // the model. "auto": all GPUs, those with the most free memory first, then the CPU.
  std::string device = "cpu";
  // Exactly so many layers on GPUs, the last ones, and the rest on the CPU (more than there are:
  // all of them); 0: no GPU; none: as many as fit.
  std::optional<int> gpu_layers = {};
  // Whether memory of GPUs that others hold is passed over, by taking another device or fewer
  // layers there; else it is an Error(kOutOfMemory), for who can make room.
  bool passes_full_over = true;
  std::string cuda_driver;  // the library; "": the system's
  int num_threads = 0;      // 0: the usable cores
  std::string isa;          // of the CPU; "": the best there is
  // For weights, workspace and cache together, where they lie in the host's memory (none: what is
  // free) and where in a device's own (none: what it has).
  std::optional<uint64_t> max_host_bytes = {};
  std::optional<uint64_t> max_device_bytes = {};
  // Where layers are split there is room for a cache of num_sequences of the default context, or
  // for one of them at the least where that spares the CPU's help.
  CacheWish cache = {};
};

// Whether such a device, or list of them, can have a GPU in it.
bool may_use_gpus(const std::string& device);

// Throws Error(kInvalidArgument) for what Placement::device and gpu_layers cannot be.
void check_placement(const std::string& device, const std::optional<int>& gpu_layers);

// Is told why a device was passed over.
using LoadNote = std::function<void(const std::string&)>;

// A backend that has loaded the program: of one device, or of several that share its layers. Throws
// what Backend::load() does, Error(kInvalidArgument) for a device that is not known,
// Error(kUnsupported) for one that cannot be used, and Error(kOutOfMemory) before anything is
// loaded for a model that is too large. `trained_context` is the model's, 0 where it is not known.
std::unique_ptr<backend::Backend> place_program(const backend::Program& program,
                                                int trained_context, const Placement& placement,
                                                const backend::LoadOptions& options,
                                                const LoadNote& on_note);

// What place_program() would load where; the cache is what is wished or less.
struct PlannedStage {
  std::string device;  // "cuda:0"
  int num_layers = 0;
  uint64_t budget_bytes = 0;
  backend::MemoryUse memory;  // without the cache
};
std::vector<PlannedStage> plan_placement(const backend::Program& program, int trained_context,
                                         const Placement& placement,
                                         const backend::LoadOptions& options,
                                         const LoadNote& on_note);

}  // namespace sluice::model
