#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "server/journal.h"
#include "server/model_manager.h"

// What GET /api/sluice/requests tells, for monitors and for `sluice explain`.
namespace sluice::server {

// Where a live request is: its model, and what the engine says of it; null as long as the engine
// does not have it.
struct LivePlace {
  std::string model;
  const engine::RequestStatus* status = nullptr;
};
using LivePlaces = std::map<uint64_t, LivePlace>;  // by RequestLife::number
LivePlaces live_places(const std::vector<ModelStatus>& models);

// {"requests":[{"id":"req_1","number":7,"state":"ended","route":"/api/chat","model":"m","key":"ann",
//   "address":"127.0.0.1","arrived_at":"2026-08-21T10:00:00Z","status":200,"total_ns":1,
//   "prompt_tokens":1,"cached_tokens":0,"output_tokens":1,"finish_reason":"end_of_sequence",
//   "queued_ns":1,"time_to_first_token_ns":1,"tokens_per_second":1.5,"error":""}, ...]}
// At most `most`: those under way, as they have their turn ("state" is "running", "waiting" with
// "queue_position", or "preparing"; what is not known yet is absent), then the last that ended, the
// newest first.
std::string encode_requests(const std::vector<LiveRequest>& live, const LivePlaces& places,
                            const std::vector<SharedLife>& ended, size_t most);

// One that ended, with all that is in the list and its life:
// {..., "stream":true,"load_ns":1,"prepare_ns":1,"queue_position":0,"dropped_tokens":0,
//  "context_limit":4096,"max_tokens":-1,"has_grammar":false,"bytes":1,
//  "backend":"cpu avx2, 2 threads","weights_bytes":1,"fastest_decode_ns":1,"num_parts":1,
//  "parts":[{"finish_reason":"stop_string","stop":"\n","prompt_tokens":1,"cached_tokens":0,
//    "prefilled_tokens":1,"output_tokens":1,"shifted_tokens":0,"draft_tokens":0,
//    "accepted_tokens":0,"preemptions":0,"queued_ns":1,"prefill_ns":1,"decode_ns":1,
//    "itl_p50_ns":1,"itl_p95_ns":1,"itl_p99_ns":1,
//    "spans":[{"kind":"prefill","was_preempted":false,"begin_ns":1,"end_ns":1,"forward_ns":1,
//      "steps":1,"prompt_tokens":1,"output_tokens":1,"mean_sequences":1.5,"most_sequences":2,
//      "other_prompt_tokens":0}]}],
//  "explanation":["...", ...]}
// Times of spans count from when the engine got the request.
std::string encode_life(const RequestLife& life);
std::string encode_live(const LiveRequest& live, const LivePlace& place);

// The life of a request in sentences, each with its figures.
std::vector<std::string> explain(const RequestLife& life);

}  // namespace sluice::server
