#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "grammar/dfa.h"
#include "text/tokenizer.h"

namespace sluice::grammar {

// A vocabulary's tokens by their bytes: tries in which a walk meets every beginning of a token
// before the token. Immutable, shared by all grammars of a model.
class TokenTable {
 public:
  explicit TokenTable(const text::Tokenizer& tokenizer);

  // A trie in the order of a walk: a node, then what is below it.
  struct Node {
    uint32_t next = 0;  // index of the first node that is not below this one
    uint32_t first_token = 0;
    uint16_t depth = 0;  // 1 for the first byte
    uint8_t byte = 0;
    uint8_t num_tokens = 0;  // that end here
  };
  struct Trie {
    std::vector<Node> nodes;
    std::vector<text::TokenId> tokens;
    size_t max_depth = 0;
    // Its tokens are characters of this alphabet (kNumAlphabets: any that a JSON string need not
    // escape), at most so many; 0: other tokens.
    size_t alphabet = 0;
    uint32_t max_characters = 0;
    std::vector<uint32_t> mask;  // bits of its tokens
    std::bitset<256> first_bytes;
  };
  // Bits of all tokens of characters that a JSON string need not escape, at most so many.
  struct PlainMask {
    uint32_t max_characters = 0;
    std::vector<uint32_t> mask;
  };
  std::span<const PlainMask> plain_masks() const { return plain_masks_; }
  // For each alphabet, short tokens before long ones; the last trie has all the rest.
  std::span<const Trie> tries() const { return tries_; }
  std::span<const text::TokenId> end_tokens() const { return end_tokens_; }
  size_t vocab_size() const { return vocab_size_; }
  size_t num_mask_words() const { return (vocab_size_ + 31) / 32; }

 private:
  std::vector<Trie> tries_;
  std::vector<PlainMask> plain_masks_;
  std::vector<text::TokenId> end_tokens_;
  size_t vocab_size_;
};

}  // namespace sluice::grammar
