#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "http/client.h"
#include "measure/chat_wire.h"
#include "measure/exchange.h"
#include "measure/live_times.h"
#include "measure/workload.h"

// A load test over HTTP: waves of requests at the same moment, one thread a client, every time
// taken at the client with one steady clock.
namespace sluice::measure {

constexpr int kMaxConcurrency = 256;

struct LoadTestOptions {
  http::Url url;
  std::string api_key;                         // "": none
  std::map<std::string, std::string> headers;  // more of them, of every request
  Api api = Api::kOllama;
  std::string model;
  std::vector<Workload> workloads;
  std::vector<int> concurrency = {1, 2, 4};  // requests at a time, each 1 to kMaxConcurrency
  int repeat = 1;                            // waves of each workload and concurrency
  double steady_limit = 0;  // not 0: instead of `repeat`, until it is steady so far (steady.h)
  // Request number i (from 0) is sent with seed + i as its sampling seed and as the variant of its
  // prompt, so that no two are alike; with `same_prompt` all have `seed` and variant 0.
  uint64_t seed = 1;
  bool same_prompt = false;
  std::optional<double> temperature;
  std::optional<int> max_tokens;
  bool warm_up = true;  // one request of one token first, so that loading the model is not measured
  std::chrono::milliseconds idle_timeout{600'000};  // longest silence of a reply
};

// One request, raw.
struct LoadRecord : ExchangeRecord {
  int index = 0;  // number of the request in the test
  Workload workload;
  int concurrency = 1;
  int wave = 0;  // counted over the whole test; the requests of a wave start together
  uint64_t seed = 0;
};

struct LoadTestResult {
  std::chrono::system_clock::time_point started_at;
  double warm_up_seconds = 0;
  std::vector<LoadRecord> requests;
  bool was_stopped = false;  // before its end; `requests` holds what was done
};

struct LoadTestProgress {
  Workload workload = {};
  int concurrency = 0;
  int num_running = 0;
  int num_done = 0;   // of this workload and concurrency, failures included
  int num_total = 0;  // of the same
  int num_errors = 0;
  double tokens_per_second = 0;   // of all running requests since the wave began; counts pieces
  double seconds = 0;             // since the first wave of this workload and concurrency
  int64_t num_pieces = 0;         // of text that came since then
  LiveLatency latency = {};       // so far
  int place = 0, num_places = 0;  // this is so manieth of the workloads and concurrencies, from 1
  bool is_warm_up = false;
  bool is_last = false;  // this workload and concurrency are done
};

// Sends everything in the order of the options: for each workload kind its concurrencies, for each
// of these its sizes. `on_progress` is called about ten times a second and after each point, from
// the calling thread. Setting `stop` cancels what runs and returns what is done. A failed request
// is a record with its error, not an exception; but the test ends early when the server is gone (a
// whole wave got no reply). Throws Error(kInvalidArgument) for options out of range, and the error
// of the warm-up request when that fails.
LoadTestResult run_load_test(const LoadTestOptions& options, const std::atomic<bool>& stop,
                             const std::function<void(const LoadTestProgress&)>& on_progress);

}  // namespace sluice::measure
