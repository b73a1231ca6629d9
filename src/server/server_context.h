#pragma once

#include <atomic>
#include <chrono>
#include <functional>

#include "api/request.h"
#include "keys/gatekeeper.h"
#include "machine/gpu.h"
#include "registry/options.h"
#include "server/catalog.h"
#include "server/jobs.h"
#include "server/journal.h"
#include "server/metrics.h"
#include "server/model_manager.h"
#include "server/response_store.h"
#include "server/worker_pool.h"
#include "text/template_choice.h"

namespace sluice::server {

// Threads for what must not hold up the connections. Each kind of work has its own, so that what is
// light never waits behind what is heavy, and a request for a full queue not behind the tokenizing
// of others. Large bodies have one thread for all of them, so that the memory that parsing and
// tokenizing take many times over is taken once.
struct Workers {
  static constexpr size_t kLargeBodyBytes = 1u << 20;

  WorkerPool disk{"disk", 2};      // reads names, manifests, headers of files
  WorkerPool store{"store", 1};    // changes them: other programs may hold the store's lock
  WorkerPool upload{"upload", 1};  // writes what clients send for the store
  WorkerPool parse{"parse", 1};
  WorkerPool prepare{"prepare", 2};  // renders and tokenizes
  WorkerPool parse_large{"parse-large", 1};
  WorkerPool prepare_large{"prepare-large", 1};

  // By the size of a request's body.
  WorkerPool& parser(size_t bytes) { return bytes < kLargeBodyBytes ? parse : parse_large; }
  WorkerPool& preparer(size_t bytes) { return bytes < kLargeBodyBytes ? prepare : prepare_large; }
  // For requests about models.
  WorkerPool& reader(size_t bytes) { return bytes < kLargeBodyBytes ? disk : parse_large; }

  void stop() {
    for (WorkerPool* pool :
         {&disk, &store, &upload, &parse, &prepare, &parse_large, &prepare_large})
      pool->stop();
  }
};

// Everything a request may use; all of it outlives the requests.
struct ServerContext {
  Catalog& catalog;
  ModelManager& models;
  Workers& workers;
  JobBoard& jobs;
  const registry::RegistryOptions& registry;
  keys::Gatekeeper& gatekeeper;
  Journal& journal;
  ResponseStore& responses;
  const machine::Gpus& gpus;
  int default_context = 4096;
  api::Timeout default_timeout = api::kNoTimeout;
  MetricsCompat metrics_compat = MetricsCompat::kNone;
  text::TemplatePreference template_preference = text::TemplatePreference::kByAbilities;
  std::function<int()> num_connections;
  std::chrono::steady_clock::time_point started;
  const std::atomic<bool>& is_draining;
};

}  // namespace sluice::server
