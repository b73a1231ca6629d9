#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/request.h"

namespace sluice::cli {

// What can be set, read from the environment in one place: SLUICE_x, else OLLAMA_x, else the
// default. Commands lay their flags over it; server_options.h makes a server's options of it.
struct Settings {
  std::string host = "127.0.0.1:11434";  // where to listen, and where clients look  (HOST)
  bool names_host = false;               // HOST is set
  std::string models_dir;                // the store; default ~/.ollama/models      (MODELS)
  api::KeepAlive keep_alive = std::chrono::minutes(5);  //                        (KEEP_ALIVE)
  int context_length = 4096;                 // num_ctx of requests that do not say (CONTEXT_LENGTH)
  int max_queue = 512;                       //                                          (MAX_QUEUE)
  int max_loaded_models = 3;                 //                                  (MAX_LOADED_MODELS)
  std::optional<uint64_t> max_memory_bytes;  // for all models together; none: 90% (MAX_MEMORY)
  std::string kv_cache_type = "f16";         // or q8_0                        (KV_CACHE_TYPE)
  std::string device = "auto";               // where models run; Placement::device     (DEVICE)
  std::optional<int> gpu_layers;             // Placement::gpu_layers               (GPU_LAYERS)
  std::string cuda_driver;                   // the driver's library        (SLUICE_CUDA_DRIVER)
  bool speculate = false;                    // guess ahead by prompt look-up      (SPECULATE)
  api::Timeout request_timeout = api::kNoTimeout;  // of requests that do not say (REQUEST_TIMEOUT)
  std::vector<std::string> origins;  // separated by commas                        (ORIGINS)
  bool is_debug = false;             //                                              (DEBUG)
  bool keeps_history = true;         //                                          (NOHISTORY)
  // Of models with two templates: Ollama's, or the file's; none: the better one  (GO_TEMPLATE)
  std::optional<bool> prefers_go_template;
  std::string metrics_compat;     // whose names /metrics has too: vllm     (METRICS_COMPAT)
  bool is_offline = false;        // nothing is fetched or sent                 (OFFLINE)
  std::string runs_path;          // load tests that were run; ~/.sluice/runs.db   (RUNS)
  std::string keys_path;          // the API keys; default ~/.sluice/keys.db       (KEYS)
  std::string without_key;        // scopes of who has none, where one is wanted   (ALLOW_ANONYMOUS)
  std::string tls_cert, tls_key;  // PEM files, to serve https          (TLS_CERT, TLS_KEY)
  // Only of SLUICE_API_KEY: Ollama's variable holds the one of another service.
  std::string api_key;  // what our own commands send to a server
  // As other programs have them: HTTP_PROXY, HTTPS_PROXY, NO_PROXY, in either case; SSL_CERT_FILE.
  std::string http_proxy, https_proxy, no_proxy;
  std::string ca_file;
};
// Throws Error(kInvalidArgument) naming the variable and what it should hold.
Settings read_settings();

// Lays the flags --device ("": not given) and --gpu-layers over the settings. Throws
// Error(kInvalidArgument) for what does not go together.
void take_device(Settings& settings, const std::string& device,
                 const std::optional<int>& gpu_layers);

// The value of SLUICE_<name>, else OLLAMA_<name>, without spaces and quotes around it; nothing when
// both are unset or empty.
std::optional<std::string> environment(const std::string& name);

// "4GB", "500 MiB", "1000000": bytes. Throws Error(kInvalidArgument) naming `what`.
uint64_t parse_size(const std::string& text, const std::string& what);

// True for what means a file rather than a name in the store: an existing file, or text that can
// only be a path ("./x", "/x", "~/x", "x.gguf").
bool is_model_path(const std::string& model);
// `model` with "~" replaced, when it is a path.
std::string expand_home(const std::string& path);
// The GGUF file behind a name in the store or a path. Throws Error(kNotFound) saying what there is
// instead and how to add a model.
std::string resolve_model_path(const std::string& model);

std::string home_folder();

}  // namespace sluice::cli
