#include "engine/reply_text.h"

#include <utility>

namespace sluice::engine {

bool ReplyText::push(OutputToken token) {
  const text::TokenId id = token.token;
  tokens_.push_back(std::move(token));
  if (!frame_controls_ || !tokenizer_->is_control(id)) return push(decoder_.push(id));
  // No stop string spans a control token, nor is it a part of one.
  const bool hit_stop = flush();
  if (!hit_stop) text_ += tokenizer_->framed_bytes(id);
  return hit_stop;
}

bool ReplyText::flush() {
  const bool hit_stop = push(decoder_.flush());
  if (!hit_stop) text_ += matcher_.flush();
  return hit_stop;
}

bool ReplyText::push(const std::string& piece) {
  const text::StopMatcher::Result result = matcher_.push(piece);
  text_ += result.text;
  stop_index_ = result.stop_index;
  return stop_index_.has_value();
}

void ReplyText::take_into(Event& event) {
  event.text = std::exchange(text_, {});
  event.tokens = std::exchange(tokens_, {});
}

}  // namespace sluice::engine
