#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <span>

#include "engine/histogram.h"
#include "engine/request.h"

// What an engine tells in numbers, each written down once: the line below makes the member, its
// place in the status document, in monitors and in Prometheus' metrics, and, for what only grows,
// in the sum over engines.
namespace sluice::engine {

// GAUGE(type, member, metric, what it is): how things are now.
// TOTAL(type, member, metric, what it is): counts up since the engine's start.
// HISTOGRAM(bounds, member, metric, what it is): the same, spread over buckets.
// The metric's name has "sluice_" before it; times are in seconds there.
#define SLUICE_ENGINE_COUNTERS(GAUGE, TOTAL, HISTOGRAM)                                            \
  GAUGE(int, num_places, "places", "requests that can run at once")                                \
  GAUGE(int, num_running, "requests_running", "requests that run")                                 \
  GAUGE(int, num_waiting, "requests_waiting", "requests in the queue")                             \
  GAUGE(int, num_waiting_for_cache, "requests_waiting_for_cache",                                  \
        "requests in the queue while the cache has no room for the first of them")                 \
  GAUGE(int, num_blocks_total, "kv_cache_blocks", "blocks of the cache")                           \
  GAUGE(int, num_blocks_used, "kv_cache_blocks_used", "blocks held by running requests")           \
  GAUGE(int, num_blocks_cached, "kv_cache_blocks_reusable",                                        \
        "free blocks that hold a prefix which can be used again")                                  \
  GAUGE(std::chrono::nanoseconds, estimated_wait, "estimated_wait_seconds",                        \
        "until one more request would begin; 0: at once, or not known")                            \
  GAUGE(std::chrono::nanoseconds, fastest_decode, "fastest_decode_step_seconds",                   \
        "the shortest forward pass so far that only decoded; 0: none yet")                         \
  TOTAL(uint64_t, num_requests_finished, "requests_finished_total",                                \
        "requests that ended, those cancelled counted in")                                         \
  TOTAL(uint64_t, num_requests_cancelled, "requests_cancelled_total",                              \
        "requests that were cancelled")                                                            \
  TOTAL(uint64_t, num_requests_rejected, "requests_rejected_total",                                \
        "requests refused because the queue was full")                                             \
  TOTAL(uint64_t, num_prompt_tokens, "prompt_tokens_total",                                        \
        "tokens prefilled, those computed again counted in")                                       \
  TOTAL(uint64_t, num_cached_tokens, "prompt_tokens_cached_total",                                 \
        "tokens not prefilled thanks to the prefix cache")                                         \
  TOTAL(uint64_t, num_output_tokens, "generation_tokens_total", "tokens sampled")                  \
  TOTAL(uint64_t, num_draft_tokens, "draft_tokens_total", "tokens guessed ahead")                  \
  TOTAL(uint64_t, num_accepted_tokens, "draft_tokens_accepted_total",                              \
        "tokens guessed ahead that were right")                                                    \
  TOTAL(uint64_t, num_steps, "steps_total", "forward passes")                                      \
  TOTAL(uint64_t, num_preemptions, "preemptions_total",                                            \
        "requests that gave their blocks back and were computed again")                            \
  TOTAL(uint64_t, num_shifts, "context_shifts_total", "contexts that were full and forgot half")   \
  TOTAL(uint64_t, num_refills, "context_refills_total",                                            \
        "shifts that had to be computed while the reply waited")                                   \
  TOTAL(std::chrono::nanoseconds, forward_time, "forward_seconds_total", "time in forward passes") \
  TOTAL(std::chrono::nanoseconds, schedule_time, "schedule_seconds_total",                         \
        "time of the engine's thread beside them")                                                 \
  HISTOGRAM(kRequestSeconds, time_to_first_token, "time_to_first_token_seconds",                   \
            "from a request's arrival to its first token")                                         \
  HISTOGRAM(kTokenSeconds, inter_token_time, "inter_token_latency_seconds",                        \
            "between two tokens of a reply")                                                       \
  HISTOGRAM(kTokenSeconds, time_per_token, "request_time_per_output_token_seconds",                \
            "mean time between the tokens of a reply")                                             \
  HISTOGRAM(kRequestSeconds, queue_time, "request_queue_time_seconds",                             \
            "from a request's place in the queue to its first step")                               \
  HISTOGRAM(kRequestSeconds, prefill_time, "request_prefill_time_seconds",                         \
            "from a request's first step to its first token")                                      \
  HISTOGRAM(kRequestSeconds, decode_time, "request_decode_time_seconds",                           \
            "from a reply's first token to its last")                                              \
  HISTOGRAM(kRequestSeconds, inference_time, "request_inference_time_seconds",                     \
            "from a request's first step to its end")                                              \
  HISTOGRAM(kRequestSeconds, request_time, "e2e_request_latency_seconds",                          \
            "from a request's arrival to its end")                                                 \
  HISTOGRAM(kTokenCounts, prompt_length, "request_prompt_tokens", "tokens of a prompt")            \
  HISTOGRAM(kTokenCounts, reply_length, "request_generation_tokens", "tokens of a reply")          \
  HISTOGRAM(kTokenCounts, reply_limit, "request_max_tokens",                                       \
            "the limit of a reply, of requests that set one")                                      \
  HISTOGRAM(kTokenCounts, step_rows, "step_tokens", "tokens computed in a forward pass")

#define SLUICE_MEMBER(type, member, metric, help) type member{};
#define SLUICE_SPREAD(bounds, member, metric, help) Histogram member{bounds};
#define SLUICE_NOTHING(type, member, metric, help)

// How things are now.
struct EngineGauges {
  SLUICE_ENGINE_COUNTERS(SLUICE_MEMBER, SLUICE_NOTHING, SLUICE_NOTHING)
};

// What only grows. Of engines that are gone they can be added up.
struct EngineTotals {
  SLUICE_ENGINE_COUNTERS(SLUICE_NOTHING, SLUICE_MEMBER, SLUICE_SPREAD)
  // Of num_requests_finished, by FinishReason.
  std::array<uint64_t, kNumFinishReasons> num_ended{};
  EngineTotals& operator+=(const EngineTotals& other);
};

#undef SLUICE_MEMBER
#undef SLUICE_SPREAD
#undef SLUICE_NOTHING

struct EngineCounts : EngineGauges, EngineTotals {};

enum class CounterKind { kGauge, kTotal };
enum class CounterUnit { kCount, kNanoseconds };

struct Counter {
  const char* name;    // the member's; behind it "_ns" for nanoseconds
  const char* metric;  // "requests_running"
  const char* help;
  CounterKind kind;
  CounterUnit unit;
  uint64_t (*get)(const EngineCounts&);
  void (*set)(EngineCounts&, uint64_t);
};

// All of them, in the order above.
std::span<const Counter> engine_counters();

struct HistogramInfo {
  const char* metric;  // "time_to_first_token_seconds"
  const char* help;
  Histogram EngineTotals::*member;
};
std::span<const HistogramInfo> engine_histograms();

}  // namespace sluice::engine
