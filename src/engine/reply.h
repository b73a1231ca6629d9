#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "text/stream_decoder.h"

namespace sluice::engine {

// The engine's side of one request: from logits to tokens, text and events. Small until its first
// token, since thousands may wait.
class Reply {
 public:
  // `token_limit`: prompt and reply together. The prompt itself is in the Sequence.
  Reply(Request request, const text::Tokenizer& tokenizer, int token_limit,
        Clock::time_point submitted);

  struct Outcome {
    std::optional<text::TokenId> token;  // what was sampled; none when no reply was asked for
    std::optional<FinishReason> reason;  // why the reply ends here, if it does
  };
  // Samples the next token of `sequence` from its `logits` [vocab_size], which are changed, and
  // emits the text that is safe. With a reason in the outcome finish() is due. Throws what the
  // sampler throws.
  Outcome advance(const Sequence& sequence, std::span<float> logits, Clock::time_point now);

  // Emits the text held back and the final event. To be called once.
  void finish(const Sequence& sequence, FinishReason reason, const std::string& error,
              Clock::time_point now);

  // What the callback threw, if it did: the request is to end with kError.
  const std::optional<std::string>& callback_error() const { return callback_error_; }
  Clock::time_point submitted() const { return submitted_; }

 private:
  // What a reply needs from its first token on.
  struct Generation {
    Generation(const Request& request, const text::Tokenizer& tokenizer)
        : sampler(request.sampling), decoder(tokenizer), matcher(request.stop_strings) {}
    Sampler sampler;
    text::StreamDecoder decoder;
    text::StopMatcher matcher;
    std::string text;                 // not emitted yet
    std::vector<OutputToken> tokens;  // behind it
    Clock::time_point first_token;
    Clock::time_point last_token;
  };

  OutputToken sample(const Sequence& sequence, std::span<float> logits);
  std::optional<FinishReason> end_after(const Sequence& sequence, bool hit_stop) const;
  bool push_text(const std::string& piece);
  void emit_text();
  void deliver(const Event& event);
  Timings timings(const Sequence& sequence, Clock::time_point now) const;

  Request request_;
  const text::Tokenizer* tokenizer_;
  int token_limit_;
  Clock::time_point submitted_;
  int num_output_tokens_ = 0;
  std::string stop_string_;
  std::optional<std::string> callback_error_;
  std::unique_ptr<Generation> generation_;
};

}  // namespace sluice::engine
