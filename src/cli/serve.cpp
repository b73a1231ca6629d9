#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <sstream>

#include "base/error.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/log.h"
#include "cli/server_options.h"
#include "http/client.h"
#include "server/service_manager.h"
#include "server/version.h"
#include "store/store.h"

namespace sluice::cli {
namespace {

constexpr size_t kLeastSize = 1000;  // of a header or a body

struct ServeFlags {
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
  std::string device;
  std::optional<int> gpu_layers;
  std::string request_timeout;
  bool speculate = false;
  int max_connections = server::TransportOptions().max_connections;
  std::string max_header_size, max_body_size;
  std::string header_timeout, body_timeout, idle_timeout, write_timeout;
  int drain_seconds = 10;
  std::vector<std::string> origins;
  std::string log_level;
  std::string allow_anonymous;
  std::string keys;
  std::string metrics_compat;
  std::string tls_cert, tls_key;
  std::string access_log;
  bool offline = false;
};

// Each connection needs a descriptor; the soft limit is often no more than 1,024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 1u << 16);
  setrlimit(RLIMIT_NOFILE, &limit);
}

// The environment's settings with the flags laid over them.
Settings settings_of(const ServeFlags& flags) {
  Settings settings = read_settings();
  if (!flags.host.empty()) settings.host = flags.host;
  if (!flags.models.empty()) settings.models_dir = expand_home(flags.models);
  if (!flags.keep_alive.empty()) {
    settings.keep_alive = api::parse_keep_alive_text(flags.keep_alive);
  }
  if (flags.context > 0) settings.context_length = flags.context;
  if (flags.max_queue > 0) settings.max_queue = flags.max_queue;
  if (flags.max_loaded_models > 0) settings.max_loaded_models = flags.max_loaded_models;
  if (!flags.max_memory.empty()) {
    settings.max_memory_bytes = parse_size(flags.max_memory, "--max-memory");
  }
  if (!flags.kv_cache_type.empty()) settings.kv_cache_type = flags.kv_cache_type;
  take_device(settings, flags.device, flags.gpu_layers);
  settings.speculate = settings.speculate || flags.speculate;
  if (!flags.request_timeout.empty()) {
    settings.request_timeout = api::parse_timeout_text(flags.request_timeout);
  }
  settings.is_offline = settings.is_offline || flags.offline;
  if (!flags.metrics_compat.empty()) settings.metrics_compat = flags.metrics_compat;
  if (!flags.keys.empty()) settings.keys_path = flags.keys;
  if (!flags.tls_cert.empty()) settings.tls_cert = flags.tls_cert;
  if (!flags.tls_key.empty()) settings.tls_key = flags.tls_key;
  if (!flags.allow_anonymous.empty()) settings.without_key = flags.allow_anonymous;
  if (!flags.origins.empty()) settings.origins = flags.origins;
  return settings;
}

// A size that was given, in a range that can be meant.
void set_size(size_t& size, const std::string& text, const std::string& flag, size_t most) {
  if (text.empty()) return;
  const uint64_t bytes = parse_size(text, flag);
  if (bytes < kLeastSize || bytes > most) {
    throw Error(ErrorCode::kInvalidArgument, flag + " must be between " + format_bytes(kLeastSize) +
                                                 " and " + format_bytes(most) + ", but is '" +
                                                 text + "'");
  }
  size = bytes;
}

void set_time(std::chrono::milliseconds& time, const std::string& text, const std::string& flag) {
  if (text.empty()) return;
  const api::Timeout given = api::parse_timeout_text(text);
  if (given < std::chrono::milliseconds(1) || given > std::chrono::hours(24)) {
    throw Error(ErrorCode::kInvalidArgument,
                flag + " must be a time up to 24h, such as 30s, but is '" + text + "'");
  }
  time = std::chrono::duration_cast<std::chrono::milliseconds>(given);
}

void set_limits(server::TransportOptions& transport, const ServeFlags& flags) {
  transport.max_connections = flags.max_connections;
  set_size(transport.max_header_bytes, flags.max_header_size, "--max-header-size", 16u << 20);
  set_size(transport.max_body_bytes, flags.max_body_size, "--max-body-size", 2u << 30);
  transport.max_bodies_bytes = std::max(transport.max_bodies_bytes, transport.max_body_bytes);
  set_time(transport.header_timeout, flags.header_timeout, "--header-timeout");
  set_time(transport.body_timeout, flags.body_timeout, "--body-timeout");
  set_time(transport.idle_timeout, flags.idle_timeout, "--idle-timeout");
  set_time(transport.write_timeout, flags.write_timeout, "--write-timeout");
}

server::ServerOptions make_options(const ServeFlags& flags, const Settings& settings) {
  server::ServerOptions options = server_options(settings);
  const http::Url address = http::parse_listen_address(settings.host);
  options.transport.address = address.host;
  options.transport.port = flags.port >= 0 ? static_cast<uint16_t>(flags.port) : address.port;
  // A tenth of what is there now stays free, unless the owner says otherwise.
  if (!settings.max_memory_bytes) {
    options.models.max_memory_bytes = available_memory_bytes() / 10 * 9;
  }
  if (const auto socket = server::take_service_socket()) {
    options.transport.inherited_socket = socket->descriptor;
    options.transport.address = socket->address;
    options.transport.port = socket->port;
  }
  set_limits(options.transport, flags);
  options.transport.tls_cert = expand_home(settings.tls_cert);
  options.transport.tls_key = expand_home(settings.tls_key);
  options.load.placement.num_threads = flags.threads;
  options.load.num_sequences = flags.parallel;
  options.access_log = expand_home(flags.access_log);
  options.drain_timeout = std::chrono::seconds(flags.drain_seconds);
  return options;
}

void serve(const ServeFlags& flags) {
  const Settings settings = settings_of(flags);
  server::block_stop_signals();
  raise_descriptor_limit();
  start_log(!flags.log_level.empty() ? spdlog::level::from_str(flags.log_level)
            : settings.is_debug      ? spdlog::level::debug
                                     : spdlog::level::info);
  const server::ServerOptions options = make_options(flags, settings);
  server::Server server(options);
  server.start();
  if (const int count = store::Store(options.store_root).remove_stale_files(); count > 0) {
    spdlog::info("removed {} files that interrupted imports had left", count);
  }
  std::istringstream lines(server::describe(options));
  for (std::string line; std::getline(lines, line);) spdlog::info("{}", line);
  spdlog::info("sluice {} is listening on {}", server::kVersion, server.url());
  server.run_until_stopped();
  spdlog::info("stopped");
}

}  // namespace

void add_serve(Command& program) {
  auto flags = std::make_shared<ServeFlags>();
  Command command = program.subcommand(
      "serve", "Answer Ollama's and OpenAI's clients over HTTP until Ctrl-C or SIGTERM");
  command.alias("start");
  command.option("--host", flags->host, "Address to listen on (default 127.0.0.1:11434)");
  command.option("-p,--port", flags->port, "Port; 0 takes a free one and prints it")
      .range(0, 65535);
  command.option("--models", flags->models, "Folder of the store (default ~/.ollama/models)");
  command.option("-t,--threads", flags->threads, "Compute threads (default: all cores)")
      .range(1, 1024);
  command
      .option("-c,--context", flags->context, "num_ctx of requests that do not say (default 4096)")
      .range(16, 1 << 24);
  command
      .option("--parallel", flags->parallel,
              "How many conversations of that length the cache should hold")
      .range(1, 4096)
      .show_default();
  command.option("--keep-alive", flags->keep_alive,
                 "How long an idle model stays loaded: 5m, 0, -1 for ever");
  command.option("--max-queue", flags->max_queue, "Most requests waiting (default 512)")
      .range(1, 1 << 20);
  command
      .option("--max-loaded-models", flags->max_loaded_models, "Most models in memory (default 3)")
      .range(1, 64);
  command.option("--max-memory", flags->max_memory,
                 "What all models together may take: 8GB (default: 90% of what is free now)");
  command.option("--device", flags->device,
                 "Where models run: cpu, cuda:0, a list to split layers over (cuda:0,cuda:1,cpu), "
                 "or auto (default): the GPUs as far as they have room");
  command
      .option("--gpu-layers", flags->gpu_layers,
              "So many layers of a model on GPUs, the others on the CPU (default: all that fit)")
      .range(0, 100000);
  command
      .option("--kv-cache-type", flags->kv_cache_type,
              "How the cache holds keys and values: f16, or q8_0 in half the memory")
      .one_of({"f16", "q8_0"});
  command.option("--request-timeout", flags->request_timeout,
                 "How long a request may take that does not say: 5m (default: no limit)");
  command.flag("--speculate", flags->speculate,
               "Guess ahead from the text so far, for requests that do not say");
  command
      .option("--max-connections", flags->max_connections,
              "Most open connections; the next is told 503 (with TLS: closed)")
      .range(1, 60000)
      .show_default();
  command.option("--max-header-size", flags->max_header_size,
                 "Most of a request's line and headers (default 64KiB)");
  command.option("--max-body-size", flags->max_body_size,
                 "Most of a request's body (default 32MiB); a model's file that comes to "
                 "/api/blobs may be longer");
  command.option("--header-timeout", flags->header_timeout,
                 "How long a header may take to come (default 10s)");
  command.option("--body-timeout", flags->body_timeout,
                 "How long a body may take to come, or 64 KiB of a model's file (default 1m)");
  command.option("--idle-timeout", flags->idle_timeout,
                 "How long a connection stays open between requests (default 2m)");
  command.option("--write-timeout", flags->write_timeout,
                 "How long a client may take for 64 KiB of a reply (default 30s)");
  command
      .option("--drain-seconds", flags->drain_seconds,
              "How long running requests may go on after a signal to stop")
      .range(0, 86400)
      .show_default();
  command.option("--origin", flags->origins, "A web page's origin that may call (repeatable)");
  command.option("--log-level", flags->log_level, "What to tell")
      .one_of({"debug", "info", "warn", "err", "off"});
  command
      .option("--allow-anonymous", flags->allow_anonymous,
              "What may be done without an API key, also from other machines: all (as if alone), "
              "infer, manage, metrics")
      .value_or("all")
      .value_name("SCOPES");
  command.option("--keys", flags->keys, "File of the API keys (default ~/.sluice/keys.db)");
  command.option("--access-log", flags->access_log,
                 "File for a line of JSON about each request (the log has them, too)");
  command
      .option("--metrics-compat", flags->metrics_compat,
              "Names that GET /metrics has beside ours: vllm, for what reads vLLM's")
      .one_of({"vllm"});
  command.option("--tls-cert", flags->tls_cert,
                 "PEM file of a certificate, and of those that sign it: https; read again at "
                 "SIGHUP");
  command.option("--tls-key", flags->tls_key, "PEM file of its key");
  command.flag("--offline", flags->offline, "Fetch and send nothing: pull and push are refused");
  command.action([flags] { serve(*flags); });
}

}  // namespace sluice::cli
