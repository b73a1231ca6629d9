#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/client.h"
#include "measure/exchange.h"
#include "measure/live_times.h"
#include "measure/trace.h"
#include "measure/traffic_mix.h"

// A load test with lasting traffic, where loadtest.h has waves: clients that each send their next
// request when the last one has ended (closed loop), or requests that arrive at random moments
// whether the server keeps up or not (open loop).
namespace sluice::measure {

constexpr int kMaxClients = 1024;
// Who leaves a reply does so at one of its first pieces of text, each as likely.
constexpr int kLeavesBy = 16;
constexpr int kMaxInFlight = 4096;  // of an open loop; what arrives beyond waits at the client

enum class TrafficKind {
  kStories,  // "tell a story in N words:", cut at max_tokens: replies of one length
  kMixed,    // prompts and replies of mixed length, see traffic_mix.h
  kSized,    // the same words, lengths of the user's own
  kPrompts,  // the user's own prompts, one after the other and again from the first
  kTrace,    // made-up prompts of a trace's lengths, and with its shared beginnings
};

// "clients", "mixed", "sized", "prompts", "trace"
std::string_view traffic_name(TrafficKind kind);

// How requests come: one of these is set.
struct Arrivals {
  int num_clients = 0;  // closed loop
  double rate = 0;      // open loop: a Poisson process of so many requests a second
  double speedup = 0;   // open loop: when those of the trace came, so many times as fast

  bool is_open_loop() const { return rate > 0 || speedup > 0; }
};

struct TrafficOptions {
  http::Url url;
  std::string api_key;                         // "": none
  std::map<std::string, std::string> headers;  // more of them, of every request
  Api api = Api::kOpenai;
  std::string model;
  TrafficKind kind = TrafficKind::kStories;
  Mix mix = Mix::kShareGpt;        // of mixed traffic
  LengthSpec input, output;        // of sized traffic, in tokens: about a word each
  std::vector<Prompt> prompts;     // of the user's own; max_tokens holds where they say nothing
  Trace trace;                     // of that kind, and no other
  std::string trace_name;          // its file's
  int shared_prefix_tokens = 0;    // the same words before every prompt, or a chat's first one
  int num_turns = 1;               // of a chat of a client's, each with all before it; no open loop
  double cancel_rate = 0;          // share of the requests that their client leaves, see kLeavesBy
  int story_words = 800;           // asked for; more than max_tokens, or replies end early
  int max_tokens = 128;            // of a story
  std::vector<Arrivals> arrivals;  // one point of the report each
  // A point sends for `duration`, or until `num_requests` are sent when that is not 0; a trace to
  // its end when both are 0. What runs then may go on for `drain`; the rest is cut off.
  std::chrono::milliseconds duration{30'000};
  int num_requests = 0;
  std::chrono::milliseconds drain{60'000};
  uint64_t seed = 1;  // of lengths, words, arrivals; request i is sampled with seed + i
  std::optional<double> temperature;
  bool ignore_end = false;                          // see ChatQuery
  bool warm_up = true;                              // one request of one token first
  std::chrono::milliseconds idle_timeout{600'000};  // longest silence of a reply
};

struct TrafficRecord : ExchangeRecord {
  int index = 0;                   // within the test
  int place = 0;                   // within its point
  std::chrono::nanoseconds due{};  // when it arrived; `sent` is later only if the client was late
  int max_tokens = 0;              // asked for
  int turn = 1;                    // of its chat
  int leaves_at = 0;               // this piece of text; 0: it stays

  bool is_refused() const { return http_status == 503 || http_status == 429; }
  // Time to the first text since it was due, so that a late client does not flatter the server;
  // none without text.
  std::optional<double> ttft_seconds() const;
};

struct TrafficPoint {
  Arrivals arrivals;
  std::chrono::nanoseconds begin{};  // sending: the span that rates are taken over
  std::chrono::nanoseconds end{};    // (of a number of requests: up to the last byte)
  double client_cpu_seconds = 0;     // this process's own, in that span
  std::vector<TrafficRecord> requests =
      {};  // in the order of their end; those cut off are cancelled
};

struct TrafficResult {
  std::chrono::system_clock::time_point started_at;
  double warm_up_seconds = 0;
  std::vector<TrafficPoint> points;
  bool was_stopped = false;  // before its end: told to, or the server is gone
};

struct TrafficProgress {
  Arrivals arrivals = {};
  int num_running = 0;
  int num_done = 0;  // failures included
  int num_refused = 0;
  int num_errors = 0;            // refusals not counted in
  double seconds = 0;            // since the point began
  double tokens_per_second = 0;  // since then; counts pieces
  int64_t num_pieces = 0;        // since then
  LiveLatency latency = {};      // so far
  double share_done = 0;         // of the time, or of the requests, 0 to 1
  int place = 0;                 // of the points, from 1
  bool is_warm_up = false;
  bool is_last = false;  // the point is done
};

// Sends all points one after the other. A client that was refused or failed waits 0.1 s before its
// next request. `on_progress` is called about ten times a second and after each point, from the
// calling thread. Setting `stop` cuts off what runs and returns what is done. Failures are records;
// the test ends early when the server is gone (32 requests in a row got no reply). Throws
// Error(kInvalidArgument) for options out of range, and the error of the warm-up request.
TrafficResult run_traffic(const TrafficOptions& options, const std::atomic<bool>& stop,
                          const std::function<void(const TrafficProgress&)>& on_progress);

// The same with points that are chosen as it goes, from those done: none ends the test.
using NextArrivals = std::function<std::optional<Arrivals>(const std::vector<TrafficPoint>&)>;
TrafficResult run_traffic_points(const TrafficOptions& options, const NextArrivals& next,
                                 const std::atomic<bool>& stop,
                                 const std::function<void(const TrafficProgress&)>& on_progress);

}  // namespace sluice::measure
