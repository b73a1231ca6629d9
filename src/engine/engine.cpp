#include "engine/engine.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/threads.h"
#include "engine/reply.h"
#include "engine/scheduler.h"

namespace sluice::engine {
namespace {

constexpr int kShortList = 256;  // requests that are listed for monitors at every step

std::string message_of(std::exception_ptr exception) {
  try {
    std::rethrow_exception(std::move(exception));
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "unknown exception";
  }
}

void require_option(bool is_valid, const std::string& message) {
  if (!is_valid) throw Error(ErrorCode::kInvalidArgument, message);
}

SchedulerOptions scheduler_options(const EngineOptions& options) {
  require_option(options.vocab_size > 0, "vocab_size must be positive");
  require_option(options.context_length > 1, "context_length must be at least 2");
  require_option(options.max_queue > 0, "max_queue must be positive");
  return {options.num_blocks, options.max_batch_tokens, options.max_sequences,
          options.enable_prefix_cache};
}

}  // namespace

class Engine::Loop {
 public:
  Loop(Forward forward, const text::Tokenizer& tokenizer, const EngineOptions& options);
  ~Loop();

  Ticket submit(Request request);
  void cancel(RequestId id);
  EngineStats stats() const;

 private:
  struct Arrival {
    RequestId id = 0;
    Request request;
    Clock::time_point submitted;
  };

  int token_limit(const Request& request) const;

  // All on the engine's thread.
  void run();
  bool take_inbox();
  void end_expired();
  void step();
  backend::StepOutput run_forward(std::span<const Chunk> chunks);
  void advance(const Chunk& chunk, std::span<float> logits);
  void finish(RequestId id, FinishReason reason, const std::string& error = {});
  void finish_all(FinishReason reason, const std::string& error = {});
  void publish_stats();
  std::vector<RequestStatus> list_requests(Clock::time_point now) const;
  RequestStatus status_of(const Sequence& sequence, Clock::time_point now) const;

  const Forward forward_;
  const text::Tokenizer& tokenizer_;
  const EngineOptions options_;

  // Owned by the engine's thread.
  Scheduler scheduler_;
  std::unordered_map<RequestId, Reply> replies_;
  backend::Batch batch_;
  EngineStats totals_;  // the counters
  Clock::time_point last_listed_;
  Clock::duration last_list_cost_{};

  // Shared, under the mutex.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Arrival> inbox_;
  std::vector<RequestId> cancels_;
  bool is_stopping_ = false;
  RequestId last_id_ = 0;
  int num_waiting_ = 0;  // in the scheduler; the inbox comes on top
  uint64_t num_rejected_ = 0;
  EngineStats published_;

  std::thread thread_;  // last: starts when all the rest is there
};

Engine::Loop::Loop(Forward forward, const text::Tokenizer& tokenizer, const EngineOptions& options)
    : forward_(std::move(forward)),
      tokenizer_(tokenizer),
      options_(options),
      scheduler_(scheduler_options(options)) {
  published_.num_blocks_total = options.num_blocks;
  thread_ = std::thread([this] { run(); });
}

Engine::Loop::~Loop() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

int Engine::Loop::token_limit(const Request& request) const {
  const int limit = std::min(options_.context_length, scheduler_.max_sequence_tokens());
  return request.context_limit > 0 ? std::min(limit, request.context_limit) : limit;
}

Engine::Ticket Engine::Loop::submit(Request request) {
  check_request(request, options_.vocab_size);
  const int limit = token_limit(request);
  if (request.prompt.size() >= static_cast<size_t>(limit)) {
    throw Error(ErrorCode::kContextOverflow,
                "the prompt has " + std::to_string(request.prompt.size()) +
                    " tokens and the context holds " + std::to_string(limit) +
                    " with the reply: shorten the prompt or raise the context length");
  }
  Arrival arrival{0, std::move(request), Clock::now()};
  {
    std::lock_guard lock(mutex_);
    if (is_stopping_) throw Error(ErrorCode::kBusy, "the model is being unloaded; try again later");
    if (static_cast<int>(inbox_.size()) + num_waiting_ >= options_.max_queue) {
      ++num_rejected_;
      throw Error(ErrorCode::kBusy, "the queue is full (" + std::to_string(options_.max_queue) +
                                        " requests are waiting); try again later");
    }
    arrival.id = ++last_id_;
    inbox_.push_back(std::move(arrival));
    wake_.notify_one();
    return {last_id_, {}};
  }
}

void Engine::Loop::cancel(RequestId id) {
  std::lock_guard lock(mutex_);
  cancels_.push_back(id);
  wake_.notify_one();
}

EngineStats Engine::Loop::stats() const {
  const Clock::time_point now = Clock::now();
  std::lock_guard lock(mutex_);
  EngineStats stats = published_;
  stats.num_requests_rejected = num_rejected_;
  for (const Arrival& arrival : inbox_) {
    RequestStatus status;
    status.id = arrival.id;
    status.queue_position = ++stats.num_waiting;
    status.num_prompt_tokens = static_cast<int>(arrival.request.prompt.size());
    status.age = now - arrival.submitted;
    stats.requests.push_back(status);
  }
  return stats;
}

void Engine::Loop::run() {
  set_thread_name("engine");
  while (take_inbox()) {
    end_expired();
    if (scheduler_.is_idle()) continue;
    try {
      step();
    } catch (...) {
      // A bug of ours or no memory: start again from an empty table.
      finish_all(FinishReason::kError, message_of(std::current_exception()));
    }
  }
  finish_all(FinishReason::kCancelled);
}

// Sleeps while there is nothing to do; false when the engine is to end.
bool Engine::Loop::take_inbox() {
  std::vector<Arrival> arrivals;
  std::vector<RequestId> cancels;
  if (scheduler_.is_idle()) publish_stats();
  bool is_stopping = false;
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] {
      return is_stopping_ || !inbox_.empty() || !cancels_.empty() || !scheduler_.is_idle();
    });
    arrivals.swap(inbox_);
    cancels.swap(cancels_);
    is_stopping = is_stopping_;
    num_waiting_ = scheduler_.num_waiting() + static_cast<int>(arrivals.size());
  }
  for (Arrival& arrival : arrivals) {
    std::vector<text::TokenId> prompt = std::move(arrival.request.prompt);
    scheduler_.add(arrival.id, std::move(prompt), arrival.request.deadline);
    const int limit = token_limit(arrival.request);
    replies_.try_emplace(arrival.id, std::move(arrival.request), tokenizer_, limit,
                         arrival.submitted);
  }
  for (const RequestId id : cancels) {
    if (replies_.contains(id)) finish(id, FinishReason::kCancelled);
  }
  return !is_stopping;
}

void Engine::Loop::end_expired() {
  for (const RequestId id : scheduler_.expired(Clock::now())) {
    finish(id, FinishReason::kDeadline);
  }
}

void Engine::Loop::step() {
  const Clock::time_point begin = Clock::now();
  const std::span<const Chunk> planned = scheduler_.plan(begin);
  // Finishing a sequence must not touch what we walk through.
  const std::vector<Chunk> chunks(planned.begin(), planned.end());
  publish_stats();

  const Clock::time_point forward_begin = Clock::now();
  backend::StepOutput output;
  std::exception_ptr failure;
  try {
    output = run_forward(chunks);
  } catch (...) {
    failure = std::current_exception();
  }
  const Clock::time_point forward_end = Clock::now();
  ++totals_.num_steps;
  totals_.forward_time += forward_end - forward_begin;

  if (failure) {
    const std::string message = message_of(failure);
    for (const Chunk& chunk : chunks) finish(chunk.sequence->id, FinishReason::kError, message);
  } else {
    scheduler_.complete();
    std::span<float> logits = output.logits;
    for (const Chunk& chunk : chunks) {
      if (!chunk.wants_logits) continue;
      advance(chunk, logits.first(options_.vocab_size));
      logits = logits.subspan(options_.vocab_size);
    }
  }
  totals_.schedule_time += (Clock::now() - forward_end) + (forward_begin - begin);
}

backend::StepOutput Engine::Loop::run_forward(std::span<const Chunk> chunks) {
  make_batch(chunks, batch_);
  const backend::StepOutput output = forward_(batch_);
  if (output.logits.size() != batch_.logit_rows.size() * static_cast<size_t>(options_.vocab_size)) {
    throw Error(ErrorCode::kInternal, "the backend gave logits of the wrong size");
  }
  return output;
}

void Engine::Loop::advance(const Chunk& chunk, std::span<float> logits) {
  Sequence& sequence = *chunk.sequence;
  Reply& reply = replies_.at(sequence.id);
  Reply::Outcome outcome;
  std::string error;
  try {
    outcome = reply.advance(sequence, logits, Clock::now());
  } catch (...) {
    outcome.reason = FinishReason::kError;
    error = message_of(std::current_exception());
  }
  if (outcome.token) ++totals_.num_output_tokens;
  if (reply.callback_error()) {
    outcome.reason = FinishReason::kError;
    error = *reply.callback_error();
  }
  if (outcome.reason) {
    finish(sequence.id, *outcome.reason, error);
  } else {
    scheduler_.append(sequence, *outcome.token);
  }
}

void Engine::Loop::finish(RequestId id, FinishReason reason, const std::string& error) {
  const auto found = replies_.find(id);
  Reply reply = std::move(found->second);
  replies_.erase(found);
  reply.finish(*scheduler_.find(id), reason, error, Clock::now());
  scheduler_.remove(id);
  ++totals_.num_requests_finished;
}

void Engine::Loop::finish_all(FinishReason reason, const std::string& error) {
  std::vector<RequestId> ids;
  for (const auto& [id, reply] : replies_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  for (const RequestId id : ids) finish(id, reason, error);
}

void Engine::Loop::publish_stats() {
  const Clock::time_point now = Clock::now();
  EngineStats stats = totals_;
  stats.num_running = scheduler_.num_running();
  stats.num_waiting = scheduler_.num_waiting();
  stats.num_blocks_total = scheduler_.pool().num_total();
  stats.num_blocks_used = scheduler_.pool().num_used();
  stats.num_blocks_cached = scheduler_.pool().num_cached();
  stats.num_prompt_tokens = scheduler_.counters().num_prefilled_tokens;
  stats.num_cached_tokens = scheduler_.counters().num_cached_tokens;
  stats.num_preemptions = scheduler_.counters().num_preemptions;
  // Thousands of requests take a while to list: at most 2% of the time goes into it.
  const bool is_list_due = stats.num_running + stats.num_waiting <= kShortList ||
                           now - last_listed_ >= 50 * last_list_cost_;
  if (is_list_due) {
    stats.requests = list_requests(now);
    last_listed_ = Clock::now();
    last_list_cost_ = last_listed_ - now;
  }
  std::lock_guard lock(mutex_);
  if (!is_list_due) stats.requests.swap(published_.requests);
  std::swap(published_, stats);
  num_waiting_ = scheduler_.num_waiting();
}

std::vector<RequestStatus> Engine::Loop::list_requests(Clock::time_point now) const {
  std::vector<RequestStatus> requests;
  requests.reserve(static_cast<size_t>(scheduler_.num_running() + scheduler_.num_waiting()));
  scheduler_.for_each_running([&](const Sequence& sequence) {
    requests.push_back(status_of(sequence, now));
    requests.back().is_running = true;
  });
  int position = 0;
  scheduler_.for_each_waiting([&](const Sequence& sequence) {
    requests.push_back(status_of(sequence, now));
    requests.back().queue_position = ++position;
  });
  return requests;
}

RequestStatus Engine::Loop::status_of(const Sequence& sequence, Clock::time_point now) const {
  RequestStatus status;
  status.id = sequence.id;
  status.num_prompt_tokens = sequence.num_prompt_tokens;
  status.num_cached_tokens = sequence.num_cached_tokens;
  status.num_prefilled_tokens = std::min(sequence.num_computed, sequence.num_prompt_tokens);
  status.num_output_tokens = static_cast<int>(sequence.tokens.size()) - sequence.num_prompt_tokens;
  status.age = now - replies_.at(sequence.id).submitted();
  return status;
}

Engine::Engine(Forward forward, const text::Tokenizer& tokenizer, const EngineOptions& options)
    : loop_(std::make_unique<Loop>(std::move(forward), tokenizer, options)) {}

Engine::~Engine() = default;

Engine::Ticket Engine::submit(Request request) { return loop_->submit(std::move(request)); }

void Engine::cancel(RequestId id) { loop_->cancel(id); }

EngineStats Engine::stats() const { return loop_->stats(); }

}  // namespace sluice::engine
