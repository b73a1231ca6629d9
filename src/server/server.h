#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "registry/options.h"
#include "server/catalog.h"
#include "server/loaded_model.h"
#include "server/model_manager.h"
#include "server/transport_options.h"

namespace sluice::server {

// All that can be set, as plain data.
struct ServerOptions {
  TransportOptions transport;
  std::string store_root;
  std::vector<ExtraModel> extra_models;
  ManagerOptions models;
  LoadSettings load;
  std::vector<std::string> origins;  // web pages allowed besides the local ones
  bool allow_anyone = false;         // listen beyond loopback without any check of who asks
  std::chrono::milliseconds drain_timeout{10'000};
  api::Timeout request_timeout = api::kNoTimeout;  // of requests that do not say
  registry::RegistryOptions registry;
};
// One setting a line, for the log.
std::string describe(const ServerOptions& options);

// The whole server in one object: HTTP, models and what is between them.
class Server {
 public:
  // Binds the port. Throws Error: what HttpServer and Catalog throw, and kInvalidArgument for an
  // address beyond loopback without allow_anyone. `load` is for tests, which bring models of their
  // own.
  explicit Server(const ServerOptions& options, ModelManager::Load load = {});
  ~Server();  // stop(0)
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void start();
  uint16_t port() const;
  std::string url() const;  // "http://127.0.0.1:11434"

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

// Keeps SIGINT and SIGTERM for run_until_stopped(), and ignores SIGHUP and SIGPIPE: a server
// outlives the terminal it was started from and the reader of its log.
void block_stop_signals();

}  // namespace sluice::server
