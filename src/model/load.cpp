#include "model/load.h"

#include <algorithm>

#include "base/error.h"
#include "base/input_file.h"
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

}  // namespace

std::unique_ptr<Model> load_model(const std::string& path, const Placement& placement,
                                  const backend::LoadOptions& options) {
  const uint64_t file_bytes = InputFile(path).size_bytes();
  const uint64_t budget = placement.max_host_bytes.value_or(available_memory_bytes());
  if (file_bytes > budget) throw_shortage({file_bytes, 0, 0, budget});
  return std::make_unique<Model>(path, make_backend(placement), options);
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
