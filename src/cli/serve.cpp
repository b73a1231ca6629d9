#include "server/server.h"
#include "store/store.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "http/client.h"
#include "server/version.h"

namespace sluice::cli {
namespace {

struct Flags {
  std::string host;
  int port = -1;
  std::string models;
  std::string keep_alive;
  int context = 0;
  int threads = 0;
  int parallel = 8;
  int max_queue = 0;
  int max_loaded_models = 0;
  std::string max_memory;
  std::string kv_cache_type;
  std::string request_timeout;
  bool speculate = false;
  int max_connections = 4096;
  int drain_seconds = 10;
  std::vector<std::string> origins;
  std::string log_level;
  bool allow_anyone = false;
};

// Each connection needs a descriptor; the soft limit is often no more than 1,024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 1u << 16);
  setrlimit(RLIMIT_NOFILE, &limit);
}

// "0.0.0.0", "[::]:8080", ":8080", "http://host:1": the address to bind. (An address to connect to
// differs: there 0.0.0.0 stands for this machine.)
void set_address(const std::string& host, server::TransportOptions& transport) {
  std::string text = host;
  if (const size_t scheme = text.find("://"); scheme != std::string::npos) {
    text.erase(0, scheme + 3);
  }
  text = text.substr(0, text.find('/'));
  const http::Url url = http::parse_url(text);  // checks it, and finds the port
  transport.port = url.port;
  const bool is_any = text.starts_with("0.0.0.0") || text.starts_with("[::]");
  transport.address = is_any ? (text[0] == '[' ? "::" : "0.0.0.0") : url.host;
}

// A tenth of what is there now stays free, unless the owner says otherwise.
uint64_t max_memory(const Flags& flags, const Settings& settings) {
  if (!flags.max_memory.empty()) return parse_size(flags.max_memory, "--max-memory");
  return settings.max_memory_bytes.value_or(available_memory_bytes() / 10 * 9);
}

server::ServerOptions make_options(const Flags& flags, const Settings& settings) {
  server::ServerOptions options;
  set_address(flags.host.empty() ? settings.host : flags.host, options.transport);
  if (flags.port >= 0) options.transport.port = static_cast<uint16_t>(flags.port);
  options.transport.max_connections = flags.max_connections;
  options.store_root = flags.models.empty() ? settings.models_dir : expand_home(flags.models);
  options.models.keep_alive =
      flags.keep_alive.empty() ? settings.keep_alive : api::parse_keep_alive_text(flags.keep_alive);
  options.models.max_loaded =
      flags.max_loaded_models > 0 ? flags.max_loaded_models : settings.max_loaded_models;
  const int max_queue = flags.max_queue > 0 ? flags.max_queue : settings.max_queue;
  options.models.max_waiting = max_queue;
  options.models.max_memory_bytes = max_memory(flags, settings);
  options.request_timeout = flags.request_timeout.empty()
                                ? settings.request_timeout
                                : api::parse_timeout_text(flags.request_timeout);
  options.load.cache_type = backend::parse_cache_type(
      flags.kv_cache_type.empty() ? settings.kv_cache_type : flags.kv_cache_type);
  options.load.speculate = flags.speculate || settings.speculate;
  options.load.max_queue = max_queue;
  options.load.num_threads = flags.threads;
  options.load.default_context = flags.context > 0 ? flags.context : settings.context_length;
  options.load.num_sequences = flags.parallel;
  options.origins = flags.origins.empty() ? settings.origins : flags.origins;
  options.allow_anyone = flags.allow_anyone;
  options.drain_timeout = std::chrono::seconds(flags.drain_seconds);
  return options;
}

void serve(const Flags& flags) {
  const Settings settings = read_settings();
  server::block_stop_signals();
  raise_descriptor_limit();
  spdlog::set_default_logger(spdlog::stderr_color_mt("sluice"));
  spdlog::set_level(!flags.log_level.empty() ? spdlog::level::from_str(flags.log_level)
                    : settings.is_debug      ? spdlog::level::debug
                                             : spdlog::level::info);
  const server::ServerOptions options = make_options(flags, settings);
  server::Server server(options);
  server.start();
  if (const int count = store::Store(options.store_root).remove_stale_files(); count > 0) {
    spdlog::info("removed {} files that interrupted imports had left", count);
  }
  spdlog::info("settings:\n{}", server::describe(options));
  spdlog::info("sluice {} is listening on {}", server::kVersion, server.url());
  server.run_until_stopped();
  spdlog::info("stopped");
}

}  // namespace

void add_serve(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "serve", "Answer Ollama's and OpenAI's clients over HTTP until Ctrl-C or SIGTERM");
  command->alias("start");
  command->add_option("--host", flags->host, "Address to listen on (default 127.0.0.1:11434)");
  command->add_option("-p,--port", flags->port, "Port; 0 takes a free one and prints it")
      ->check(CLI::Range(0, 65535));
  command->add_option("--models", flags->models, "Folder of the store (default ~/.ollama/models)");
  command->add_option("-t,--threads", flags->threads, "Compute threads (default: all cores)")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("-c,--context", flags->context,
                   "num_ctx of requests that do not say (default 4096)")
      ->check(CLI::Range(16, 1 << 24));
  command
      ->add_option("--parallel", flags->parallel,
                   "How many conversations of that length the cache should hold")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--keep-alive", flags->keep_alive,
                      "How long an idle model stays loaded: 5m, 0, -1 for ever");
  command->add_option("--max-queue", flags->max_queue, "Most requests waiting (default 512)")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--max-loaded-models", flags->max_loaded_models,
                   "Most models in memory (default 3)")
      ->check(CLI::Range(1, 64));
  command->add_option("--max-memory", flags->max_memory,
                      "What all models together may take: 8GB (default: 90% of what is free now)");
  command
      ->add_option("--kv-cache-type", flags->kv_cache_type,
                   "How the cache holds keys and values: f16, or q8_0 in half the memory")
      ->check(CLI::IsMember({"f16", "q8_0"}));
  command->add_option("--request-timeout", flags->request_timeout,
                      "How long a request may take that does not say: 5m (default: no limit)");
  command->add_flag("--speculate", flags->speculate,
                    "Guess ahead from the text so far, for requests that do not say");
  command->add_option("--max-connections", flags->max_connections, "Most open connections")
      ->check(CLI::Range(1, 60000))
      ->capture_default_str();
  command
      ->add_option("--drain-seconds", flags->drain_seconds,
                   "How long running requests may go on after a signal to stop")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str();
  command->add_option("--origin", flags->origins, "A web page's origin that may call (repeatable)");
  command->add_option("--log-level", flags->log_level, "What to tell")
      ->check(CLI::IsMember({"debug", "info", "warn", "err", "off"}));
  command->add_flag("--allow-anyone", flags->allow_anyone,
                    "Listen beyond this machine although nobody is asked for a key");
  command->callback([flags] { serve(*flags); });
}

}  // namespace sluice::cli
