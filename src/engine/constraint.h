#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/sampling.h"
#include "grammar/grammar.h"
#include "text/tokenizer.h"

namespace sluice::engine {

// A reply's grammar: which tokens may be drawn, and what those that were make of it. The masks of a
// step are asked for before it and found while the device works.
class Constraint {
 public:
  // `tokenizer` must outlive it.
  Constraint(grammar::Grammar grammar, const text::Tokenizer& tokenizer)
      : matcher_(std::move(grammar)), tokenizer_(&tokenizer) {}

  // How many of these tokens can come, one after the other.
  size_t num_allowed(std::span<const text::TokenId> draft) const;
  // Gives the samplings of a step, the first behind the reply and one behind each of `draft`, a
  // mask: to be filled by fill_masks() before the backend's wait().
  void want(std::span<const text::TokenId> draft, std::span<backend::RowSampling> samplings);
  // What goes wrong is said by accept(): it ends this reply only.
  void fill_masks() noexcept;
  // Takes the token drawn. Throws Error: kUnsupported when the grammar cannot be followed any
  // further (too many possibilities), kInternal when the token is none that was allowed.
  void accept(text::TokenId token);
  // Throws what accept() would, when no token could be drawn.
  [[noreturn]] void throw_nothing_drawn() const;
  // The text is whole, and nothing can follow.
  bool is_over() const { return matcher_.is_over(); }

 private:
  size_t num_words() const { return (tokenizer_->vocab_size() + 31) / 32; }

  grammar::Matcher matcher_;
  const text::Tokenizer* tokenizer_;
  std::vector<uint32_t> masks_;       // [num_rows, num_words]
  std::vector<text::TokenId> draft_;  // of the masks
  std::string failure_;
};

}  // namespace sluice::engine
