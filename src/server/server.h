#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "keys/scope.h"
#include "registry/options.h"
#include "server/catalog.h"
#include "server/loaded_model.h"
#include "server/metrics.h"
#include "server/model_manager.h"
#include "server/transport_options.h"
#include "text/template_choice.h"

namespace sluice::server {

// All that can be set, as plain data.
struct ServerOptions {
  TransportOptions transport;
  std::string store_root;
  std::vector<ExtraModel> extra_models;
  ManagerOptions models;
  LoadSettings load;
  std::vector<std::string> origins;  // web pages allowed besides the local ones
  std::string keys_path;             // of the API keys; "": none, and nothing is kept of usage
  std::string own_key;               // one that is kept nowhere, for who started us; "": none
  keys::Scopes without_key;          // what those may do who have no key, where one is wanted
  std::chrono::milliseconds drain_timeout{10'000};
  api::Timeout request_timeout = api::kNoTimeout;  // of requests that do not say
  registry::RegistryOptions registry;
  MetricsCompat metrics_compat = MetricsCompat::kNone;
  // Which template counts of models that have two.
  text::TemplatePreference template_preference = text::TemplatePreference::kByAbilities;
  std::string access_log;  // a file of JSON lines; "": none
};
// One setting a line, for the log.
std::string describe(const ServerOptions& options);

// The whole server in one object: HTTP, models and what is between them.
class Server {
 public:
  // Binds the port. Throws Error: what HttpServer, Catalog and Gatekeeper throw, and
  // kInvalidArgument for an address beyond loopback when there are neither keys nor something that
  // may be done without one. `load` is for tests, which bring models of their own.
  explicit Server(const ServerOptions& options, ModelManager::Load load = {});
  ~Server();  // stop(0)
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void start();
  uint16_t port() const;
  std::string url() const;  // "http://127.0.0.1:11434"

  // After a change of their files, for connections that come from then on.
  void reload_certificates();
  // After its file was moved away.
  void reopen_log();

  // Returns when SIGINT or SIGTERM came and what was running has been finished (bounded by
  // drain_timeout; a second signal ends it at once). The caller must have called
  // block_stop_signals() before any thread was started.
  void run_until_stopped();

  // Refuses new requests, lets running ones finish for at most `patience`, cancels the rest,
  // closes. `is_impatient`, asked now and then, cuts the wait short.
  void stop(std::chrono::milliseconds patience,
            const std::function<bool()>& is_impatient = nullptr);

 private:
  struct Parts;
  ServerOptions options_;
  std::unique_ptr<Parts> parts_;
};

// Keeps SIGINT, SIGTERM and SIGHUP (read certificates and open the access log again) for
// run_until_stopped(), and ignores SIGPIPE: a server outlives the terminal it was started from and
// the reader of its log.
void block_stop_signals();

}  // namespace sluice::server
