#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/file.h"
#include "text/special_matcher.h"
#include "text/string_table.h"
#include "text/tokenizer.h"

namespace sluice::text {

// Values of tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// How the tokens' texts spell bytes.
enum class Spelling {
  kByteLevel,     // GPT-2: each byte is a printable character, " " is "Ġ"
  kEscapedSpace,  // SentencePiece: UTF-8 with "▁" for " ", "<0x0A>" for single bytes
};

// What a family adds where the metadata is silent.
struct VocabularyDefaults {
  Spelling spelling = Spelling::kByteLevel;
  bool adds_bos = false;
  bool always_adds_bos = false;  // whatever the metadata says
  bool needs_scores = false;     // and token types
  std::optional<TokenId> bos;    // where that is a control token
  std::optional<TokenId> eos;
};

// The token lists of a model, checked, and what follows from them for every tokenizer. All views
// point into the object itself.
struct Vocabulary {
  // Throws Error(kCorruptData).
  Vocabulary(const gguf::File& file, const VocabularyDefaults& defaults);
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  size_t size() const { return texts.size(); }
  bool has(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < size(); }
  bool is_type(TokenId id, TokenType type) const { return types[id] == type; }
  // Whether plain text may become this token by merging.
  bool is_plain(TokenId id) const {
    return !is_type(id, TokenType::kControl) && !is_type(id, TokenType::kUnknown) &&
           !is_type(id, TokenType::kByte);
  }

  std::vector<char> arena;               // bytes of texts and pieces
  std::vector<std::string_view> texts;   // as the file spells them
  std::vector<std::string_view> pieces;  // the bytes they stand for
  std::vector<TokenType> types;
  std::vector<float> scores;  // empty when the file has none
  StringTable by_text;
  size_t max_text_size = 0;
  size_t max_piece_size = 0;

  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  std::optional<TokenId> unknown;
  bool adds_bos = false;
  bool adds_eos = false;
  std::optional<FillTokens> fill;
  std::vector<bool> ends_generation;
  std::vector<bool> strips_right;   // white space behind this special token is dropped
  bool strips_white_space = false;  // behind any of them
  SpecialMatcher specials;          // control, user-defined and unknown tokens
  // Control tokens as they stand in a reply (reply_format.h), by id.
  std::vector<std::pair<TokenId, std::string>> framed;

 private:
  void load_lists(const gguf::File& file, const VocabularyDefaults& defaults);
  void load_types_and_scores(const gguf::File& file, size_t num_listed, bool needs_scores);
  void load_pieces(Spelling spelling, size_t text_bytes);
  void load_special_ids(const gguf::File& file, const VocabularyDefaults& defaults);
  void find_end_tokens();
  void load_specials(const gguf::File& file);
};

// The character that stands for each byte in byte-level vocabularies, as UTF-8.
struct ByteSpelling {
  std::array<char, 2> bytes;
  uint8_t size;
};
extern const std::array<ByteSpelling, 256> kByteSpellings;

// tokenizer.ggml.merges as a table over token ids. Throws Error(kCorruptData) for a missing list or
// a merge that names a token which is not in the vocabulary.
MergeTable load_merges(const gguf::File& file, const Vocabulary& vocabulary);

// The tokenizers behind Tokenizer::from_gguf.
struct PreTokenizer;
std::unique_ptr<Tokenizer> make_byte_tokenizer(const gguf::File& file,
                                               const PreTokenizer& pretokenizer);
enum class MergeRule { kScores, kMerges };
std::unique_ptr<Tokenizer> make_piece_tokenizer(const gguf::File& file, MergeRule rule);

}  // namespace sluice::text
