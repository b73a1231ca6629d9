#include "engine/request_state.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/random_seed.h"

namespace sluice::engine {
namespace {

constexpr int kMostContexts = 10;  // a reply that shifts ends after so many times the context

}  // namespace

RequestState::RequestState(Request request, const text::Tokenizer& tokenizer, int token_limit,
                           Clock::time_point submitted)
    : request_(std::move(request)),
      tokenizer_(&tokenizer),
      token_limit_(token_limit),
      seed_(request_.sampling.seed ? *request_.sampling.seed : random_seed()),
      submitted_(submitted) {}

void RequestState::want(const Sequence& sequence, int num_draft_tokens,
                        std::vector<backend::RowSampling>& samplings) {
  const size_t begin = samplings.size();
  want_samples(request_, seed_, sequence, num_draft_tokens, samplings);
  if (!request_.grammar) return;
  if (!constraint_) constraint_ = std::make_unique<Constraint>(request_.grammar, *tokenizer_);
  constraint_->want(std::span(sequence.draft).first(static_cast<size_t>(num_draft_tokens)),
                    std::span(samplings).subspan(begin));
}

RequestState::Outcome RequestState::take(const Sequence& sequence, OutputToken drawn,
                                         Clock::time_point now) {
  if (request_.max_tokens == 0) return {std::nullopt, FinishReason::kMaxTokens, {}, false};
  const text::TokenId token = drawn.token;
  if (token == backend::kNoMemory) throw std::bad_alloc();
  if (token == backend::kNoToken) {
    if (constraint_) constraint_->throw_nothing_drawn();
    throw Error(ErrorCode::kInternal,
                "the model gave no finite logit; its file or a kernel is broken");
  }
  if (!output_) {
    output_ = std::make_unique<Output>(request_, *tokenizer_);
    output_->first_token = now;
  }
  const bool is_first = num_output_tokens_ == 0;
  const auto waited = now - (is_first ? arrival() : output_->last_token);
  if (!is_first) output_->inter_token_times.add(waited);
  output_->last_token = now;
  ++num_output_tokens_;
  if (trace_) trace_->add_output_token();
  if (tokenizer_->is_end_of_generation(token) &&
      (constraint_ || !request_.ignore_end_of_sequence)) {
    return {token, FinishReason::kEndOfSequence, waited, is_first};
  }
  if (constraint_) constraint_->accept(token);
  const bool hit_stop = output_->text.push(std::move(drawn));
  return {token, reason_to_end(sequence, hit_stop), waited, is_first};
}

// Why the reply ends behind the token just taken, which `sequence` does not hold yet.
std::optional<FinishReason> RequestState::reason_to_end(const Sequence& sequence,
                                                        bool hit_stop) const {
  if (hit_stop) return FinishReason::kStopString;
  if (constraint_ && constraint_->is_over()) return FinishReason::kEndOfSequence;
  if (num_output_tokens_ == request_.max_tokens) return FinishReason::kMaxTokens;
  if (num_output_tokens_ / kMostContexts >= token_limit_) return FinishReason::kContextFull;
  const bool is_full = sequence.num_tokens() + 1 >= token_limit_ && !request_.shift;
  return is_full ? std::optional(FinishReason::kContextFull) : std::nullopt;
}

// llama.cpp's rule: half of what is not kept goes.
std::optional<ContextShift> RequestState::context_shift() const {
  if (!request_.shift) return std::nullopt;
  const int num_prompt_tokens = static_cast<int>(request_.prompt.size());
  const int wanted = request_.num_keep >= 0 ? request_.num_keep : num_prompt_tokens;
  // Something must go, and not so little that the whole context is computed for a few tokens more.
  const int num_keep = std::min(wanted, token_limit_ - std::max(token_limit_ / 8, 2));
  return ContextShift{token_limit_, num_keep, (token_limit_ - num_keep) / 2};
}

DraftOffer RequestState::offer_draft(Sequence& sequence, int most) {
  if (!output_ || !output_->drafter) return {};
  // A step gives one token more than its draft has.
  most = std::min(most, token_limit_ - sequence.num_tokens() - 1);
  if (request_.max_tokens > 0) most = std::min(most, request_.max_tokens - num_output_tokens_ - 1);
  DraftOffer offer = output_->drafter->offer(sequence.tokens, most);
  offer.sequence = &sequence;
  return offer;
}

void RequestState::set_draft(Sequence& sequence, int count) {
  output_->drafter->draft(sequence.tokens, count, sequence.draft);
  if (constraint_) sequence.draft.resize(constraint_->num_allowed(sequence.draft));
}

void RequestState::record_draft(int num_draft, int num_accepted) {
  output_->drafter->record(num_draft, num_accepted);
  num_draft_tokens_ += num_draft;
  num_accepted_tokens_ += num_accepted;
}

void RequestState::forget_drafts() {
  if (output_->drafter) output_->drafter->reset();
}

void RequestState::trace_step(TraceSpan step, const Sequence& sequence, Clock::time_point begin,
                              Clock::time_point end) noexcept {
  if (!trace_) {
    try {
      trace_ = std::make_shared<RequestTrace>();
    } catch (const std::bad_alloc&) {  // it is not told then
      return;
    }
  }
  step.begin = begin - submitted_;
  step.end = end - submitted_;
  step.was_preempted = sequence.num_preemptions > num_traced_preemptions_;
  num_traced_preemptions_ = sequence.num_preemptions;
  trace_->add(step);
}

void RequestState::pool(std::span<const float> states, size_t embedding_length, bool is_start) {
  embedder_.add(states, embedding_length, is_start);
}

RequestRecord RequestState::finish(RequestId id, const Sequence* sequence, FinishReason reason,
                                   const std::string& error, Clock::time_point now) noexcept {
  Event event;
  try {
    if (output_) reason = flush_text(reason);
    if (reason == FinishReason::kEmbedded) event.embedding = embedder_.normalized();
    if (reason == FinishReason::kStopString) {
      event.stop_string = request_.stop_strings.at(output_->text.stop_index().value());
    }
    event.error = error;
  } catch (...) {
    if (reason != FinishReason::kCancelled && reason != FinishReason::kDeadline) {
      reason = FinishReason::kError;
    }
    event.error = message_of(std::current_exception());
  }
  event.is_final = true;
  event.id = id;
  event.task = request_.task;
  event.reason = reason;
  event.num_output_tokens = num_output_tokens_;
  event.num_draft_tokens = num_draft_tokens_;
  event.num_accepted_tokens = num_accepted_tokens_;
  if (sequence != nullptr) {
    event.num_prompt_tokens = sequence->num_prompt_tokens;
    event.num_cached_tokens = sequence->num_cached_tokens;
    event.num_prefilled_tokens = sequence->num_prefilled_tokens;
    event.num_shifted_tokens = sequence->num_shifted_tokens;
    event.num_preemptions = sequence->num_preemptions;
  }
  event.timings = timings(sequence, now);
  event.trace = std::move(trace_);
  if (output_) event.inter_token_times = output_->inter_token_times;
  const RequestRecord record = event;
  deliver(std::move(event));
  return record;
}

// Emits what was held back. Returns the reason why the reply ends: it may have been a stop string.
FinishReason RequestState::flush_text(FinishReason reason) {
  if (reason != FinishReason::kStopString) {
    const bool hit_stop = output_->text.flush();
    const bool is_natural = reason == FinishReason::kEndOfSequence ||
                            reason == FinishReason::kMaxTokens ||
                            reason == FinishReason::kContextFull;
    if (hit_stop && is_natural) reason = FinishReason::kStopString;
  }
  if (!output_->text.is_empty()) deliver_text();
  return reason;
}

void RequestState::tell_place(const QueuePlace& place) {
  Event event;
  event.queue_place = place;
  deliver(std::move(event));
}

void RequestState::emit() {
  if (output_ && output_->text.has_text()) deliver_text();
}

void RequestState::deliver_text() {
  Event event;
  output_->text.take_into(event);
  deliver(std::move(event));
}

void RequestState::deliver(Event&& event) noexcept {
  if (!request_.on_event) return;
  // After a failure only the final event is still owed.
  if (callback_error_ && !event.is_final) return;
  try {
    request_.on_event(std::move(event));
  } catch (...) {
    callback_error_ = message_of(std::current_exception());
  }
}

std::chrono::nanoseconds RequestState::time_to_first_token() const {
  return output_ ? output_->first_token - arrival() : std::chrono::nanoseconds(0);
}

std::chrono::nanoseconds RequestState::mean_token_time() const {
  if (!output_ || num_output_tokens_ < 2) return {};
  return (output_->last_token - output_->first_token) / (num_output_tokens_ - 1);
}

Timings RequestState::timings(const Sequence* sequence, Clock::time_point now) const {
  Timings timings;
  const bool has_started = sequence != nullptr && sequence->started;
  timings.queued = (has_started ? *sequence->started : now) - submitted_;
  if (!has_started) return timings;
  timings.prefill = (output_ ? output_->first_token : now) - *sequence->started;
  if (output_) timings.decode = output_->last_token - output_->first_token;
  return timings;
}

}  // namespace sluice::engine
