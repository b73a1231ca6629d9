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
  return {options.num_blocks,     options.max_batch_tokens, options.max_sequences,
          options.max_logit_rows, options.max_itl_stretch,  options.enable_prefix_cache};
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
  Arrival arrival{0, std::move(request), Clock::now()};
  {
    std::lock_guard lock(mutex_);
    refuse_when_full();
    arrival.id = ++last_id_;
    const Ticket ticket{last_id_, place_behind(num_waiting_ + static_cast<int>(inbox_.size()))};
    inbox_.push_back(std::move(arrival));
    wake_.notify_one();
    return ticket;
  }
}

void Engine::Loop::cancel(RequestId id) {
  std::lock_guard lock(mutex_);
  cancels_.push_back(id);
  wake_.notify_one();
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
  if (scheduler_.is_idle()) {
    measure_pace(Clock::now());
    publish_stats();
  }
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
  for (Arrival& arrival : arrivals) take_in(std::move(arrival));
  for (const RequestId id : cancels) {
    if (replies_.contains(id)) finish(id, FinishReason::kCancelled);
  }
  for (const RequestId id : std::exchange(broken_, {})) {
    const auto reply = replies_.find(id);
    if (reply == replies_.end()) continue;
    const std::string error = *reply->second.callback_error();  // finish() drops the reply
    finish(id, FinishReason::kError, error);
  }
  return !is_stopping;
}

void Engine::Loop::take_in(Arrival arrival) {
  std::vector<text::TokenId> prompt = std::move(arrival.request.prompt);
  Sequence& sequence = scheduler_.add(arrival.id, std::move(prompt), arrival.request.deadline);
  if (arrival.request.task == Task::kEmbed) {
    sequence.pooling = options_.pooling;
    sequence.may_read_cache = options_.pooling == Pooling::kLast;
  }
  newcomers_.push_back(arrival.id);
  if (arrival.request.wants_queue_events) told_places_.emplace(arrival.id, 0);
  if (!arrival.request.speculate) arrival.request.speculate = options_.speculate;
  const int limit = token_limit(arrival.request);
  replies_.try_emplace(arrival.id, std::move(arrival.request), tokenizer_, limit,
                       arrival.submitted);
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

  if (failure) {
    const std::string message = message_of(failure);
    for (const Chunk& chunk : chunks) finish(chunk.sequence->id, FinishReason::kError, message);
  } else {
    scheduler_.observe(forward_end - forward_begin);
    scheduler_.complete();
    hand_out(chunks, output);
  }
  totals_.schedule_time += (Clock::now() - forward_end) + (forward_begin - begin);
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
    if (chunk.sequence->pooling) {
      const size_t size = static_cast<size_t>(chunk.num_states) * state_size;
      pool(chunk, states.first(size));
      states = states.subspan(size);
    } else if (chunk.wants_logits) {
      advanced.emplace_back(chunk.sequence->id, advance(chunk, output, row));
      row += static_cast<size_t>(1 + chunk.num_draft_tokens);
    }
  }
  for (const auto& [id, ending] : advanced) {
    if (ending) {
      finish(id, ending->reason, ending->error);
    } else {
      emit(id);
    }
  }
}

void Engine::Loop::pool(const Chunk& chunk, std::span<const float> states) {
  const Sequence& sequence = *chunk.sequence;
  const bool is_start = sequence.num_computed == chunk.num_tokens;
  replies_.at(sequence.id).pool(states, static_cast<size_t>(options_.embedding_length), is_start);
  if (sequence.num_remaining() == 0) finish(sequence.id, FinishReason::kEmbedded);
}

// Samples row by row, as if each were a step of its own, for as long as the guesses are right.
std::optional<Engine::Loop::Ending> Engine::Loop::advance(const Chunk& chunk,
                                                          const backend::StepOutput& output,
                                                          size_t first_row) {
  Sequence& sequence = *chunk.sequence;
  Reply& reply = replies_.at(sequence.id);
  const std::vector<text::TokenId> draft = std::exchange(sequence.draft, {});
  for (int row = 0;; ++row) {
    const LogitRow logits = logit_row(output, first_row + static_cast<size_t>(row));
    Reply::Outcome outcome;
    try {
      outcome = reply.advance(sequence, logits, Clock::now());
    } catch (...) {
      return Ending{FinishReason::kError, message_of(std::current_exception())};
    }
    if (outcome.token) ++totals_.num_output_tokens;
    const bool was_guessed = row < chunk.num_draft_tokens && outcome.token == draft[row];
    const bool is_last = !was_guessed || outcome.reason || outcome.num_shifted > 0;
    if (is_last && chunk.num_draft_tokens > 0) {
      record_draft(reply, chunk.num_draft_tokens, row + (was_guessed ? 1 : 0));
    }
    if (outcome.reason) return Ending{*outcome.reason, {}};
    scheduler_.append(sequence, *outcome.token);
    if (outcome.num_shifted > 0) scheduler_.shift(sequence, outcome.num_keep, outcome.num_shifted);
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

void Engine::Loop::finish(RequestId id, FinishReason reason, const std::string& error) {
  auto node = replies_.extract(id);  // `error` may be in it
  const Sequence& sequence = *scheduler_.find(id);
  if (sequence.started) ++num_ended_;
  if (reason == FinishReason::kCancelled) ++totals_.num_requests_cancelled;
  node.mapped().finish(sequence, reason, error, Clock::now());
  scheduler_.remove(id);
  ++totals_.num_requests_finished;
}

void Engine::Loop::finish_all(FinishReason reason, const std::string& error) {
  std::vector<RequestId> ids;
  for (const auto& [id, reply] : replies_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  for (const RequestId id : ids) finish(id, reason, error);
}

Engine::Engine(Forward forward, const text::Tokenizer& tokenizer, const EngineOptions& options)
    : loop_(std::make_unique<Loop>(std::move(forward), tokenizer, options)) {}

Engine::~Engine() = default;

Engine::Ticket Engine::submit(Request request) { return loop_->submit(std::move(request)); }

void Engine::require_room() const { loop_->require_room(); }

void Engine::cancel(RequestId id) { loop_->cancel(id); }

EngineStats Engine::stats() const { return loop_->stats(); }

}  // namespace sluice::engine
