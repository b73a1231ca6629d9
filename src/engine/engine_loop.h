#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/queue_pace.h"
#include "engine/request_state.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"

namespace sluice::engine {

// What is behind an Engine: engine.cpp has the steps, engine_status.cpp what others get to know.
class Engine::Loop {
 public:
  Loop(backend::Backend& backend, const text::Tokenizer& tokenizer, const EngineOptions& options);
  ~Loop();

  Ticket submit(Request request);
  void require_room();
  void end(RequestId id, FinishReason reason);
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
  void list_inbox(Clock::time_point now, EngineStats& stats) const noexcept;

  // All on the engine's thread.
  void run();
  bool take_inbox();
  void take_arrivals();
  void end_broken();
  void enqueue(RequestId id, RequestState& state);
  void end_expired();
  void measure_pace(Clock::time_point now);
  void tell_places(Clock::time_point now);
  void tell_newcomers();
  void tell_place(RequestId id, int position);
  void step();
  void set_drafts();
  void fill_batch(std::span<const Chunk> chunks);
  backend::StepResult run_step(std::span<const Chunk> chunks, StepRecord& record);
  void trace_step(std::span<const Chunk> chunks, const StepRecord& record) noexcept;
  void work_beside_step(Clock::time_point now);
  void check_result(const backend::StepResult& result) const;
  void hand_out(std::span<const Chunk> chunks, const backend::StepResult& result);
  std::optional<Ending> advance(const Chunk& chunk, std::span<backend::SampledToken> drawn,
                                std::span<const float> states);
  std::optional<Ending> pool(const Chunk& chunk, std::span<const float> states);
  std::optional<Ending> generate(const Chunk& chunk, std::span<backend::SampledToken> drawn);
  void count_token(const RequestState::Outcome& outcome);
  void count_end(const RequestRecord& record, const RequestState& state, Clock::time_point now);
  void record_draft(RequestState& state, int num_draft, int num_accepted);
  void emit(RequestId id);
  void finish(RequestId id, FinishReason reason, const std::string& error = {});
  void finish_all(FinishReason reason, const std::string& error = {}) noexcept;
  void check_when_idle() const noexcept;
  void publish_stats() noexcept;
  std::vector<RequestStatus> list_requests(Clock::time_point now) const;
  RequestStatus status_of(const Sequence& sequence, Clock::time_point now) const;

  backend::Backend& backend_;
  const text::Tokenizer& tokenizer_;
  const EngineOptions options_;

  // Owned by the engine's thread.
  Scheduler scheduler_;
  std::map<RequestId, RequestState> states_;
  backend::Batch batch_;
  std::vector<Constraint*> constraints_;  // of the step: their masks are not filled yet
  std::vector<RequestId> with_news_;      // whose tokens of the latest step were not told yet
  std::vector<DraftOffer> offers_;
  EngineTotals totals_;
  std::chrono::nanoseconds fastest_decode_{};
  QueuePace pace_;
  uint64_t num_ended_ = 0;                // of the requests that had begun
  std::vector<RequestId> newcomers_;      // since the latest step
  std::map<RequestId, int> told_places_;  // of those that want to know: 0 when not told yet
  Clock::time_point last_told_;
  bool has_broken_ = false;  // callbacks that failed

  // Shared, under the mutex.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<RequestId, RequestState> inbox_;
  std::vector<std::pair<RequestId, FinishReason>> ends_;  // that were asked for
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
