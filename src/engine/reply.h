#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/candidates.h"
#include "engine/embedder.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"
#include "text/stream_decoder.h"

namespace sluice::engine {

// The engine's side of one request: from logits to tokens, text and events. Small until its first
// token, since thousands may wait.
class Reply {
 public:
  // `token_limit`: prompt and reply together. Whether to speculate must be decided in the request.
  Reply(Request request, const text::Tokenizer& tokenizer, int token_limit,
        Clock::time_point submitted);

  struct Outcome {
    std::optional<text::TokenId> token;  // what was sampled; none when no reply was asked for
    std::optional<FinishReason> reason;  // why the reply ends here, if it does
  };
  // Samples the next token of `sequence` from its logits, which are changed. With a reason in the
  // outcome finish() is due, otherwise emit(). Throws what the sampler throws.
  Outcome advance(const Sequence& sequence, const LogitRow& row, Clock::time_point now);

  // The prompt, once: from then on it is in the Sequence.
  std::vector<text::TokenId> take_prompt() { return std::move(request_.prompt); }
  // What happens to a sequence with this prompt when it is full.
  std::optional<ContextShift> context_shift() const;

  // Emits the text that is safe.
  void emit();

  // What could be guessed of a decoding sequence, its draft once that is granted, and what became
  // of it.
  DraftOffer offer_draft(Sequence& sequence);
  void set_draft(Sequence& sequence, int count);
  void record_draft(int num_draft, int num_accepted);
  // The sequence has been shifted.
  void forget_drafts();

  // Hidden states for an embedding, as Embedder::add().
  void pool(std::span<const float> states, size_t embedding_length, bool is_start);

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
  const Request& request() const { return request_; }

 private:
  // What a reply needs from its first token on.
  struct Generation {
    Generation(const Request& request, const text::Tokenizer& tokenizer)
        : sampler(request.sampling), decoder(tokenizer), matcher(request.stop_strings) {
      if (request.speculate.value_or(false)) drafter.emplace();
    }
    Sampler sampler;
    text::StreamDecoder decoder;
    text::StopMatcher matcher;
    std::optional<Drafter> drafter;
    std::string text;                 // not emitted yet
    std::vector<OutputToken> tokens;  // behind it
    Clock::time_point first_token;
    Clock::time_point last_token;
    TimeHistogram inter_token_times;
  };

  OutputToken sample(const Sequence& sequence, const LogitRow& row);
  Outcome end_after(const Sequence& sequence, text::TokenId token, bool hit_stop) const;
  bool push_text(const std::string& piece);
  void deliver_text();
  FinishReason flush_text(FinishReason reason);
  void deliver(Event&& event) noexcept;
  Timings timings(const Sequence* sequence, Clock::time_point now) const;

  Request request_;
  const text::Tokenizer* tokenizer_;
  int token_limit_;
  Clock::time_point submitted_;
  int num_output_tokens_ = 0;
  int num_draft_tokens_ = 0;
  int num_accepted_tokens_ = 0;
  std::string stop_string_;
  std::optional<std::string> callback_error_;
  std::unique_ptr<Generation> generation_;
  Embedder embedder_;
};

}  // namespace sluice::engine
