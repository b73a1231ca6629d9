#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "engine/counters.h"
#include "engine/records.h"
#include "engine/request.h"
#include "text/tokenizer.h"

namespace sluice::engine {

struct EngineOptions {
  int vocab_size = 0;
  int embedding_length = 0;  // 0: the backend gives no hidden states, embeddings are refused
  Pooling pooling = Pooling::kLast;
  int context_length = 4096;   // most tokens of one sequence, prompt and reply
  int num_blocks = 0;          // cache blocks of backend::kBlockTokens tokens
  int max_batch_tokens = 512;  // token budget of one step; at most what the backend was loaded for
  int max_sequences = 64;      // most sequences in one step
  int max_logit_rows = 64;     // most rows of logits in one step; at least max_sequences
  int max_queue = 512;         // most requests waiting
  bool enable_prefix_cache = true;
  bool speculate = false;  // requests that do not say use prompt look-up
  // Guesses are checked where steps of late promise so many times the tokens per second; 0: always,
  // for tests.
  double min_draft_gain = 1.03;
  // Prefill is cut so that a step with it takes at most this many times one without: the bound of
  // the ITL that running sequences see while others' prompts are computed. When all places are
  // taken, as long as it takes with all who will soon decode. 0: no bound.
  double max_itl_stretch = 2.0;
};

// One line of the request table that monitors show.
struct RequestStatus {
  RequestId id = 0;
  uint64_t tag = 0;  // Request::tag
  bool is_running = false;
  int queue_position = 0;                     // 1 is next; 0 when running
  std::chrono::nanoseconds estimated_wait{};  // as QueuePlace
  int num_prompt_tokens = 0;
  int num_cached_tokens = 0;
  int num_prefilled_tokens = 0;
  int num_output_tokens = 0;
  std::chrono::nanoseconds age{};
  std::chrono::nanoseconds queued{};               // of its age, until its first step
  std::chrono::nanoseconds time_to_first_token{};  // since its arrival; 0: none yet
  std::chrono::nanoseconds mean_token_time{};      // between those of its reply; 0: fewer than two
};

// A snapshot, cheap to take from any thread: how things were before the latest step, plus what was
// submitted since.
struct EngineStats : EngineCounts {
  // All running ones, then the first of the queue in its order: 256 in all, or all that run.
  std::vector<RequestStatus> requests;
};

// Runs many sequences at once on one model. One thread ("engine") owns every sequence, the block
// pool and the prefix cache, so there are no locks inside; others submit and cancel through a
// queue.
class Engine {
 public:
  // `backend`, with a model and a cache, and `tokenizer` must outlive the engine, whose thread
  // alone uses the backend meanwhile. When a step throws, its sequences end with kError. Throws
  // Error(kInvalidArgument) naming an option out of range.
  Engine(backend::Backend& backend, const text::Tokenizer& tokenizer, const EngineOptions& options);
  // Ends every request with kCancelled and joins the thread. Not from a callback.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Queues a request. Throws Error: kBusy when the queue is full or the engine drains,
  // kInvalidArgument for an empty prompt or parameters out of range, kContextOverflow when the
  // prompt leaves no room for a reply, kUnsupported for an embedding without hidden states.
  struct Ticket {
    RequestId id = 0;
    QueuePlace place;  // at this moment
  };
  Ticket submit(Request request);

  // Throws what submit() would if the queue is full now: to be asked before a prompt is prepared.
  void require_room() const;

  // The request ends with kCancelled before the next step; unknown ids are ignored.
  void cancel(RequestId id);
  // The request ends with kEndOfSequence before the next step, as its client has all that it wants.
  void end(RequestId id);

  // From any thread.
  EngineStats stats() const;
  // The latest steps and ended requests, from a number on: see RecordLog::since().
  StepLog::Page steps(uint64_t first) const;
  RequestLog::Page ended_requests(uint64_t first) const;

  // What the destructor does. Returns what was counted till the end.
  EngineTotals stop();

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace sluice::engine
