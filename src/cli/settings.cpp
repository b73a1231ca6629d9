#include "cli/settings.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <utility>

#include "base/error.h"
#include "cli/suggest.h"
#include "model/placement.h"
#include "store/store.h"

namespace sluice::cli {
namespace {

std::string trimmed(std::string_view text) {
  const auto is_outer = [](char c) { return c == ' ' || c == '\t' || c == '"' || c == '\''; };
  while (!text.empty() && is_outer(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_outer(text.back())) text.remove_suffix(1);
  return std::string(text);
}

int environment_int(const std::string& name, int least, int otherwise) {
  const auto text = environment(name);
  if (!text) return otherwise;
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "the environment variable SLUICE_" + name + " (or OLLAMA_" + name +
                    ") must be a whole number, but is '" + *text + "'");
  }
  return value < least ? otherwise : value;
}

// As Ollama reads them: anything that is not clearly false is true.
bool environment_bool(const std::string& name) {
  const auto text = environment(name);
  return text && *text != "0" && *text != "false" && *text != "f" && *text != "F" &&
         *text != "False" && *text != "FALSE";
}

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (start <= text.size()) {
    const size_t comma = std::min(text.find(',', start), text.size());
    std::string part = trimmed(std::string_view(text).substr(start, comma - start));
    if (!part.empty()) parts.push_back(std::move(part));
    start = comma + 1;
  }
  return parts;
}

// The first of the two that is set.
std::string plain_environment(const char* name, const char* other) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') value = std::getenv(other);
  return value != nullptr ? trimmed(value) : "";
}

// SLUICE_ALLOW_ANONYMOUS: scopes, or a word for yes or no.
std::string anonymous_scopes(const std::string& text) {
  if (text == "1" || text == "true" || text == "yes") return "all";
  if (text == "0" || text == "false" || text == "no") return "";
  return text;
}

bool is_regular_file(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode);
}

}  // namespace

void take_device(Settings& settings, const std::string& device,
                 const std::optional<int>& gpu_layers) {
  if (!device.empty()) settings.device = device;
  if (gpu_layers || !model::may_use_gpus(settings.device)) settings.gpu_layers = gpu_layers;
  model::check_placement(settings.device, settings.gpu_layers);
}

std::optional<std::string> environment(const std::string& name) {
  for (const char* prefix : {"SLUICE_", "OLLAMA_"}) {
    const char* value = std::getenv((prefix + name).c_str());
    if (value == nullptr) continue;
    std::string text = trimmed(value);
    if (!text.empty()) return text;
  }
  return std::nullopt;
}

std::string home_folder() {
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return home;
  const passwd* entry = getpwuid(getuid());
  return entry != nullptr ? entry->pw_dir : "/";
}

Settings read_settings() {
  Settings settings;
  settings.host = environment("HOST").value_or(settings.host);
  settings.names_host = environment("HOST").has_value();
  settings.models_dir = environment("MODELS").value_or(home_folder() + "/.ollama/models");
  if (const auto text = environment("KEEP_ALIVE")) {
    settings.keep_alive = api::parse_keep_alive_text(*text);
  }
  settings.context_length = environment_int("CONTEXT_LENGTH", 1, settings.context_length);
  settings.max_queue = environment_int("MAX_QUEUE", 1, settings.max_queue);
  settings.max_loaded_models = environment_int("MAX_LOADED_MODELS", 1, settings.max_loaded_models);
  if (const auto text = environment("MAX_MEMORY")) {
    settings.max_memory_bytes = parse_size(*text, "SLUICE_MAX_MEMORY");
  }
  settings.kv_cache_type = environment("KV_CACHE_TYPE").value_or(settings.kv_cache_type);
  if (settings.kv_cache_type != "f16" && settings.kv_cache_type != "q8_0") {
    throw Error(ErrorCode::kInvalidArgument,
                "the environment variable SLUICE_KV_CACHE_TYPE (or OLLAMA_KV_CACHE_TYPE) must be "
                "f16 or q8_0, but is '" +
                    settings.kv_cache_type + "'");
  }
  settings.device = plain_environment("SLUICE_DEVICE", "SLUICE_DEVICE");
  if (settings.device.empty()) settings.device = "auto";
  if (environment("GPU_LAYERS")) settings.gpu_layers = environment_int("GPU_LAYERS", 0, 0);
  model::check_placement(settings.device, {});
  settings.cuda_driver = plain_environment("SLUICE_CUDA_DRIVER", "SLUICE_CUDA_DRIVER");
  settings.speculate = environment_bool("SPECULATE");
  if (const auto text = environment("REQUEST_TIMEOUT")) {
    settings.request_timeout = api::parse_timeout_text(*text);
  }
  settings.origins = split_commas(environment("ORIGINS").value_or(""));
  settings.is_debug = environment_bool("DEBUG");
  settings.keeps_history = !environment_bool("NOHISTORY");
  settings.is_offline = environment_bool("OFFLINE");
  if (environment("GO_TEMPLATE")) settings.prefers_go_template = environment_bool("GO_TEMPLATE");
  settings.metrics_compat = environment("METRICS_COMPAT").value_or("");
  settings.runs_path = environment("RUNS").value_or(home_folder() + "/.sluice/runs.db");
  settings.keys_path = environment("KEYS").value_or(home_folder() + "/.sluice/keys.db");
  settings.without_key = anonymous_scopes(environment("ALLOW_ANONYMOUS").value_or(""));
  settings.tls_cert = environment("TLS_CERT").value_or("");
  settings.tls_key = environment("TLS_KEY").value_or("");
  settings.api_key = plain_environment("SLUICE_API_KEY", "SLUICE_API_KEY");
  // In capitals HTTP_PROXY may come from a request's header where programs run behind web servers;
  // Ollama takes it all the same, and this is no such program.
  settings.http_proxy = plain_environment("http_proxy", "HTTP_PROXY");
  settings.https_proxy = plain_environment("https_proxy", "HTTPS_PROXY");
  settings.no_proxy = plain_environment("no_proxy", "NO_PROXY");
  settings.ca_file = plain_environment("SSL_CERT_FILE", "SSL_CERT_FILE");
  return settings;
}

uint64_t parse_size(const std::string& text, const std::string& what) {
  struct Unit {
    const char* name;
    double bytes;
  };
  static constexpr Unit kUnits[] = {
      {"", 1},         {"b", 1},        {"k", 1e3},      {"kb", 1e3},    {"m", 1e6},
      {"mb", 1e6},     {"g", 1e9},      {"gb", 1e9},     {"t", 1e12},    {"tb", 1e12},
      {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30}, {"tib", 0x1p40}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit = trimmed(std::string_view(end, text.data() + text.size()));
  for (char& c : unit) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  for (const Unit& known : kUnits) {
    const double bytes = number * known.bytes;
    if (error == std::errc() && unit == known.name && bytes >= 1 && bytes < 0x1p62) {
      return static_cast<uint64_t>(bytes);
    }
  }
  throw Error(ErrorCode::kInvalidArgument,
              what + " must be a size such as 8GB or 500MB, but is '" + text + "'");
}

bool is_model_path(const std::string& model) {
  if (model.starts_with("/") || model.starts_with("./") || model.starts_with("../") ||
      model.starts_with("~/") || model.ends_with(".gguf")) {
    return true;
  }
  return is_regular_file(model);
}

std::string expand_home(const std::string& path) {
  return path.starts_with("~/") ? home_folder() + path.substr(1) : path;
}

std::string resolve_model_path(const std::string& model) {
  if (is_model_path(model)) return expand_home(model);
  const store::Store store(read_settings().models_dir);
  try {
    const store::ModelRecord record = store.get(model);
    if (record.model_path.empty()) {
      throw Error(ErrorCode::kUnsupported, "model '" + model + "' has no GGUF weights");
    }
    return record.model_path;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
    std::vector<std::string> names;
    for (const store::ModelRecord& record : store.list().models) {
      names.push_back(record.name.short_name());
    }
    std::string hint = did_you_mean(model, std::move(names));
    if (hint.empty()) {
      hint = "; `sluice list` shows what is there, `sluice import FILE NAME` adds a model";
    }
    throw Error(ErrorCode::kNotFound, error.what() + hint);
  }
}

}  // namespace sluice::cli
