#include "cli/server_options.h"

#include "server/version.h"

namespace sluice::cli {

server::ServerOptions server_options(const Settings& settings) {
  server::ServerOptions options;
  options.store_root = settings.models_dir;
  options.models.keep_alive = settings.keep_alive;
  options.models.max_loaded = settings.max_loaded_models;
  options.models.max_waiting = settings.max_queue;
  options.models.max_memory_bytes = settings.max_memory_bytes.value_or(0);
  options.load.cache_type = backend::parse_cache_type(settings.kv_cache_type);
  options.load.placement.device = settings.device;
  options.load.placement.gpu_layers = settings.gpu_layers;
  options.load.placement.cuda_driver = settings.cuda_driver;
  options.load.speculate = settings.speculate;
  options.load.max_queue = settings.max_queue;
  options.load.default_context = settings.context_length;
  options.request_timeout = settings.request_timeout;
  options.origins = settings.origins;
  if (settings.metrics_compat == "vllm") {
    options.metrics_compat = server::MetricsCompat::kVllm;
  } else if (!settings.metrics_compat.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "SLUICE_METRICS_COMPAT should be vllm, or not set: it is \"" +
                    settings.metrics_compat + "\"");
  }
  if (settings.prefers_go_template) {
    options.template_preference = *settings.prefers_go_template ? text::TemplatePreference::kGo
                                                                : text::TemplatePreference::kJinja;
  }
  options.keys_path = expand_home(settings.keys_path);
  if (!settings.without_key.empty()) {
    options.without_key = keys::Scopes::parse(settings.without_key);
  }
  options.registry = registry_options(settings);
  return options;
}

registry::RegistryOptions registry_options(const Settings& settings) {
  registry::RegistryOptions options;
  options.is_offline = settings.is_offline;
  options.user_agent = "sluice/" + std::string(server::kVersion) + " (linux)";
  options.key_path = home_folder() + "/.ollama/id_ed25519";
  options.http_proxy = settings.http_proxy;
  options.https_proxy = settings.https_proxy;
  options.no_proxy = settings.no_proxy;
  options.ca_file = settings.ca_file;
  return options;
}

}  // namespace sluice::cli
