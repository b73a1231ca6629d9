#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/model_manager.h"

namespace sluice::server {

// The document of GET /api/sluice/status, for monitors. Durations are integers in nanoseconds,
// memory is in bytes. What "engine" and "totals" hold is in engine/counters.h; totals count since
// the start of the model in "engine", since that of the server in "totals".
//
// {"version":"0.1.0","pid":1,"uptime_ns":1,"resident_bytes":1,"available_bytes":1,"num_threads":1,
//  "num_connections":1,"is_draining":false,
//  "max_memory_bytes":1,                   // of the host's, what all models may take; 0: no bound
//  of our own "used_memory_bytes":1,                  // what they take of it now
//  "num_running":1,"num_waiting":0,        // sums over the models
//  "totals":{"num_steps":1, ...,           // over all models, those unloaded counted in
//    "histograms":{...}},                  // as below
//  "models":[{
//    "name":"smollm2:135m","digest":"<hex>","size_bytes":1,"family":"llama",
//    "parameter_size":"134.52M","quantization":"Q4_1",
//    "is_loading":false,"load_progress":1.0,"num_waiting_for_load":0,
//    -- from here on only when not loading:
//    "num_leases":1,                        // requests that hold the model, queued or running
//    "context_length":4096,                // what a request gets that does not say
//    "backend":"cpu avx2, 2 threads",
//    "memory":{"weights":1,"cache":1,"workspace":1,
//              "on_device":1},             // of these together, in a GPU's own memory
//    "parts":[{"device":"cpu","layers":8,   // only when layers are split over devices, in the
//              "weights":1,"cache":1,"workspace":1}, ...],          // order of the forward pass
//    "load_duration_ns":1,"expires_at":"2026-08-21T10:00:00Z",   // null: stays for ever
//    "engine":{"num_running":1,"num_steps":1, ...,
//      "histograms":{"time_to_first_token_seconds":{
//        "bounds":[0.001, ...],             // upper ones, ascending
//        "counts":[0, ...],                 // of the values up to each; one more for all above
//        "sum":0.1}, ...},
//      "requests":[{"id":1,"number":7,       // the engine's, and the server's (as in its list)
//        "request_id":"req_1","is_running":true,"queue_position":0,"estimated_wait_ns":0,
//        "num_prompt_tokens":1,
//        "num_cached_tokens":0,"num_prefilled_tokens":1,"num_output_tokens":1,"age_ns":1,
//        "time_to_first_token_ns":0,"mean_token_time_ns":0,    // 0: not yet
//        "client":"ann"}]}}],                                  // its key's name, else its address
//  "pending":[{"number":8,"request_id":"req_2","model":"as asked for","client":"ann","age_ns":1}]}
//    // those that no engine lists: their model loads, they are being prepared, or far back in a
//    // queue; the oldest kMostPending
constexpr size_t kMostPending = 256;
struct RequestSource {
  std::string id;      // X-Request-Id
  std::string client;  // who asks
  std::string model;   // as it was asked for; "" when that is not known yet
  std::chrono::nanoseconds age{};
};
struct ServerFacts {
  std::chrono::nanoseconds uptime{};
  int num_connections = 0;
  bool is_draining = false;
  uint64_t max_memory_bytes = 0;
  engine::EngineTotals totals;
  std::map<uint64_t, RequestSource> sources;  // of the requests under way, by RequestStatus::tag
};
// "parts" of a model.
api::Json parts_json(const std::vector<LoadedModel::Part>& parts);
std::string encode_status(const ServerFacts& facts, const std::vector<ModelStatus>& models);

}  // namespace sluice::server
