#include "server/server.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <thread>

#include "base/error.h"
#include "base/units.h"
#include "server/access.h"
#include "server/gate.h"
#include "server/http_server.h"
#include "server/routes.h"
#include "server/service_manager.h"

namespace sluice::server {
namespace {

// For workers to notice that a request is over, and for its end to be written.
constexpr std::chrono::milliseconds kLastWords{2000};
// For steps that run to finish and memory to be given back.
constexpr std::chrono::milliseconds kEndOfModels{20'000};

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

// Those, and the one that asks for certificates to be read again.
sigset_t all_signals() {
  sigset_t set = stop_signals();
  sigaddset(&set, SIGHUP);
  return set;
}

TransportOptions checked_transport(const ServerOptions& options) {
  TransportOptions transport = options.transport;
  if (transport.tls_cert.empty() != transport.tls_key.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "TLS needs the files of a certificate and of its key: --tls-cert and --tls-key");
  }
  if (transport.address == "localhost") transport.address = "127.0.0.1";
  if (transport.address.starts_with('[') && transport.address.ends_with(']')) {
    transport.address = transport.address.substr(1, transport.address.size() - 2);
  }
  return transport;
}

std::unique_ptr<keys::Gatekeeper> make_gatekeeper(const ServerOptions& options) {
  keys::GatekeeperOptions gate;
  gate.path = options.keys_path;
  gate.own_key = options.own_key;
  gate.without_key = options.without_key;
  const bool is_reached_by_others = !is_loopback_address(options.transport.address);
  gate.wants_keys = is_reached_by_others || !options.without_key.is_empty();
  gate.on_problem = [](const std::string& problem) { spdlog::error("keys: {}", problem); };
  auto gatekeeper = std::make_unique<keys::Gatekeeper>(std::move(gate));
  if (is_reached_by_others && options.without_key.is_empty() && !gatekeeper->has_keys()) {
    throw Error(ErrorCode::kInvalidArgument,
                "refusing to listen on " + options.transport.address +
                    ": anyone who reaches this machine could use and delete its models. Make an "
                    "API key first (`sluice key add NAME`; clients send it as Authorization: "
                    "Bearer KEY), or say --allow-anonymous (SLUICE_ALLOW_ANONYMOUS=1) to let "
                    "everybody in, or stay on 127.0.0.1");
  }
  return gatekeeper;
}

}  // namespace

void block_stop_signals() {
  const sigset_t set = all_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

std::string describe(const ServerOptions& options) {
  std::string text;
  const auto line = [&text](const char* name, const std::string& value) {
    text += std::string("  ") + name + " = " + value + "\n";
  };
  line("address", options.transport.address + ":" + std::to_string(options.transport.port));
  if (!options.transport.tls_cert.empty()) line("tls_cert", options.transport.tls_cert);
  line("models", options.store_root);
  line("keep_alive", options.models.keep_alive == api::kForever
                         ? "for ever"
                         : format_go_duration(options.models.keep_alive));
  line("max_loaded_models", std::to_string(options.models.max_loaded));
  line("max_queue", std::to_string(options.load.max_queue));
  line("max_memory", options.models.max_memory_bytes == 0
                         ? "all"
                         : format_bytes(options.models.max_memory_bytes));
  line("request_timeout", options.request_timeout == api::kNoTimeout
                              ? "none"
                              : format_go_duration(options.request_timeout));
  line("kv_cache_type", std::string(backend::cache_type_name(options.load.cache_type)));
  line("speculate", options.load.speculate ? "yes" : "no");
  line("context", std::to_string(options.load.default_context));
  line("threads", options.load.placement.num_threads == 0
                      ? "all cores"
                      : std::to_string(options.load.placement.num_threads));
  const TransportOptions& transport = options.transport;
  line("max_connections", std::to_string(transport.max_connections));
  line("max_header_size", format_bytes(transport.max_header_bytes));
  line("max_body_size", format_bytes(transport.max_body_bytes));
  line("header_timeout", format_go_duration(transport.header_timeout));
  line("body_timeout", format_go_duration(transport.body_timeout));
  line("idle_timeout", format_go_duration(transport.idle_timeout));
  line("write_timeout", format_go_duration(transport.write_timeout));
  if (options.metrics_compat == MetricsCompat::kVllm) line("metrics_compat", "vllm");
  if (options.template_preference == text::TemplatePreference::kGo) line("templates", "Go first");
  if (options.template_preference == text::TemplatePreference::kJinja) {
    line("templates", "Jinja first");
  }
  if (!options.access_log.empty()) line("access_log", options.access_log);
  if (options.registry.is_offline) line("offline", "yes");
  for (const std::string& origin : options.origins) line("origin", origin);
  if (!options.keys_path.empty()) line("keys", options.keys_path);
  if (!options.without_key.is_empty()) line("without_key", options.without_key.text());
  if (!text.empty()) text.pop_back();
  return text;
}

// In the order of construction; stop() takes care of the order of the end.
struct Server::Parts {
  Parts(const ServerOptions& options, std::unique_ptr<keys::Gatekeeper> keeper,
        ModelManager::Load load)
      : gatekeeper(std::move(keeper)),
        access_log(options.access_log),
        catalog(options.store_root, options.extra_models),
        models(options.models, std::move(load)),
        registry(options.registry),
        context{catalog,
                models,
                workers,
                jobs,
                registry,
                *gatekeeper,
                journal,
                responses,
                gpus,
                options.load.default_context,
                options.request_timeout,
                options.metrics_compat,
                options.template_preference,
                [this] { return http.num_connections(); },
                std::chrono::steady_clock::now(),
                is_draining},
        rules{is_loopback_address(options.transport.address), options.origins},
        http(
            options.transport,
            [this](const HttpRequest& request) { return pass_gate(rules, *gatekeeper, request); },
            [this](Exchange& exchange) { return dispatch(context, exchange); }, refusal,
            takes_body_in_pieces,
            [this](const HttpRequest& request, int status) {
              note_refused(context, request, status);
            }) {}

  std::atomic<bool> is_draining = false;
  std::atomic<bool> is_stopped = false;
  const std::unique_ptr<keys::Gatekeeper> gatekeeper;
  AccessLog access_log;
  Journal journal{access_log};
  const machine::Gpus gpus;
  Catalog catalog;
  ModelManager models;
  Workers workers;
  const registry::RegistryOptions registry;
  JobBoard jobs;
  ResponseStore responses;
  ServerContext context;
  AccessRules rules;
  HttpServer http;
};

Server::Server(const ServerOptions& options, ModelManager::Load load) : options_(options) {
  options_.transport = checked_transport(options);
  if (!load) {
    load = [settings = options_.load](const store::ModelRecord& record, const LoadBudget& budget,
                                      const LoadProgress& on_progress) {
      return load_model(record, settings, budget, on_progress);
    };
  }
  parts_ = std::make_unique<Parts>(options_, make_gatekeeper(options_), std::move(load));
}

Server::~Server() { stop(std::chrono::milliseconds(0)); }

void Server::start() { parts_->http.start(); }

uint16_t Server::port() const { return parts_->http.port(); }

std::string Server::url() const {
  const std::string& address = options_.transport.address;
  const bool is_v6 = address.find(':') != std::string::npos;
  const char* const scheme = options_.transport.tls_cert.empty() ? "http://" : "https://";
  return scheme + (is_v6 ? "[" + address + "]" : address) + ":" + std::to_string(port());
}

void Server::run_until_stopped() {
  const sigset_t all = all_signals();
  int signal_number = 0;
  tell_ready();
  while (sigwait(&all, &signal_number) == 0 && signal_number == SIGHUP) {
    tell_reloading();
    reload_certificates();
    reopen_log();
    tell_ready();
  }
  const sigset_t set = stop_signals();
  tell_stopping(options_.drain_timeout + kLastWords + kEndOfModels);
  spdlog::info("stopping: waiting up to {} for running requests",
               format_go_duration(options_.drain_timeout));
  stop(options_.drain_timeout, [&set] {
    const timespec at_once{};
    return sigtimedwait(&set, nullptr, &at_once) > 0;
  });
}

void Server::reload_certificates() {
  if (options_.transport.tls_cert.empty()) return;
  try {
    parts_->http.reload_tls();
    spdlog::info("read the certificate in {} again", options_.transport.tls_cert);
  } catch (const std::exception& error) {
    spdlog::error("the certificate stays as it was: {}", error.what());
  }
}

void Server::reopen_log() {
  try {
    parts_->access_log.reopen();
  } catch (const std::exception& error) {
    spdlog::error("the access log stays where it was: {}", error.what());
  }
}

void Server::stop(std::chrono::milliseconds patience, const std::function<bool()>& is_impatient) {
  if (parts_->is_stopped.exchange(true)) return;
  parts_->is_draining = true;
  parts_->models.drain();
  parts_->http.stop_accepting();
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kPause{10};
  const auto wait_for_requests = [&](std::chrono::milliseconds limit, bool may_be_cut_short) {
    const auto deadline = Clock::now() + limit;
    while (parts_->http.num_requests() > 0 && Clock::now() < deadline) {
      if (may_be_cut_short && is_impatient && is_impatient()) break;
      std::this_thread::sleep_for(kPause);
    }
  };
  wait_for_requests(patience, true);
  if (parts_->http.num_requests() > 0) {
    parts_->http.end_requests();
    wait_for_requests(kLastWords, false);
  }
  // Connections first: from here on nobody touches a model but the engines.
  parts_->http.stop();
  parts_->jobs.stop();
  parts_->workers.stop();
  parts_->models.stop();
}

}  // namespace sluice::server
