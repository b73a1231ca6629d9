#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "cli/flags.h"
#include "model/load.h"
#include "model/model.h"

namespace sluice::cli {

// Flags of the commands that load a model in this process, without a server: bench, perplexity.
struct OfflineModelFlags {
  std::string model;  // a name in the store or a path
  model::Placement placement;
  std::string cache_type;  // "": the device's own
};
void add_offline_model_flags(Command& command, OfflineModelFlags& flags);

// Loads it. Throws Error.
std::unique_ptr<model::Model> load_offline_model(const OfflineModelFlags& flags,
                                                 backend::LoadOptions options);

}  // namespace sluice::cli
