#include "engine/engine.h"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/threads.h"
#include "engine/engine_loop.h"

namespace sluice::engine {
namespace {

void require_option(bool is_valid, const std::string& message) {
  if (!is_valid) throw Error(ErrorCode::kInvalidArgument, message);
}

SchedulerOptions scheduler_options(const EngineOptions& options) {
  require_option(options.vocab_size > 0, "vocab_size must be positive");
  require_option(options.context_length > 1, "context_length must be at least 2");
  require_option(options.max_queue > 0, "max_queue must be positive");
  return {options.num_blocks,     options.max_batch_tokens, options.max_sequences,
          options.max_logit_rows, options.max_itl_stretch,  options.enable_prefix_cache};
}

StepRecord record_of(std::span<const Chunk> chunks) {
  StepRecord record;
  for (const Chunk& chunk : chunks) {
    if (!chunk.is_successor()) ++record.num_sequences;
    (chunk.is_decode ? record.num_decode_rows : record.num_prefill_rows) += chunk.num_tokens;
    record.num_draft_rows += chunk.num_draft_tokens;
  }
  return record;
}

}  // namespace

Engine::Loop::Loop(Forward forward, const text::Tokenizer& tokenizer, const EngineOptions& options)
    : forward_(std::move(forward)),
      tokenizer_(tokenizer),
      options_(options),
      scheduler_(scheduler_options(options)),
      pace_(options.max_sequences),
      num_free_places_(options.max_sequences) {
  published_.num_blocks_total = options.num_blocks;
  thread_ = start_thread("engine", [this] { run(); });
}

Engine::Loop::~Loop() { stop(); }

EngineTotals Engine::Loop::stop() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
    publish_stats();
  }
  return stats();
}

int Engine::Loop::token_limit(const Request& request) const {
  const int limit = std::min(options_.context_length, scheduler_.max_sequence_tokens());
  return request.context_limit > 0 ? std::min(limit, request.context_limit) : limit;
}

void Engine::Loop::check_fit(const Request& request) const {
  const bool is_embedding = request.task == Task::kEmbed;
  if (is_embedding && options_.embedding_length == 0) {
    throw Error(ErrorCode::kUnsupported,
                "this model was loaded without hidden states: it gives no embeddings");
  }
  const int limit = token_limit(request);
  if (request.prompt.size() < static_cast<size_t>(limit) + (is_embedding ? 1 : 0)) return;
  throw Error(ErrorCode::kContextOverflow,
              "the prompt has " + std::to_string(request.prompt.size()) +
                  " tokens and the context holds " + std::to_string(limit) +
                  (is_embedding ? "" : " with the reply") +
                  ": shorten the prompt or raise the context length");
}

// Under the mutex.
void Engine::Loop::refuse_when_full() {
  if (is_stopping_) throw Error(ErrorCode::kBusy, "the model is being unloaded; try again later");
  if (static_cast<int>(inbox_.size()) + num_waiting_ < options_.max_queue) return;
  ++num_rejected_;
  throw Error(ErrorCode::kBusy, "the queue is full (" + std::to_string(options_.max_queue) +
                                    " requests are waiting); try again later");
}

void Engine::Loop::require_room() {
  std::lock_guard lock(mutex_);
  refuse_when_full();
}

Engine::Ticket Engine::Loop::submit(Request request) {
  check_request(request, options_.vocab_size);
  check_fit(request);
  if (!request.speculate) request.speculate = options_.speculate;
  const int limit = token_limit(request);
  Reply reply(std::move(request), tokenizer_, limit, Clock::now());
  std::lock_guard lock(mutex_);
  refuse_when_full();
  const int num_ahead = num_waiting_ + static_cast<int>(inbox_.size());
  const Ticket ticket{++last_id_, place_behind(num_ahead)};
  inbox_.emplace_hint(inbox_.end(), ticket.id, std::move(reply));
  wake_.notify_one();
  return ticket;
}

void Engine::Loop::cancel(RequestId id) {
  std::lock_guard lock(mutex_);
  cancels_.push_back(id);
  wake_.notify_one();
}

void Engine::Loop::cancel_all() {
  std::lock_guard lock(mutex_);
  last_cancelled_ = last_id_;
  wake_.notify_one();
}

void Engine::Loop::run() {
  for (bool is_running = true; is_running;) {
    try {
      is_running = take_inbox();
      if (is_running) end_expired();
      if (is_running && !scheduler_.is_idle()) step();
    } catch (...) {
      // A bug of ours or no memory: start again from an empty table.
      finish_all(FinishReason::kError, message_of(std::current_exception()));
    }
  }
  finish_all(FinishReason::kCancelled);
}

// Sleeps while there is nothing to do; false when the engine is to end.
bool Engine::Loop::take_inbox() {
  std::map<RequestId, Reply> arrivals;
  std::vector<RequestId> cancels;
  RequestId last_cancelled = 0;
  if (scheduler_.is_idle()) {
    check_when_idle();
    measure_pace(Clock::now());
    publish_stats();
  }
  bool is_stopping = false;
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] {
      return is_stopping_ || !inbox_.empty() || !cancels_.empty() || last_cancelled_ > 0 ||
             !scheduler_.is_idle();
    });
    arrivals.swap(inbox_);
    cancels.swap(cancels_);
    last_cancelled = std::exchange(last_cancelled_, 0);
    is_stopping = is_stopping_;
    num_waiting_ = scheduler_.num_waiting() + static_cast<int>(arrivals.size());
  }
  take_in(std::move(arrivals));
  for (const RequestId id : cancels) finish(id, FinishReason::kCancelled);
  while (!replies_.empty() && replies_.begin()->first <= last_cancelled) {
    finish(replies_.begin()->first, FinishReason::kCancelled);
  }
  for (const RequestId id : std::exchange(broken_, {})) {
    const auto reply = replies_.find(id);
    if (reply == replies_.end()) continue;
    finish(id, FinishReason::kError,
           "the event callback failed: " + *reply->second.callback_error());
  }
  return !is_stopping;
}

// All of them are among the replies before anything can fail: so each gets its final event.
void Engine::Loop::take_in(std::map<RequestId, Reply> arrivals) {
  if (arrivals.empty()) return;
  const RequestId first = arrivals.begin()->first;
  replies_.merge(arrivals);
  for (auto it = replies_.find(first); it != replies_.end();) {
    auto& [id, reply] = *it++;  // it may end here
    try {
      enqueue(id, reply);
    } catch (...) {
      finish(id, FinishReason::kError, message_of(std::current_exception()));
    }
  }
}

void Engine::Loop::enqueue(RequestId id, Reply& reply) {
  const std::optional<ContextShift> shift = reply.context_shift();
  Sequence& sequence = scheduler_.add(id, reply.take_prompt(), reply.request().deadline);
  sequence.shift = shift;
  if (reply.request().task == Task::kEmbed) {
    sequence.pooling = options_.pooling;
    sequence.may_read_cache = options_.pooling == Pooling::kLast;
  }
  newcomers_.push_back(id);
  if (reply.request().wants_queue_events) told_places_.emplace(id, 0);
}

void Engine::Loop::end_expired() {
  for (const RequestId id : scheduler_.expired(Clock::now())) {
    finish(id, FinishReason::kDeadline);
  }
}

void Engine::Loop::step() {
  const Clock::time_point begin = Clock::now();
  set_drafts();
  const std::span<const Chunk> planned = scheduler_.plan(begin);
  // Finishing a sequence must not touch what we walk through.
  const std::vector<Chunk> chunks(planned.begin(), planned.end());
  measure_pace(begin);
  tell_places(begin);
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

  StepRecord record = record_of(chunks);  // before requests end
  record.num_waiting = scheduler_.num_waiting();
  record.num_blocks_used = scheduler_.pool().num_used();
  if (failure) {
    const std::string message = message_of(failure);
    for (const Chunk& chunk : chunks) {
      if (!chunk.is_successor()) finish(chunk.sequence->id, FinishReason::kError, message);
    }
  } else {
    scheduler_.observe(forward_end - forward_begin);
    scheduler_.complete();
    hand_out(chunks, output);
  }
  const auto schedule_time = (Clock::now() - forward_end) + (forward_begin - begin);
  totals_.schedule_time += schedule_time;
  record.begin = begin;
  record.forward_time = forward_end - forward_begin;
  record.schedule_time = schedule_time;
  steps_.add(record);
}

backend::StepOutput Engine::Loop::run_forward(std::span<const Chunk> chunks) {
  make_batch(chunks, batch_);
  const backend::StepOutput output = forward_(batch_);
  if (output.logits.size() != batch_.logit_rows.size() * static_cast<size_t>(options_.vocab_size)) {
    throw Error(ErrorCode::kInternal, "the backend gave logits of the wrong size");
  }
  if (!output.maxima.empty() &&
      output.maxima.size() != batch_.logit_rows.size() *
                                  backend::num_maxima(static_cast<size_t>(options_.vocab_size))) {
    throw Error(ErrorCode::kInternal, "the backend gave maxima of the wrong size");
  }
  if (output.embeddings.size() !=
      batch_.embedding_rows.size() * static_cast<size_t>(options_.embedding_length)) {
    throw Error(ErrorCode::kInternal, "the backend gave hidden states of the wrong size");
  }
  return output;
}

// Guesses for the sequences of a step that will hold few rows and no prompt.
void Engine::Loop::set_drafts() {
  const int num_sequences = scheduler_.num_running();
  if (num_sequences > kMaxDraftedSequences) return;
  bool only_decodes = true;
  offers_.clear();
  scheduler_.for_each_running([&](const Sequence& running) {
    only_decodes = only_decodes && running.is_decoding();
    if (!only_decodes) return;
    DraftOffer offer = replies_.at(running.id).offer_draft(*scheduler_.find(running.id));
    if (offer.sequence != nullptr) offers_.push_back(offer);
  });
  if (!only_decodes || offers_.empty()) return;
  const auto time_of = [this](int num_rows) { return scheduler_.decode_time(num_rows); };
  grant_drafts(offers_, num_sequences, kMaxDraftedRows, time_of, options_.min_draft_gain);
  for (const DraftOffer& offer : offers_) {
    replies_.at(offer.sequence->id).set_draft(*offer.sequence, offer.num_granted);
  }
}

// All sequences are sampled first, and what that gave is told afterwards: each event may wake a
// thread, which would then compete with the sampling.
void Engine::Loop::hand_out(std::span<const Chunk> chunks, const backend::StepOutput& output) {
  size_t row = 0;
  std::span<const float> states = output.embeddings;
  const auto state_size = static_cast<size_t>(options_.embedding_length);
  std::vector<std::pair<RequestId, std::optional<Ending>>> advanced;
  advanced.reserve(chunks.size());
  for (const Chunk& chunk : chunks) {
    const size_t size = static_cast<size_t>(chunk.num_states) * state_size;
    if (chunk.sequence->pooling || chunk.wants_logits) {
      advanced.emplace_back(chunk.sequence->id, advance(chunk, output, row, states.first(size)));
    }
    states = states.subspan(size);
    if (chunk.wants_logits) row += static_cast<size_t>(1 + chunk.num_draft_tokens);
  }
  for (const auto& [id, ending] : advanced) {
    if (ending) {
      finish(id, ending->reason, ending->error);
    } else {
      emit(id);
    }
  }
}

// What goes wrong with one sequence ends that one.
std::optional<Engine::Loop::Ending> Engine::Loop::advance(const Chunk& chunk,
                                                          const backend::StepOutput& output,
                                                          size_t first_row,
                                                          std::span<const float> states) {
  try {
    return chunk.sequence->pooling ? pool(chunk, states) : generate(chunk, output, first_row);
  } catch (...) {
    return Ending{FinishReason::kError, message_of(std::current_exception())};
  }
}

std::optional<Engine::Loop::Ending> Engine::Loop::pool(const Chunk& chunk,
                                                       std::span<const float> states) {
  const Sequence& sequence = *chunk.sequence;
  const bool is_start = sequence.num_computed == chunk.num_tokens;
  replies_.at(sequence.id).pool(states, static_cast<size_t>(options_.embedding_length), is_start);
  if (sequence.num_remaining() > 0) return std::nullopt;
  return Ending{FinishReason::kEmbedded, {}};
}

// Samples row by row, as if each were a step of its own, for as long as the guesses are right.
std::optional<Engine::Loop::Ending> Engine::Loop::generate(const Chunk& chunk,
                                                           const backend::StepOutput& output,
                                                           size_t first_row) {
  Sequence& sequence = *chunk.sequence;
  Reply& reply = replies_.at(sequence.id);
  const std::vector<text::TokenId> draft = std::exchange(sequence.draft, {});
  for (int row = 0;; ++row) {
    const LogitRow logits = logit_row(output, first_row + static_cast<size_t>(row));
    const Reply::Outcome outcome = reply.advance(sequence, logits, Clock::now());
    if (outcome.token) ++totals_.num_output_tokens;
    const bool was_guessed = row < chunk.num_draft_tokens && outcome.token == draft[row];
    const bool is_last = !was_guessed || outcome.reason;
    if (is_last && chunk.num_draft_tokens > 0) {
      record_draft(reply, chunk.num_draft_tokens, row + (was_guessed ? 1 : 0));
    }
    if (outcome.reason) return Ending{*outcome.reason, {}};
    if (scheduler_.append(sequence, *outcome.token)) reply.forget_drafts();
    if (is_last) return std::nullopt;
    scheduler_.accept(sequence);
  }
}

LogitRow Engine::Loop::logit_row(const backend::StepOutput& output, size_t index) const {
  const auto vocab_size = static_cast<size_t>(options_.vocab_size);
  LogitRow row{output.logits.subspan(index * vocab_size, vocab_size)};
  if (output.maxima.empty()) return row;
  const size_t count = backend::num_maxima(vocab_size);
  row.maxima = output.maxima.subspan(index * count, count);
  return row;
}

void Engine::Loop::record_draft(Reply& reply, int num_draft, int num_accepted) {
  reply.record_draft(num_draft, num_accepted);
  totals_.num_draft_tokens += static_cast<uint64_t>(num_draft);
  totals_.num_accepted_tokens += static_cast<uint64_t>(num_accepted);
}

void Engine::Loop::emit(RequestId id) {
  Reply& reply = replies_.at(id);
  reply.emit();
  if (reply.callback_error()) broken_.push_back(id);
}

// The final event of a request, whatever becomes of its sequence.
void Engine::Loop::finish(RequestId id, FinishReason reason, const std::string& error) {
  auto node = replies_.extract(id);
  if (!node) return;
  const Sequence* sequence = scheduler_.find(id);
  ++totals_.num_requests_finished;
  if (reason == FinishReason::kCancelled) ++totals_.num_requests_cancelled;
  if (sequence != nullptr && sequence->started) ++num_ended_;
  ended_requests_.add(node.mapped().finish(id, sequence, reason, error, Clock::now()));
  if (sequence != nullptr) scheduler_.remove(id);
}

void Engine::Loop::finish_all(FinishReason reason, const std::string& error) noexcept {
  while (!replies_.empty()) {
    try {
      finish(replies_.begin()->first, reason, error);
    } catch (...) {
      // A table that is broken: that request has ended all the same, the others still have to.
    }
  }
}

Engine::Engine(Forward forward, const text::Tokenizer& tokenizer, const EngineOptions& options)
    : loop_(std::make_unique<Loop>(std::move(forward), tokenizer, options)) {}

Engine::~Engine() = default;

Engine::Ticket Engine::submit(Request request) { return loop_->submit(std::move(request)); }

void Engine::require_room() const { loop_->require_room(); }

void Engine::cancel(RequestId id) { loop_->cancel(id); }

StepLog::Page Engine::steps(uint64_t first) const { return loop_->steps(first); }

RequestLog::Page Engine::ended_requests(uint64_t first) const {
  return loop_->ended_requests(first);
}

EngineTotals Engine::stop() { return loop_->stop(); }

void Engine::cancel_all() { loop_->cancel_all(); }

EngineStats Engine::stats() const { return loop_->stats(); }

}  // namespace sluice::engine
