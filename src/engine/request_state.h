#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/sampling.h"
#include "engine/constraint.h"
#include "engine/embedder.h"
#include "engine/reply_text.h"
#include "engine/request.h"
#include "engine/sampling.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"

namespace sluice::engine {

// The engine's side of one request: what it wants to be drawn, what becomes of the tokens, and its
// events. Small until its first token, since thousands may wait.
class RequestState {
 public:
  // `token_limit`: prompt and reply together. Whether to speculate must be decided in the request.
  RequestState(Request request, const text::Tokenizer& tokenizer, int token_limit,
               Clock::time_point submitted);

  // The prompt, once: from then on it is in the Sequence.
  std::vector<text::TokenId> take_prompt() { return std::move(request_.prompt); }
  // What happens to a sequence with this prompt when it is full.
  std::optional<ContextShift> context_shift() const;

  // What could be guessed of a decoding sequence, at most `most` tokens; its draft once that is
  // granted, and what became of it.
  DraftOffer offer_draft(Sequence& sequence, int most);
  void set_draft(Sequence& sequence, int count);
  void record_draft(int num_draft, int num_accepted);
  // The sequence has been shifted.
  void forget_drafts();

  // What is to be drawn behind the sequence and each of so many tokens of its draft.
  void want(const Sequence& sequence, int num_draft_tokens,
            std::vector<backend::RowSampling>& samplings);
  // What is wanted of a reply with a grammar has masks: to be filled before the backend's wait().
  Constraint* constraint() { return constraint_.get(); }
  // Takes the token that was drawn behind `sequence`, which does not hold it yet. With a reason in
  // the outcome finish() is due, otherwise emit(). Throws Error(kInternal) when none could be
  // drawn.
  struct Outcome {
    std::optional<text::TokenId> token;  // none when no reply was asked for
    std::optional<FinishReason> reason;  // why the reply ends here, if it does
    // Since the token before; of the first one, since the request's arrival.
    std::chrono::nanoseconds waited{};
    bool is_first = false;
  };
  Outcome take(const Sequence& sequence, OutputToken drawn, Clock::time_point now);

  // The request had a part in a step from `begin` to `end`.
  void trace_step(TraceSpan step, const Sequence& sequence, Clock::time_point begin,
                  Clock::time_point end) noexcept;

  // Hidden states for an embedding, as Embedder::add().
  void pool(std::span<const float> states, size_t embedding_length, bool is_start);

  // Emits the text that is safe.
  void emit();
  // An event of a request that waits.
  void tell_place(const QueuePlace& place);
  // Emits the text held back and the final event, with kEmbedded the embedding. To be called once.
  // `sequence`: null when it has none yet. When there is no memory for the text, the event says so:
  // it comes in any case.
  RequestRecord finish(RequestId id, const Sequence* sequence, FinishReason reason,
                       const std::string& error, Clock::time_point now) noexcept;

  // What the callback threw, if it did: the request is to end with kError.
  const std::optional<std::string>& callback_error() const { return callback_error_; }
  Clock::time_point submitted() const { return submitted_; }
  Clock::time_point arrival() const { return request_.arrival.value_or(submitted_); }
  const Request& request() const { return request_; }
  // As RequestStatus has them.
  std::chrono::nanoseconds time_to_first_token() const;
  std::chrono::nanoseconds mean_token_time() const;

 private:
  // What a reply needs from its first token on.
  struct Output {
    Output(const Request& request, const text::Tokenizer& tokenizer)
        : text(request.stop_strings, tokenizer, request.frame_controls) {
      if (request.speculate.value_or(false)) drafter.emplace();
    }
    ReplyText text;
    std::optional<Drafter> drafter;
    Clock::time_point first_token;
    Clock::time_point last_token;
    TimeHistogram inter_token_times;
  };

  std::optional<FinishReason> reason_to_end(const Sequence& sequence, bool hit_stop) const;
  FinishReason flush_text(FinishReason reason);
  void deliver_text();
  void deliver(Event&& event) noexcept;
  Timings timings(const Sequence* sequence, Clock::time_point now) const;

  Request request_;
  const text::Tokenizer* tokenizer_;
  int token_limit_;
  uint64_t seed_;
  Clock::time_point submitted_;
  int num_output_tokens_ = 0;
  int num_draft_tokens_ = 0;
  int num_accepted_tokens_ = 0;
  std::optional<std::string> callback_error_;
  std::unique_ptr<Output> output_;
  std::shared_ptr<RequestTrace> trace_;  // from its first step on
  int num_traced_preemptions_ = 0;
  std::unique_ptr<Constraint> constraint_;  // once something was drawn; null without a grammar
  Embedder embedder_;
};

}  // namespace sluice::engine
