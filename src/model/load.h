#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "model/memory_plan.h"
#include "model/model.h"
#include "model/placement.h"

// The one way from a file to a model that runs: of the server, and of the commands that run a model
// in their own process.
namespace sluice::model {

// Reads, checks and loads the file, which may change or go afterwards. Throws what the steps throw
// (gguf::File::open, read_spec, build_program, place_program), and Error(kCorruptData) for a file
// that was written to meanwhile.
std::unique_ptr<Model> load_model(const std::string& path, const Placement& placement,
                                  const backend::LoadOptions& options,
                                  const LoadNote& on_note = {});

// The same on a device that is at hand, in tests and benchmarks.
Model load_on(std::unique_ptr<backend::Backend> device, const std::string& path,
              const backend::LoadOptions& options);

// What plan_cache() must know of a loaded model and the memory that is left for its cache.
CacheNeeds cache_needs(Model& model, const Placement& placement);

}  // namespace sluice::model
