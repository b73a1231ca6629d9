#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "engine/counters.h"
#include "http/client.h"

// What the server tells about itself.
namespace sluice::monitor {

enum class ServerKind {
  kNone,    // nothing answers: `error` says why
  kSluice,  // GET /api/sluice/status
  kOllama,  // only GET /api/ps
};

// Of a model whose layers are split over devices.
struct ModelPart {
  std::string device;  // "cuda:0"
  int num_layers = 0;
  uint64_t weights_bytes = 0, cache_bytes = 0, workspace_bytes = 0;
};

// With what its engine tells; totals count since the model was loaded.
struct ModelSample : engine::EngineCounts {
  std::string name;
  std::string parameter_size;  // "134.52M"
  std::string quantization;    // "Q4_1"
  std::string backend;         // "cpu avx2, 2 threads"
  bool is_loading = false;
  double load_progress = 0;  // 0 to 1
  int num_waiting_for_load = 0;
  int context_length = 0;  // 0: unknown
  uint64_t weights_bytes = 0;
  uint64_t cache_bytes = 0;
  uint64_t workspace_bytes = 0;
  uint64_t on_device_bytes = 0;  // of these together, in a GPU's own memory
  std::vector<ModelPart> parts;  // where it is on several devices
  std::string expires_at;        // RFC 3339; empty: never, or unknown
};

// How the server's requests fared, in seconds since it began; NaN before the first.
struct LatencySample {
  double ttft_p50 = kUnknown, ttft_p95 = kUnknown;
  double itl_p50 = kUnknown, itl_p95 = kUnknown;

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  bool is_known() const { return ttft_p50 == ttft_p50; }
};

struct RequestSample {
  uint64_t id = 0;  // in the server
  std::string model = {};
  bool is_running = false;
  bool is_pending = false;                    // no engine has it yet
  int queue_position = 0;                     // 1 is next; 0 when running
  std::chrono::nanoseconds estimated_wait{};  // until it runs
  int num_prompt_tokens = 0;
  int num_cached_tokens = 0;
  int num_prefilled_tokens = 0;  // of the prompt, the cached ones included
  int num_output_tokens = 0;
  std::chrono::nanoseconds age{};
  std::chrono::nanoseconds time_to_first_token{};  // 0: none yet
  std::chrono::nanoseconds mean_token_time{};      // between those of its reply; 0: unknown
  std::string client = {};                         // its key's name, else its address
  std::string request_id = {};                     // X-Request-Id

  double tokens_per_second() const {  // of its reply; 0: unknown
    return mean_token_time.count() > 0 ? 1e9 / static_cast<double>(mean_token_time.count()) : 0;
  }
};

struct ServerSample {
  ServerKind kind = ServerKind::kNone;
  std::string error;
  std::string version;
  int pid = 0;  // 0: unknown
  std::chrono::nanoseconds uptime{};
  int num_connections = 0;
  bool is_draining = false;
  uint64_t max_memory_bytes = 0;  // what all models may take; 0: unknown, or no bound
  uint64_t used_memory_bytes = 0;
  LatencySample latency;
  std::vector<ModelSample> models;
  // Running ones first, then by place in the queue, then those that no engine has yet.
  std::vector<RequestSample> requests;
};

// The documents of GET /api/sluice/status and GET /api/ps. Missing members and members of another
// type count as absent; what is no JSON object at all is a sample with an error.
ServerSample parse_status(std::string_view json_text);
ServerSample parse_ps(std::string_view json_text);

// Asks the server; never throws for what the server does or does not answer.
ServerSample sample_server(http::Client& client);

}  // namespace sluice::monitor
