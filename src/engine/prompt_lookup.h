#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace sluice::engine {

// Finds where the end of a text has occurred before: prompt look-up decoding (Saxena 2023,
// "Prompt Lookup Decoding") guesses that what followed there follows here. An index of pairs of
// tokens, chained by position, as LZ77 packers have it: adding a token and a search cost the same
// however long the text is. Eight bytes a token.
class PromptLookup {
 public:
  static constexpr int kShortestMatch = 2;  // tokens
  static constexpr int kLongestMatch = 8;   // more are not compared

  struct Match {
    int length = 0;  // tokens that agree, kShortestMatch to kLongestMatch; 0: there is none
    int next = 0;    // the position behind the earlier occurrence
  };

  // The earlier occurrence that agrees with the most tokens at the end of `tokens`, of several the
  // latest; among the 64 latest of the last pair. `tokens` must begin with those of the call
  // before, unless reset() came between.
  Match find(std::span<const text::TokenId> tokens);
  void reset();

  // The `count` tokens behind a match; past the end of `tokens` they go on with themselves, so a
  // text that repeats itself is guessed to go on so.
  static void copy(std::span<const text::TokenId> tokens, Match match, int count,
                   std::vector<text::TokenId>& guess);

 private:
  void index_until(std::span<const text::TokenId> tokens, size_t end);
  void grow(std::span<const text::TokenId> tokens, size_t size);
  void link(std::span<const text::TokenId> tokens, size_t end);
  size_t bucket(std::span<const text::TokenId> tokens, size_t end) const;

  // Positions behind a pair; 0: none.
  std::vector<int32_t> latest_;   // [power of two], by the hash of the pair
  std::vector<int32_t> earlier_;  // [indexed], the one before with the same hash
};

}  // namespace sluice::engine
