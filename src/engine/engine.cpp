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

SchedulerOptions scheduler_options(const EngineOptions& options, const backend::Traits& traits) {
  require_argument(options.vocab_size > 0, "vocab_size must be positive");
  require_argument(options.context_length > 1, "context_length must be at least 2");
  require_argument(options.max_queue > 0, "max_queue must be positive");
  return {options.num_blocks,
          options.max_batch_tokens,
          options.max_sequences,
          options.max_logit_rows,
          options.max_itl_stretch,
          options.enable_prefix_cache,
          traits};
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

Engine::Loop::Loop(backend::Backend& backend, const text::Tokenizer& tokenizer,
                   const EngineOptions& options)
    : backend_(backend),
      tokenizer_(tokenizer),
      options_(options),
      scheduler_(scheduler_options(options, backend.traits())),
      pace_(options.max_sequences),
      num_free_places_(options.max_sequences) {
  published_.num_places = options.max_sequences;
  published_.num_blocks_total = options.num_blocks;
  with_news_.reserve(static_cast<size_t>(options.max_sequences));
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
  if (backend_.is_lost()) {
    throw Error(ErrorCode::kBusy, "the model's device has failed; try again in a moment");
  }
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
  RequestState state(std::move(request), tokenizer_, limit, Clock::now());
  std::lock_guard lock(mutex_);
  refuse_when_full();
  const int num_ahead = num_waiting_ + static_cast<int>(inbox_.size());
  const Ticket ticket{++last_id_, place_behind(num_ahead)};
  inbox_.emplace_hint(inbox_.end(), ticket.id, std::move(state));
  wake_.notify_one();
  return ticket;
}

void Engine::Loop::end(RequestId id, FinishReason reason) {
  std::lock_guard lock(mutex_);
  ends_.emplace_back(id, reason);
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
  std::vector<std::pair<RequestId, FinishReason>> ends;
  if (scheduler_.is_idle()) {
    check_when_idle();
    measure_pace(Clock::now());
    publish_stats();
  }
  bool is_stopping = false;
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] {
      return is_stopping_ || !inbox_.empty() || !ends_.empty() || !scheduler_.is_idle();
    });
    ends.swap(ends_);
    is_stopping = is_stopping_;
  }
  take_arrivals();
  for (const auto& [id, reason] : ends) finish(id, reason);
  if (std::exchange(has_broken_, false)) end_broken();
  return !is_stopping;
}

// All of them are among the states before anything can fail: so each gets its final event. Monitors
// see them in the queue until the next step tells what became of them.
void Engine::Loop::take_arrivals() {
  std::map<RequestId, RequestState> arrivals;
  {
    std::lock_guard lock(mutex_);
    published_.num_waiting = scheduler_.num_waiting();
    list_inbox(Clock::now(), published_);
    num_waiting_ = published_.num_waiting;
    arrivals.swap(inbox_);
  }
  if (arrivals.empty()) return;
  const RequestId first = arrivals.begin()->first;
  states_.merge(arrivals);
  for (auto it = states_.find(first); it != states_.end();) {
    auto& [id, state] = *it++;  // it may end here
    try {
      enqueue(id, state);
    } catch (...) {
      finish(id, FinishReason::kError, message_of(std::current_exception()));
    }
  }
}

void Engine::Loop::end_broken() {
  for (auto it = states_.begin(); it != states_.end();) {
    const auto& [id, state] = *it++;  // it may end here
    if (!state.callback_error()) continue;
    finish(id, FinishReason::kError, "the event callback failed: " + *state.callback_error());
  }
}

void Engine::Loop::enqueue(RequestId id, RequestState& state) {
  const std::optional<ContextShift> shift = state.context_shift();
  Sequence& sequence = scheduler_.add(id, state.take_prompt(), state.request().deadline);
  sequence.shift = shift;
  if (state.request().task == Task::kEmbed) {
    sequence.pooling = options_.pooling;
    sequence.may_read_cache = options_.pooling == Pooling::kLast;
  }
  newcomers_.push_back(id);
  if (state.request().wants_queue_events) told_places_.emplace(id, 0);
}

void Engine::Loop::end_expired() {
  for (const RequestId id : scheduler_.expired(Clock::now())) {
    finish(id, FinishReason::kDeadline);
  }
}

// Plans, starts the step, does what is left of the one before while the device works, and takes
// what came out.
void Engine::Loop::step() {
  const Clock::time_point begin = Clock::now();
  set_drafts();
  const std::span<const Chunk> planned = scheduler_.plan(begin);
  // Finishing a sequence must not touch what we walk through.
  const std::vector<Chunk> chunks(planned.begin(), planned.end());
  measure_pace(begin);

  StepRecord record = record_of(chunks);
  record.begin = begin;
  record.num_waiting = scheduler_.num_waiting();
  record.num_blocks_used = scheduler_.pool().num_used();
  backend::StepResult result;
  std::exception_ptr failure;
  try {
    result = run_step(chunks, record);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    const std::string message = message_of(failure);
    for (const Chunk& chunk : chunks) {
      if (!chunk.is_successor()) finish(chunk.sequence->id, FinishReason::kError, message);
    }
  } else {
    scheduler_.observe(record.forward_time);
    scheduler_.complete();
    trace_step(chunks, record);
    hand_out(chunks, result);
  }
  record.schedule_time = Clock::now() - begin - record.forward_time;
  ++totals_.num_steps;
  totals_.step_rows.add(record.num_decode_rows + record.num_draft_rows + record.num_prefill_rows);
  totals_.forward_time += record.forward_time;
  totals_.schedule_time += record.schedule_time;
  steps_.add(record);
}

void Engine::Loop::fill_batch(std::span<const Chunk> chunks) {
  make_batch(chunks, batch_);
  constraints_.clear();
  for (const Chunk& chunk : chunks) {
    if (!chunk.wants_logits) continue;
    RequestState& state = states_.at(chunk.sequence->id);
    state.want(*chunk.sequence, chunk.num_draft_tokens, batch_.samplings);
    if (state.constraint() != nullptr) constraints_.push_back(state.constraint());
  }
}

// What the step points to must stay until it is over, whatever fails meanwhile.
backend::StepResult Engine::Loop::run_step(std::span<const Chunk> chunks, StepRecord& record) {
  fill_batch(chunks);
  const Clock::time_point begin = Clock::now();
  backend_.submit(batch_);
  const Clock::time_point submitted = Clock::now();
  std::exception_ptr failure;
  try {
    work_beside_step(submitted);
  } catch (...) {
    failure = std::current_exception();
  }
  const Clock::time_point wait_begin = Clock::now();
  const backend::StepResult result = backend_.wait();
  record.forward_time = (submitted - begin) + (Clock::now() - wait_begin);
  if (failure) std::rethrow_exception(failure);
  check_result(result);
  return result;
}

// What the step did for each of its requests.
void Engine::Loop::trace_step(std::span<const Chunk> chunks, const StepRecord& record) noexcept {
  const Clock::time_point now = Clock::now();
  for (const Chunk& chunk : chunks) {
    if (chunk.is_successor()) continue;
    TraceSpan step;
    step.kind = chunk.is_decode ? TraceSpan::Kind::kDecode : TraceSpan::Kind::kPrefill;
    step.num_steps = 1;
    step.forward_time = record.forward_time;
    step.num_sequences = step.most_sequences = record.num_sequences;
    step.num_prompt_tokens = chunk.is_decode ? 0 : chunk.num_tokens;
    step.num_other_prompt_tokens = record.num_prefill_rows - step.num_prompt_tokens;
    const auto state = states_.find(chunk.sequence->id);
    if (state == states_.end()) continue;
    state->second.trace_step(step, *chunk.sequence, record.begin, now);
  }
  const bool only_decodes = record.num_prefill_rows == 0 && record.num_draft_rows == 0;
  if (!only_decodes) return;
  if (fastest_decode_.count() == 0 || record.forward_time < fastest_decode_) {
    fastest_decode_ = record.forward_time;
  }
}

// Events may wake threads: none competes with what the engine does between two steps.
void Engine::Loop::work_beside_step(Clock::time_point now) {
  for (Constraint* constraint : constraints_) constraint->fill_masks();
  for (const RequestId id : with_news_) emit(id);
  with_news_.clear();
  tell_places(now);
  publish_stats();
  take_arrivals();
}

void Engine::Loop::check_result(const backend::StepResult& result) const {
  if (result.tokens.size() != batch_.samplings.size()) {
    throw Error(ErrorCode::kInternal, "the backend gave the wrong number of tokens");
  }
  if (result.embeddings.size() !=
      batch_.embedding_rows.size() * static_cast<size_t>(options_.embedding_length)) {
    throw Error(ErrorCode::kInternal, "the backend gave hidden states of the wrong size");
  }
}

// Guesses for the sequences of a step that will hold few rows and no prompt.
void Engine::Loop::set_drafts() {
  const int num_sequences = scheduler_.num_running();
  const backend::Traits traits = backend_.traits();
  if (num_sequences > traits.exact_sequences) return;
  bool only_decodes = true;
  offers_.clear();
  scheduler_.for_each_running([&](const Sequence& running) {
    only_decodes = only_decodes && running.is_decoding();
    if (!only_decodes) return;
    DraftOffer offer =
        states_.at(running.id).offer_draft(*scheduler_.find(running.id), traits.exact_rows - 1);
    if (offer.sequence != nullptr) offers_.push_back(offer);
  });
  if (!only_decodes || offers_.empty()) return;
  const auto time_of = [this](int num_rows) { return scheduler_.decode_time(num_rows); };
  grant_drafts(offers_, num_sequences, traits.exact_rows, time_of, options_.min_draft_gain);
  for (const DraftOffer& offer : offers_) {
    states_.at(offer.sequence->id).set_draft(*offer.sequence, offer.num_granted);
  }
}

void Engine::Loop::hand_out(std::span<const Chunk> chunks, const backend::StepResult& result) {
  std::span<backend::SampledToken> drawn = result.tokens;
  std::span<const float> states = result.embeddings;
  const auto state_size = static_cast<size_t>(options_.embedding_length);
  for (const Chunk& chunk : chunks) {
    if (chunk.is_successor()) continue;  // it gives nothing, and its sequence may be gone by now
    const size_t num_drawn =
        chunk.wants_logits ? static_cast<size_t>(1 + chunk.num_draft_tokens) : 0;
    const size_t num_floats = static_cast<size_t>(chunk.num_states) * state_size;
    if (chunk.sequence->pooling || chunk.wants_logits) {
      const RequestId id = chunk.sequence->id;
      const auto ending = advance(chunk, drawn.first(num_drawn), states.first(num_floats));
      if (ending) {
        finish(id, ending->reason, ending->error);
      } else {
        with_news_.push_back(id);
      }
    }
    drawn = drawn.subspan(num_drawn);
    states = states.subspan(num_floats);
  }
}

// What goes wrong with one sequence ends that one.
std::optional<Engine::Loop::Ending> Engine::Loop::advance(const Chunk& chunk,
                                                          std::span<backend::SampledToken> drawn,
                                                          std::span<const float> states) {
  try {
    return chunk.sequence->pooling ? pool(chunk, states) : generate(chunk, drawn);
  } catch (...) {
    return Ending{FinishReason::kError, message_of(std::current_exception())};
  }
}

std::optional<Engine::Loop::Ending> Engine::Loop::pool(const Chunk& chunk,
                                                       std::span<const float> states) {
  const Sequence& sequence = *chunk.sequence;
  const bool is_start = sequence.num_computed == chunk.num_tokens;
  states_.at(sequence.id).pool(states, static_cast<size_t>(options_.embedding_length), is_start);
  if (sequence.num_remaining() > 0) return std::nullopt;
  return Ending{FinishReason::kEmbedded, {}};
}

// Takes token by token, as if each came from a step of its own, for as long as the guesses are
// right.
std::optional<Engine::Loop::Ending> Engine::Loop::generate(const Chunk& chunk,
                                                           std::span<backend::SampledToken> drawn) {
  Sequence& sequence = *chunk.sequence;
  RequestState& state = states_.at(sequence.id);
  const std::vector<text::TokenId> draft = std::exchange(sequence.draft, {});
  for (int row = 0;; ++row) {
    const auto index = static_cast<size_t>(row);
    const RequestState::Outcome outcome =
        state.take(sequence, std::move(drawn[index]), Clock::now());
    if (outcome.token) count_token(outcome);
    const bool was_guessed = row < chunk.num_draft_tokens && outcome.token == draft[index];
    const bool is_last = !was_guessed || outcome.reason;
    if (is_last && chunk.num_draft_tokens > 0) {
      record_draft(state, chunk.num_draft_tokens, row + (was_guessed ? 1 : 0));
    }
    if (outcome.reason) return Ending{*outcome.reason, {}};
    if (scheduler_.append(sequence, *outcome.token)) state.forget_drafts();
    if (is_last) return std::nullopt;
    scheduler_.accept(sequence);
  }
}

void Engine::Loop::count_token(const RequestState::Outcome& outcome) {
  ++totals_.num_output_tokens;
  (outcome.is_first ? totals_.time_to_first_token : totals_.inter_token_time).add(outcome.waited);
}

void Engine::Loop::record_draft(RequestState& state, int num_draft, int num_accepted) {
  state.record_draft(num_draft, num_accepted);
  totals_.num_draft_tokens += static_cast<uint64_t>(num_draft);
  totals_.num_accepted_tokens += static_cast<uint64_t>(num_accepted);
}

void Engine::Loop::emit(RequestId id) {
  const auto found = states_.find(id);
  if (found == states_.end()) return;  // it has ended
  found->second.emit();
  if (found->second.callback_error()) has_broken_ = true;
}

// The final event of a request, whatever becomes of its sequence.
void Engine::Loop::finish(RequestId id, FinishReason reason, const std::string& error) {
  auto node = states_.extract(id);
  if (!node) return;
  const Sequence* sequence = scheduler_.find(id);
  if (sequence != nullptr && sequence->started) ++num_ended_;
  const Clock::time_point now = Clock::now();
  const RequestRecord record = node.mapped().finish(id, sequence, reason, error, now);
  ended_requests_.add(record);
  count_end(record, node.mapped(), now);
  if (sequence != nullptr) scheduler_.remove(id);
}

// Times tell of those that had all they asked for; who leaves early would make a slow server fast.
void Engine::Loop::count_end(const RequestRecord& record, const RequestState& state,
                             Clock::time_point now) {
  ++totals_.num_requests_finished;
  ++totals_.num_ended[static_cast<size_t>(record.reason)];
  if (record.reason == FinishReason::kCancelled) ++totals_.num_requests_cancelled;
  if (record.reason == FinishReason::kCancelled || record.reason == FinishReason::kError) return;
  const Timings& timings = record.timings;
  totals_.queue_time.add(timings.queued);
  if (timings.prefill.count() > 0) totals_.prefill_time.add(timings.prefill);
  totals_.inference_time.add(timings.prefill + timings.decode);
  totals_.request_time.add(now - state.arrival());
  totals_.prompt_length.add(record.num_prompt_tokens);
  if (record.task == Task::kEmbed) return;
  totals_.decode_time.add(timings.decode);
  totals_.reply_length.add(record.num_output_tokens);
  const int limit = state.request().max_tokens;
  if (limit >= 0) totals_.reply_limit.add(limit);
  if (record.num_output_tokens < 2) return;
  totals_.time_per_token.add(timings.decode / (record.num_output_tokens - 1));
}

void Engine::Loop::finish_all(FinishReason reason, const std::string& error) noexcept {
  while (!states_.empty()) {
    try {
      finish(states_.begin()->first, reason, error);
    } catch (...) {
      // A table that is broken: that request has ended all the same, the others still have to.
    }
  }
}

Engine::Engine(backend::Backend& backend, const text::Tokenizer& tokenizer,
               const EngineOptions& options)
    : loop_(std::make_unique<Loop>(backend, tokenizer, options)) {}

Engine::~Engine() = default;

Engine::Ticket Engine::submit(Request request) { return loop_->submit(std::move(request)); }

void Engine::require_room() const { loop_->require_room(); }

void Engine::cancel(RequestId id) { loop_->end(id, FinishReason::kCancelled); }

void Engine::end(RequestId id) { loop_->end(id, FinishReason::kEndOfSequence); }

StepLog::Page Engine::steps(uint64_t first) const { return loop_->steps(first); }

RequestLog::Page Engine::ended_requests(uint64_t first) const {
  return loop_->ended_requests(first);
}

EngineTotals Engine::stop() { return loop_->stop(); }

EngineStats Engine::stats() const { return loop_->stats(); }

}  // namespace sluice::engine
