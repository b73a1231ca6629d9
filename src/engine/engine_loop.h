#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/queue_pace.h"
#include "engine/reply.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"

namespace sluice::engine {

// What is behind an Engine: engine.cpp has the steps, engine_status.cpp what others get to know.
class Engine::Loop {
 public:
  Loop(Forward forward, const text::Tokenizer& tokenizer, const EngineOptions& options);
  ~Loop();

  Ticket submit(Request request);
  void require_room();
  void cancel(RequestId id);
  void cancel_all();
  EngineStats stats() const;
  StepLog::Page steps(uint64_t first) const { return steps_.since(first); }
  RequestLog::Page ended_requests(uint64_t first) const { return ended_requests_.since(first); }
  EngineTotals stop();

 private:
  // Why a sequence is over.
  struct Ending {
    FinishReason reason;
    std::string error;
  };

  void refuse_when_full();
  int token_limit(const Request& request) const;
  void check_fit(const Request& request) const;
  QueuePlace place_behind(int num_ahead) const;

  // All on the engine's thread.
  void run();
  bool take_inbox();
  void take_in(std::map<RequestId, Reply> arrivals);
  void enqueue(RequestId id, Reply& reply);
  void end_expired();
  void measure_pace(Clock::time_point now);
  void tell_places(Clock::time_point now);
  void tell_newcomers();
  void tell_place(RequestId id, int position);
  void step();
  void set_drafts();
  backend::StepOutput run_forward(std::span<const Chunk> chunks);
  void hand_out(std::span<const Chunk> chunks, const backend::StepOutput& output);
  std::optional<Ending> advance(const Chunk& chunk, const backend::StepOutput& output,
                                size_t first_row, std::span<const float> states);
  std::optional<Ending> pool(const Chunk& chunk, std::span<const float> states);
  std::optional<Ending> generate(const Chunk& chunk, const backend::StepOutput& output,
                                 size_t first_row);
  LogitRow logit_row(const backend::StepOutput& output, size_t index) const;
  void record_draft(Reply& reply, int num_draft, int num_accepted);
  void emit(RequestId id);
  void finish(RequestId id, FinishReason reason, const std::string& error = {});
  void finish_all(FinishReason reason, const std::string& error = {}) noexcept;
  void check_when_idle() const noexcept;
  void publish_stats() noexcept;
  std::vector<RequestStatus> list_requests(Clock::time_point now) const;
  RequestStatus status_of(const Sequence& sequence, Clock::time_point now) const;

  const Forward forward_;
  const text::Tokenizer& tokenizer_;
  const EngineOptions options_;

  // Owned by the engine's thread.
  Scheduler scheduler_;
  std::map<RequestId, Reply> replies_;
  backend::Batch batch_;
  std::vector<DraftOffer> offers_;
  EngineTotals totals_;
  QueuePace pace_;
  uint64_t num_ended_ = 0;                // of the requests that had begun
  std::vector<RequestId> newcomers_;      // since the latest step
  std::map<RequestId, int> told_places_;  // of those that want to know: 0 when not told yet
  Clock::time_point last_told_;
  std::vector<RequestId> broken_;  // whose callback failed

  // Shared, under the mutex.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<RequestId, Reply> inbox_;
  std::vector<RequestId> cancels_;
  RequestId last_cancelled_ = 0;  // it and all before it are to end, too
  bool is_stopping_ = false;
  RequestId last_id_ = 0;
  int num_waiting_ = 0;      // in the scheduler; the inbox comes on top
  int num_free_places_ = 0;  // for requests that need not wait
  std::chrono::nanoseconds queue_interval_{};
  uint64_t num_rejected_ = 0;
  EngineStats published_;

  StepLog steps_;
  RequestLog ended_requests_;

  std::thread thread_;  // last: starts when all the rest is there
};

}  // namespace sluice::engine
