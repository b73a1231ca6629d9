#include "server/server.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <thread>

#include "base/error.h"
#include "base/units.h"
#include "server/access.h"
#include "server/http_server.h"
#include "server/routes.h"

namespace sluice::server {
namespace {

// For workers to notice that a request is over, and for its end to be written.
constexpr std::chrono::milliseconds kLastWords{2000};

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

TransportOptions checked_transport(const ServerOptions& options) {
  TransportOptions transport = options.transport;
  if (transport.address == "localhost") transport.address = "127.0.0.1";
  if (transport.address.starts_with('[') && transport.address.ends_with(']')) {
    transport.address = transport.address.substr(1, transport.address.size() - 2);
  }
  if (!is_loopback_address(transport.address) && !options.allow_anyone) {
    throw Error(ErrorCode::kInvalidArgument,
                "refusing to listen on " + transport.address +
                    ": anyone who reaches this machine could use and delete its models, as there "
                    "are no API keys yet; use 127.0.0.1, or say --allow-anyone if that is wanted");
  }
  return transport;
}

}  // namespace

void block_stop_signals() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
}

std::string describe(const ServerOptions& options) {
  std::string text;
  const auto line = [&text](const char* name, const std::string& value) {
    text += std::string("  ") + name + " = " + value + "\n";
  };
  line("address", options.transport.address + ":" + std::to_string(options.transport.port));
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
  line("max_connections", std::to_string(options.transport.max_connections));
  line("max_body", format_bytes(options.transport.max_body_bytes));
  if (options.registry.is_offline) line("offline", "yes");
  for (const std::string& origin : options.origins) line("origin", origin);
  if (options.allow_anyone) line("allow_anyone", "yes");
  if (!text.empty()) text.pop_back();
  return text;
}

// In the order of construction; stop() takes care of the order of the end.
struct Server::Parts {
  Parts(const ServerOptions& options, ModelManager::Load load)
      : catalog(options.store_root, options.extra_models),
        models(options.models, std::move(load)),
        registry(options.registry),
        context{catalog,
                models,
                workers,
                jobs,
                registry,
                options.load.default_context,
                options.request_timeout,
                [this] { return http.num_connections(); },
                std::chrono::steady_clock::now(),
                is_draining},
        rules{is_loopback_address(options.transport.address), options.origins},
        http(
            options.transport,
            [this](const HttpRequest& request) { return check_access(rules, request); },
            [this](Exchange& exchange) { return dispatch(context, exchange); }, refusal,
            takes_body_in_pieces) {}

  std::atomic<bool> is_draining = false;
  std::atomic<bool> is_stopped = false;
  Catalog catalog;
  ModelManager models;
  Workers workers;
  const registry::RegistryOptions registry;
  JobBoard jobs;
  ServerContext context;
  AccessRules rules;
  HttpServer http;
};

Server::Server(const ServerOptions& options, ModelManager::Load load) : options_(options) {
  options_.transport = checked_transport(options);
  if (!load) {
    load = [settings = options_.load](const store::ModelRecord& record, uint64_t budget_bytes,
                                      const LoadProgress& on_progress) {
      return load_model(record, settings, budget_bytes, on_progress);
    };
  }
  parts_ = std::make_unique<Parts>(options_, std::move(load));
}

Server::~Server() { stop(std::chrono::milliseconds(0)); }

void Server::start() { parts_->http.start(); }

uint16_t Server::port() const { return parts_->http.port(); }

std::string Server::url() const {
  const std::string& address = options_.transport.address;
  const bool is_v6 = address.find(':') != std::string::npos;
  return "http://" + (is_v6 ? "[" + address + "]" : address) + ":" + std::to_string(port());
}

void Server::run_until_stopped() {
  const sigset_t set = stop_signals();
  int signal_number = 0;
  sigwait(&set, &signal_number);
  spdlog::info("stopping: waiting up to {} for running requests",
               format_go_duration(options_.drain_timeout));
  stop(options_.drain_timeout, [&set] {
    const timespec at_once{};
    return sigtimedwait(&set, nullptr, &at_once) > 0;
  });
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
