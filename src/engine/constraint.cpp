#include "engine/constraint.h"

#include <algorithm>
#include <exception>

#include "base/error.h"

namespace sluice::engine {

size_t Constraint::num_allowed(std::span<const text::TokenId> draft) const {
  grammar::Matcher tried = matcher_;
  try {
    for (size_t i = 0; i < draft.size(); ++i) {
      if (!tried.accept(tokenizer_->framed_bytes(draft[i]))) return i;
    }
  } catch (const Error&) {
    return 0;
  }
  return draft.size();
}

void Constraint::want(std::span<const text::TokenId> draft,
                      std::span<backend::RowSampling> samplings) {
  draft_.assign(draft.begin(), draft.end());
  masks_.assign(samplings.size() * num_words(), 0);
  for (size_t i = 0; i < samplings.size(); ++i) {
    samplings[i].mask = std::span(masks_).subspan(i * num_words(), num_words());
  }
}

void Constraint::fill_masks() noexcept {
  const std::span<uint32_t> masks = masks_;
  try {
    matcher_.fill_mask(masks.first(num_words()));
    grammar::Matcher tried = matcher_;
    for (size_t i = 0; i < draft_.size(); ++i) {
      if (!tried.accept(tokenizer_->framed_bytes(draft_[i]))) return;  // the rest stays empty
      tried.fill_mask(masks.subspan((i + 1) * num_words(), num_words()));
    }
  } catch (...) {
    std::ranges::fill(masks, 0);
    failure_ = message_of(std::current_exception());
  }
}

void Constraint::accept(text::TokenId token) {
  if (!failure_.empty()) throw_nothing_drawn();
  if (matcher_.accept(tokenizer_->framed_bytes(token))) return;
  throw Error(ErrorCode::kInternal, "a token was drawn that the reply's grammar does not allow");
}

void Constraint::throw_nothing_drawn() const {
  if (!failure_.empty()) throw Error(ErrorCode::kUnsupported, failure_);
  throw Error(ErrorCode::kUnsupported,
              "no token of the model's vocabulary can go on as the reply's format asks");
}

}  // namespace sluice::engine
