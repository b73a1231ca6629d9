#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/work.h"
#include "gguf/file.h"
#include "text/prompt_text.h"

namespace sluice::text {

using TokenId = int32_t;

struct Vocabulary;

struct EncodeOptions {
  // Put BOS first (and EOS last) where the model's own metadata asks for it.
  bool add_special = false;
  // Control tokens written in the text ("<|im_end|>") become that token; of a PromptText only those
  // that lie in the template's own text. Off for text from outside that is no rendered prompt: they
  // are then encoded as plain text.
  bool parse_special = true;
  // The text goes on with what stands before it: SentencePiece-style vocabularies put no space in
  // front of its first word.
  bool goes_on = false;
};

// What tells a model to fill in text: `prefix` TEXT `suffix` TEXT `middle`, and it goes on with
// what belongs in between.
struct FillTokens {
  TokenId prefix;
  TokenId suffix;
  TokenId middle;
};
// Whether a file names all three.
bool names_fill_tokens(const gguf::File& file);

// Text to token ids and back for one model. Immutable and safe to share between threads.
// Byte-level BPE (GPT-2 family), SentencePiece-style BPE with scores (Llama 2, Gemma), and BPE with
// merges over such pieces (Gemma 4).
class Tokenizer {
 public:
  // Reads tokenizer.ggml.*. Throws Error: kUnsupported naming the tokenizer model or pre-tokenizer,
  // kCorruptData for lists that do not fit together.
  static std::unique_ptr<Tokenizer> from_gguf(const gguf::File& file);
  virtual ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Any bytes are accepted. Invalid UTF-8 is encoded as the reference does: for byte-level BPE each
  // byte that starts no character as U+FFFD, for SentencePiece-style vocabularies as byte tokens.
  // Words are cut after a megabyte. Linear in the length (up to the logarithm of the longest word).
  // Where the origin of the text changes makes no difference but for control tokens. Throws
  // Error(kInvalidArgument) for a text of 1 GiB or more, and what `work` throws, to which the bytes
  // of the text are charged.
  std::vector<TokenId> encode(const PromptText& text, const EncodeOptions& options,
                              Work& work) const;
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options,
                              Work& work) const;
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const {
    Work work;
    return encode(text, options, work);
  }

  // No text of this size has fewer tokens; 0 when the vocabulary says nothing about it.
  size_t least_num_tokens(size_t size_bytes) const;

  // The bytes a token stands for (may be part of a character). Control tokens give their text only
  // with `with_special`, else "". An id out of range gives "". The view lives as long as the
  // tokenizer.
  std::string_view token_bytes(TokenId id, bool with_special = false) const;
  // The same, but control tokens give their text in a frame (reply_format.h).
  std::string_view framed_bytes(TokenId id) const;
  // Whole text of the ids, as streaming decode would give it.
  std::string decode(const std::vector<TokenId>& ids, bool with_special = false) const;

  // The token's own spelling in the vocabulary ("Ġthe", "▁the", "<|im_end|>").
  std::string_view token_text(TokenId id) const;
  std::optional<TokenId> find_token(std::string_view token_text) const;

  size_t vocab_size() const;
  bool is_control(TokenId id) const;
  // EOS, EOT, EOM and what else ends a reply for this vocabulary ("<|im_end|>", "<end_of_turn>").
  bool is_end_of_generation(TokenId id) const;
  std::optional<TokenId> bos() const;
  std::optional<TokenId> eos() const;
  bool adds_bos() const;                          // the model's metadata asks for BOS
  std::optional<FillTokens> fill_tokens() const;  // of models that are said to have them

 protected:
  explicit Tokenizer(std::unique_ptr<const Vocabulary> vocabulary);
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  // Encodes a stretch of text without special tokens and appends to `ids`. `after_special`: the
  // stretch stands at the beginning or behind a special token, and does not go on with a text.
  virtual void encode_text(std::string_view text, bool after_special, std::vector<TokenId>& ids,
                           Work& work) const = 0;
  // Whether every byte of a text is in some token.
  virtual bool keeps_all_bytes() const = 0;

  static constexpr size_t kMaxWordBytes = size_t{1} << 20;

 private:
  template <typename TrustedEnd>
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options,
                              TrustedEnd trusted_end, Work& work) const;

  std::unique_ptr<const Vocabulary> vocabulary_;
};

}  // namespace sluice::text
