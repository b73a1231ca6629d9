#include "cli/offline_model.h"

#include "cli/settings.h"

namespace sluice::cli {

void add_offline_model_flags(Command& command, OfflineModelFlags& flags) {
  command.option("MODEL", flags.model, "Name of a model in the store, or path of a GGUF file")
      .required();
  command
      .option("--backend", flags.placement.device, "cpu, or reference: plain code in 32-bit floats")
      .one_of({"cpu", "reference"})
      .show_default();
  command
      .option("--isa", flags.placement.isa,
              "Use only these instructions (default: the best there are)")
      .one_of({"generic", "avx2", "avx512", "amx"});
  command.option("--kv-cache-type", flags.cache_type, "f16, or q8_0: half the memory")
      .one_of({"f16", "q8_0"});
  command.option("-t,--threads", flags.placement.num_threads, "Threads (default: the usable cores)")
      .range(1, 1024);
}

std::unique_ptr<model::Model> load_offline_model(const OfflineModelFlags& flags,
                                                 backend::LoadOptions options) {
  if (!flags.cache_type.empty()) {
    options.cache_type = backend::parse_cache_type(flags.cache_type);
  } else if (flags.placement.device == "cpu") {
    options.cache_type = backend::parse_cache_type(read_settings().kv_cache_type);
  }
  return model::load_model(resolve_model_path(flags.model), flags.placement, options);
}

}  // namespace sluice::cli
