#include "model/load.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"

namespace sluice::model {
namespace {

std::unique_ptr<backend::Backend> make_backend(const Placement& placement) {
  const int num_threads = placement.num_threads > 0 ? placement.num_threads : usable_cores();
  if (placement.device == "cpu") return backend::make_cpu_backend({num_threads, placement.isa});
  if (placement.device == "reference") return backend::make_reference_backend(num_threads);
  throw Error(ErrorCode::kInvalidArgument,
              "there is no device '" + placement.device + "'; cpu and reference are known");
}

// What a model may take of the memory in which it lies; none: no bound is known beforehand.
std::optional<uint64_t> budget_of(const backend::Backend& backend, const Placement& placement) {
  if (!backend.traits().uses_host_memory) return placement.max_device_bytes;
  return placement.max_host_bytes.value_or(available_memory_bytes());
}

}  // namespace

std::unique_ptr<Model> load_model(const std::string& path, const Placement& placement,
                                  const backend::LoadOptions& options) {
  std::unique_ptr<backend::Backend> backend = make_backend(placement);
  const std::optional<uint64_t> budget = budget_of(*backend, placement);
  return std::make_unique<Model>(path, std::move(backend), options, budget);
}

CacheNeeds cache_needs(Model& model, const Placement& placement) {
  const backend::MemoryUse used = model.backend().memory();
  CacheNeeds needs;
  needs.block_bytes = model.backend().cache_block_bytes();
  needs.trained_context = model.spec().context_length;
  needs.weights_bytes = used.weights;
  needs.workspace_bytes = used.workspace;
  needs.available_bytes = available_memory_bytes();  // what weights and workspace left
  if (placement.max_host_bytes) {
    const uint64_t others = needs.weights_bytes + needs.workspace_bytes;
    const uint64_t left = *placement.max_host_bytes - std::min(*placement.max_host_bytes, others);
    needs.available_bytes = std::min(needs.available_bytes, left);
  }
  return needs;
}

}  // namespace sluice::model
