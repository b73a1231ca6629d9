#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "grammar/automaton.h"
#include "text/tokenizer.h"

// Structured output: which tokens may come next so that a text is of a JSON Schema, a regular
// expression or a grammar.
namespace sluice::grammar {

// Rules and a vocabulary, ready to be matched. Shared by all sequences that follow them, from any
// thread.
using Grammar = std::shared_ptr<Automaton>;

// One sequence's place in a grammar. A copy goes its own way: what is only tried is tried with one.
class Matcher {
 public:
  explicit Matcher(Grammar grammar) : grammar_(std::move(grammar)), place_(grammar_->start()) {}

  // Takes a token; false, and nothing has changed, when it may not come here. `bytes`: the token's,
  // with frames (Tokenizer::framed_bytes()).
  bool accept(std::string_view bytes) { return !bytes.empty() && grammar_->advance(place_, bytes); }
  // Bit t of word t / 32: token t may come next; those that end a reply when the text may end here.
  // Some microseconds, more when the place is a new one. Throws Error(kUnsupported) when the
  // grammar has too many possibilities at once.
  void fill_mask(std::span<uint32_t> mask) { grammar_->fill_mask(place_, mask); }
  // The text so far is a whole one.
  bool is_complete() const { return place_.configuration->is_complete; }
  // It is, and nothing can follow.
  bool is_over() const { return is_complete() && place_.configuration->ends.empty(); }

 private:
  Grammar grammar_;
  Automaton::Place place_;
};

}  // namespace sluice::grammar
