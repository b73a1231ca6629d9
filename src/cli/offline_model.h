#pragma once

#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "cli/flags.h"
#include "model/load.h"
#include "model/model.h"

namespace sluice::cli {

// Flags of the commands that load a model in this process, without a server: bench, perplexity.
struct OfflineModelFlags {
  std::string model;           // a name in the store or a path
  model::Placement placement;  // but for the device
  std::string device;          // "": as set in the environment
  std::optional<int> gpu_layers;
  std::string cache_type;  // "": the device's own
};
// Returns the argument MODEL, which may be required or not.
Option add_offline_model_flags(Command& command, OfflineModelFlags& flags);

// Loads it, with room for a cache of so many blocks where layers are split. Throws Error.
std::unique_ptr<model::Model> load_offline_model(const OfflineModelFlags& flags,
                                                 backend::LoadOptions options, int num_blocks);

}  // namespace sluice::cli
