#include "cli/offline_model.h"

#include "cli/settings.h"

namespace sluice::cli {

Option add_offline_model_flags(Command& command, OfflineModelFlags& flags) {
  const Option model =
      command.option("MODEL", flags.model, "Name of a model in the store, or path of a GGUF file");
  command.option(
      "--device,--backend", flags.device,
      "cpu, cuda:0, a list to split layers over (cuda:0,cpu), reference (plain code in 32-bit "
      "floats), or auto: GPUs as far as they have room (default auto)");
  command
      .option("--gpu-layers", flags.gpu_layers,
              "So many layers on GPUs, the others on the CPU (default: all that fit)")
      .range(0, 100000);
  command
      .option("--isa", flags.placement.isa,
              "Use only these instructions (default: the best there are)")
      .one_of({"generic", "avx2", "avx512", "amx"});
  command.option("--kv-cache-type", flags.cache_type, "f16, or q8_0: half the memory")
      .one_of({"f16", "q8_0"});
  command.option("-t,--threads", flags.placement.num_threads, "Threads (default: the usable cores)")
      .range(1, 1024);
  return model;
}

std::unique_ptr<model::Model> load_offline_model(const OfflineModelFlags& flags,
                                                 backend::LoadOptions options, int num_blocks) {
  Settings settings = read_settings();
  model::Placement placement = flags.placement;
  take_device(settings, flags.device, flags.gpu_layers);
  placement.device = settings.device;
  placement.gpu_layers = settings.gpu_layers;
  placement.cache.exact_blocks = num_blocks;
  placement.cuda_driver = settings.cuda_driver;
  if (!flags.cache_type.empty()) {
    options.cache_type = backend::parse_cache_type(flags.cache_type);
  } else if (placement.device != "reference") {
    options.cache_type = backend::parse_cache_type(settings.kv_cache_type);
  }
  return model::load_model(resolve_model_path(flags.model), placement, options);
}

}  // namespace sluice::cli
