#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace sluice::text {

// Passes bytes on as UTF-8, whole characters only. What cannot become a character any more turns
// into U+FFFD, one for each maximal part, as Python's "replace" does.
class Utf8Repairer {
 public:
  // Appends to `out` what `bytes` made complete.
  void push(std::string_view bytes, std::string& out);
  // An unfinished character becomes U+FFFD.
  void flush(std::string& out);

 private:
  std::string pending_;  // at most three bytes: the start of a character
};

// Turns token ids into text piece by piece, never emitting half a UTF-8 character. Bytes that can
// no longer become valid UTF-8 come out as U+FFFD. Control tokens give nothing.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  // Text that became complete with this token; may be empty.
  std::string push(TokenId id);
  // What is left at the end: an unfinished character becomes U+FFFD.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  Utf8Repairer repairer_;
};

// Finds stop strings in a stream of text pieces, also across pieces, holding back any text that may
// be the beginning of one. The stop that is complete first wins, of several that end together the
// longest: how the text is cut into pieces makes no difference. Time: length of the text times the
// number of stops. Empty stops are ignored.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  struct Result {
    std::string text;                  // safe to emit
    std::optional<size_t> stop_index;  // which stop string was hit; nothing may follow
  };
  // After a hit: always an empty text and the same index.
  Result push(std::string_view piece);
  // Text still held back when the reply ends otherwise.
  std::string flush();

 private:
  struct Stop {
    std::string text;
    // failure[n]: longest proper prefix of `text` that ends its first n bytes (Knuth, Morris,
    // Pratt)
    std::vector<size_t> failure;
    size_t matched = 0;  // longest prefix of `text` that the stream ends with
  };

  void advance(Stop& stop, char byte) const;

  std::vector<Stop> stops_;
  std::optional<size_t> hit_;
  std::string held_;
};

}  // namespace sluice::text
