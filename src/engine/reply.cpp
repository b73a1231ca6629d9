#include "engine/reply.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/error.h"

namespace sluice::engine {
namespace {

constexpr int kMostContexts = 10;  // a reply that shifts ends after so many times the context

}  // namespace

Reply::Reply(Request request, const text::Tokenizer& tokenizer, int token_limit,
             Clock::time_point submitted)
    : request_(std::move(request)),
      tokenizer_(&tokenizer),
      token_limit_(token_limit),
      submitted_(submitted) {}

Reply::Outcome Reply::advance(const Sequence& sequence, const LogitRow& row,
                              Clock::time_point now) {
  if (request_.max_tokens == 0) return {std::nullopt, FinishReason::kMaxTokens};
  if (!generation_) {
    generation_ = std::make_unique<Generation>(request_, *tokenizer_);
    generation_->first_token = now;
  }
  OutputToken output = sample(sequence, row);
  const text::TokenId token = output.token;
  if (num_output_tokens_ > 0) generation_->inter_token_times.add(now - generation_->last_token);
  generation_->last_token = now;
  ++num_output_tokens_;
  if (tokenizer_->is_end_of_generation(token) && !request_.ignore_end_of_sequence) {
    return {token, FinishReason::kEndOfSequence};
  }
  generation_->tokens.push_back(std::move(output));
  const bool hit_stop = push_text(generation_->decoder.push(token));
  return end_after(sequence, token, hit_stop);
}

OutputToken Reply::sample(const Sequence& sequence, const LogitRow& row) {
  OutputToken output;
  const auto history = penalized_tokens(request_.sampling, sequence.tokens,
                                        static_cast<size_t>(sequence.num_leading_prompt_tokens));
  if (request_.num_top_logprobs < 0) {
    output.token = generation_->sampler.sample(row, history);
    return output;
  }
  // The model's own probabilities: taken before the penalties change the logits.
  std::vector<float> unchanged(row.logits.begin(), row.logits.end());
  const text::TokenId token = generation_->sampler.sample(row, history);
  return logprobs(unchanged, token, request_.num_top_logprobs);
}

// Why the reply ends behind the token just sampled, which `sequence` does not hold yet.
Reply::Outcome Reply::end_after(const Sequence& sequence, text::TokenId token,
                                bool hit_stop) const {
  if (hit_stop) return {token, FinishReason::kStopString};
  if (num_output_tokens_ == request_.max_tokens) return {token, FinishReason::kMaxTokens};
  if (num_output_tokens_ / kMostContexts >= token_limit_) {
    return {token, FinishReason::kContextFull};
  }
  const bool is_full = sequence.num_tokens() + 1 >= token_limit_ && !request_.shift;
  if (is_full) return {token, FinishReason::kContextFull};
  return {token, std::nullopt};
}

// llama.cpp's rule: half of what is not kept goes.
std::optional<ContextShift> Reply::context_shift() const {
  if (!request_.shift) return std::nullopt;
  const int num_prompt_tokens = static_cast<int>(request_.prompt.size());
  const int wanted = request_.num_keep >= 0 ? request_.num_keep : num_prompt_tokens;
  // Something must go, and not so little that the whole context is computed for a few tokens more.
  const int num_keep = std::min(wanted, token_limit_ - std::max(token_limit_ / 8, 2));
  return ContextShift{token_limit_, num_keep, (token_limit_ - num_keep) / 2};
}

DraftOffer Reply::offer_draft(Sequence& sequence) {
  if (!generation_ || !generation_->drafter) return {};
  // A step gives one token more than its draft has.
  int most = token_limit_ - static_cast<int>(sequence.tokens.size()) - 1;
  if (request_.max_tokens > 0) most = std::min(most, request_.max_tokens - num_output_tokens_ - 1);
  DraftOffer offer =
      generation_->drafter->offer(sequence.tokens, std::min(most, kMaxDraftedRows - 1));
  offer.sequence = &sequence;
  return offer;
}

void Reply::set_draft(Sequence& sequence, int count) {
  generation_->drafter->draft(sequence.tokens, count, sequence.draft);
}

void Reply::record_draft(int num_draft, int num_accepted) {
  generation_->drafter->record(num_draft, num_accepted);
  num_draft_tokens_ += num_draft;
  num_accepted_tokens_ += num_accepted;
}

void Reply::forget_drafts() {
  if (generation_->drafter) generation_->drafter->reset();
}

void Reply::pool(std::span<const float> states, size_t embedding_length, bool is_start) {
  embedder_.add(states, embedding_length, is_start);
}

// True when the text ran into a stop string.
bool Reply::push_text(const std::string& piece) {
  text::StopMatcher::Result result = generation_->matcher.push(piece);
  generation_->text += result.text;
  if (result.stop_index) stop_string_ = request_.stop_strings[*result.stop_index];
  return result.stop_index.has_value();
}

RequestRecord Reply::finish(RequestId id, const Sequence* sequence, FinishReason reason,
                            const std::string& error, Clock::time_point now) noexcept {
  Event event;
  try {
    if (generation_) reason = flush_text(reason);
    if (reason == FinishReason::kEmbedded) event.embedding = embedder_.normalized();
    if (reason == FinishReason::kStopString) event.stop_string = stop_string_;
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
  if (generation_) event.inter_token_times = generation_->inter_token_times;
  const RequestRecord record = event;
  deliver(std::move(event));
  return record;
}

// Emits what was held back. Returns the reason why the reply ends: it may have been a stop string.
FinishReason Reply::flush_text(FinishReason reason) {
  if (reason != FinishReason::kStopString) {
    // The start of a character that never came may still complete a stop string.
    const bool hit_stop = push_text(generation_->decoder.flush());
    if (!hit_stop) generation_->text += generation_->matcher.flush();
    const bool is_natural = reason == FinishReason::kEndOfSequence ||
                            reason == FinishReason::kMaxTokens ||
                            reason == FinishReason::kContextFull;
    if (hit_stop && is_natural) reason = FinishReason::kStopString;
  }
  if (!generation_->text.empty() || !generation_->tokens.empty()) deliver_text();
  return reason;
}

void Reply::tell_place(const QueuePlace& place) {
  Event event;
  event.queue_place = place;
  deliver(std::move(event));
}

void Reply::emit() {
  if (generation_ && !generation_->text.empty()) deliver_text();
}

void Reply::deliver_text() {
  Event event;
  event.text = std::exchange(generation_->text, {});
  event.tokens = std::exchange(generation_->tokens, {});
  deliver(std::move(event));
}

void Reply::deliver(Event&& event) noexcept {
  if (!request_.on_event) return;
  // After a failure only the final event is still owed.
  if (callback_error_ && !event.is_final) return;
  try {
    request_.on_event(std::move(event));
  } catch (...) {
    callback_error_ = message_of(std::current_exception());
  }
}

Timings Reply::timings(const Sequence* sequence, Clock::time_point now) const {
  Timings timings;
  const bool has_started = sequence != nullptr && sequence->started;
  timings.queued = (has_started ? *sequence->started : now) - submitted_;
  if (!has_started) return timings;
  timings.prefill = (generation_ ? generation_->first_token : now) - *sequence->started;
  if (generation_) timings.decode = generation_->last_token - generation_->first_token;
  return timings;
}

}  // namespace sluice::engine
