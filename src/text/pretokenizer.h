#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace sluice::text {

// How the published pre-tokenizers cut a text into pieces before byte-level BPE. The originals are
// lists of regular expressions; every family is built from the few shapes below, so each is plain
// data here and runs in time linear in the text. A stage cuts every piece of the stage before it.

// A set of characters: by class, by code point range, or all others.
struct CharSet {
  struct Range {
    char32_t first;
    char32_t last;
  };
  ClassMask classes = 0;
  std::span<const Range> ranges = {};  // ascending
  bool is_negated = false;

  bool contains(const Char& c) const;
};

// Words, numbers, punctuation and white space, as GPT-2 and its descendants tell them apart. The
// alternatives are tried in the order of the members.
struct WordRule {
  enum class Contractions {
    kNone,
    kLowerCase,    // 's|'t|'re|'ve|'m|'ll|'d
    kAnyCase,      // the same, also in capitals
    kAnyCaseTail,  // only behind a word and part of it
  };
  enum class Words {
    kAfterSpace,      // " ?L+"
    kAfterAny,        // "[^\r\nLN]?L+"
    kCased,           // "[^\r\nLN]?U*W+|[^\r\nLN]?U+W*", U: no lower case letter, W: no capital
    kAfterNonSymbol,  // "[!-/:-~][A-Za-z]+|[^\r\nLPS]?L+"
  };
  static constexpr uint32_t kUnlimited = UINT32_MAX;

  Contractions contractions = Contractions::kAnyCase;
  Words words = Words::kAfterAny;
  ClassMask letters = kLetters;  // L above
  uint32_t max_digits = 1;       // "N{1,max}"; with kAfterSpace " ?N+"; 0: numbers match nothing
  ClassMask punctuation = without(kSpaces | kLetters | kNumbers);  // " ?P+"
  bool punctuation_takes_newlines = true;                          // "[\r\n]*" behind it
  bool punctuation_takes_slashes = false;                          // "[\r\n/]*" behind it
  bool has_newline_rule = true;                                    // "\s*[\r\n]+"
  // Last: "\s+(?!\S)|\s+". Characters that nothing matches stay together as a piece.
};

struct Stage {
  enum class Kind {
    kWords,                 // `words`
    kRuns,                  // each "prefix?body{min,max}" is a piece, what lies between is another
    kTrailingSpace,         // "\s+$" is a piece
    kDigitGroupsFromRight,  // "1234567" in 1, 234, 567
    kLines,                 // "[^\n]+|\n+"
  };
  Kind kind = Kind::kWords;
  WordRule words = {};
  CharSet prefix = {};  // empty: none
  CharSet body = {};
  uint32_t min = 1;
  uint32_t max = UINT32_MAX;
};

struct PreTokenizer {
  std::string_view name;  // of the family, for messages
  std::span<const Stage> stages;
  bool ignores_merges = false;  // a piece that is a token is that token, whatever merges say
  bool adds_bos = false;        // unless the metadata says otherwise
};

// The pre-tokenizer for a value of tokenizer.ggml.pre; null for one we do not know.
const PreTokenizer* find_pretokenizer(std::string_view name);

// Cuts `text` (UTF-8 as repair_utf8 leaves it): `ends` becomes the end offset of each piece, in
// order, the last being text.size(); empty for an empty text. `scratch` is reused between calls.
void split(const PreTokenizer& pretokenizer, std::string_view text, std::vector<uint32_t>& ends,
           std::vector<uint32_t>& scratch);

}  // namespace sluice::text
