#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace sluice::text {

// Turns token ids into text piece by piece, never emitting half a UTF-8 character. Bytes that can
// no longer become valid UTF-8 come out as U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  // Text that became complete with this token; may be empty.
  std::string push(TokenId id);
  // What is left at the end: an unfinished character becomes U+FFFD.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;  // at most three bytes: the start of a character
};

// Finds stop strings in a stream of text pieces, also across pieces, holding back any text that may
// be the beginning of one.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  struct Result {
    std::string text;                 // safe to emit
    std::optional<size_t> stop_index;  // which stop string was hit; nothing may follow
  };
  Result push(std::string_view piece);
  // Text still held back when the reply ends otherwise.
  std::string flush();

 private:
  std::vector<std::string> stops_;
  std::string held_;
};

}  // namespace sluice::text
