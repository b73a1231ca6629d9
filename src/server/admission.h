#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "api/request.h"
#include "base/error.h"
#include "engine/request.h"
#include "server/catalog.h"
#include "server/http_server.h"
#include "server/model_manager.h"
#include "server/worker_pool.h"

namespace sluice::server {

// What a request that needs a model wants of the server; all of it outlives the requests.
struct GenerationContext {
  Catalog& catalog;
  ModelManager& models;
  WorkerPool& preparers;  // rendering and tokenizing
  int default_context = 4096;
  api::Timeout default_timeout = api::kNoTimeout;
};

// The clock of one request.
struct RequestTime {
  engine::Clock::time_point arrival;
  api::Timeout timeout = api::kNoTimeout;  // counts from the arrival

  // Nothing also for times that the clock cannot hold.
  std::optional<engine::Clock::time_point> deadline() const;
  // kDeadlineExceeded: "the request's time of 2s was over: WHERE".
  Error expired(const std::string& where) const;
};
// By the request's own wish, else by the server's default.
RequestTime request_time(const GenerationContext& context, const Exchange& exchange,
                         const api::Extensions& extensions);

// The request's options over those of the model's params layer. Throws what api::parse_options
// does.
api::ModelOptions options_over_model(const store::ModelRecord& record,
                                     const api::ModelOptions& options);

// Leads a request to its model: waits while that loads, and gives up when the client leaves or the
// time is over. Of on_ready and on_failure exactly one is called, once.
struct Admission {
  SharedRecord record;
  std::optional<api::KeepAlive> keep_alive;
  RequestTime time;
  std::function<void(Lease)> on_ready;           // on a preparer's thread
  std::function<void(const Error&)> on_failure;  // on any thread
  LoadProgress on_progress;                      // may be empty; on any thread, must only queue
};
// Until on_ready, the exchange's on_disconnect and alarm are in use; both are cleared then.
void admit(const GenerationContext& context, const std::shared_ptr<Exchange>& exchange,
           Admission admission);

// A refusal for want of room in the queue, with what the client should know: how many wait, and
// when it may try again (1 to 600 seconds).
struct Refusal {
  Error error;
  int retry_after_seconds = 1;
};
// `error`: what Engine::submit threw.
Refusal make_refusal(const Error& error, const engine::EngineStats& stats);

// Tells the client where its request stands: X-Queue-Position, X-Estimated-Wait (seconds).
void add_queue_headers(Exchange& exchange, const engine::QueuePlace& place);

}  // namespace sluice::server
