#pragma once

#include <chrono>
#include <cstdint>
#include <span>

// What an engine tells in numbers, each written down once: the line below makes the member, its
// place in the status document and in monitors, and, for totals, in the sum over engines.
namespace sluice::engine {

// GAUGE(type, member, what it is): how things are now.
// TOTAL(type, member, what it is): counts up since the engine's start.
#define SLUICE_ENGINE_COUNTERS(GAUGE, TOTAL)                                                       \
  GAUGE(int, num_running, "requests that run")                                                     \
  GAUGE(int, num_waiting, "requests in the queue")                                                 \
  GAUGE(int, num_blocks_total, "blocks of the cache")                                              \
  GAUGE(int, num_blocks_used, "blocks held by running requests")                                   \
  GAUGE(int, num_blocks_cached, "free blocks that hold a prefix which can be used again")          \
  GAUGE(std::chrono::nanoseconds, estimated_wait,                                                  \
        "until one more request would begin; 0: at once, or not known")                            \
  TOTAL(uint64_t, num_requests_finished, "requests that ended, those cancelled counted in")        \
  TOTAL(uint64_t, num_requests_cancelled, "requests that were cancelled")                          \
  TOTAL(uint64_t, num_requests_rejected, "requests refused because the queue was full")            \
  TOTAL(uint64_t, num_prompt_tokens, "tokens prefilled, those computed again counted in")          \
  TOTAL(uint64_t, num_cached_tokens, "tokens not prefilled thanks to the prefix cache")            \
  TOTAL(uint64_t, num_output_tokens, "tokens sampled")                                             \
  TOTAL(uint64_t, num_draft_tokens, "tokens guessed ahead")                                        \
  TOTAL(uint64_t, num_accepted_tokens, "tokens guessed ahead that were right")                     \
  TOTAL(uint64_t, num_steps, "forward passes")                                                     \
  TOTAL(uint64_t, num_preemptions, "requests that gave their blocks back and were computed again") \
  TOTAL(uint64_t, num_shifts, "contexts that were full and forgot half")                           \
  TOTAL(uint64_t, num_refills, "shifts that had to be computed while the reply waited")            \
  TOTAL(std::chrono::nanoseconds, forward_time, "time in forward passes")                          \
  TOTAL(std::chrono::nanoseconds, schedule_time, "time of the engine's thread beside them")

#define SLUICE_MEMBER(type, member, help) type member{};
#define SLUICE_NOTHING(type, member, help)

// How things are now.
struct EngineGauges {
  SLUICE_ENGINE_COUNTERS(SLUICE_MEMBER, SLUICE_NOTHING)
};

// What only grows. Of engines that are gone they can be added up.
struct EngineTotals {
  SLUICE_ENGINE_COUNTERS(SLUICE_NOTHING, SLUICE_MEMBER)
  EngineTotals& operator+=(const EngineTotals& other);
};

#undef SLUICE_MEMBER
#undef SLUICE_NOTHING

struct EngineCounts : EngineGauges, EngineTotals {};

enum class CounterKind { kGauge, kTotal };
enum class CounterUnit { kCount, kNanoseconds };

struct Counter {
  const char* name;  // the member's; behind it "_ns" for nanoseconds
  const char* help;
  CounterKind kind;
  CounterUnit unit;
  uint64_t (*get)(const EngineCounts&);
  void (*set)(EngineCounts&, uint64_t);
};

// All of them, in the order above.
std::span<const Counter> engine_counters();

}  // namespace sluice::engine
