#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/json_file.h"
#include "convert/safetensors.h"
#include "gguf/writer.h"

namespace sluice::convert {

// A model's vocabulary as GGUF has it.
struct HfVocabulary {
  std::string model;  // tokenizer.ggml.model: "gpt2" (byte-level BPE), "llama" (SentencePiece)
  std::string pretokenizer;  // tokenizer.ggml.pre; "" for SentencePiece
  std::vector<std::string> tokens;
  std::vector<float> scores;   // empty for BPE
  std::vector<int32_t> types;  // the numbers of text::TokenType
  std::vector<std::string> merges;
  std::optional<bool> adds_space_prefix;
  std::optional<bool> adds_bos, adds_eos;
  std::optional<int64_t> bos, eos, unknown, padding;
  std::vector<int64_t> other_ends;  // further tokens that end a reply
  std::string chat_template;        // "" when there is none
};

// Reads tokenizer.model (SentencePiece) where there is one, else tokenizer.json (BPE), and what
// tokenizer_config.json, generation_config.json and the chat template's files say. `config` is that
// of config.json. The list has `num_rows` tokens, as the embedding has rows: padded with tokens
// that nobody uses, or without those that have no row. Throws Error: kNotFound when there is no
// vocabulary, kCorruptData, kUnsupported naming the kind of tokenizer or its pre-tokenizer.
HfVocabulary read_vocabulary(const ModelFiles& files, const Fields& config, size_t num_rows);

void write_vocabulary(const HfVocabulary& vocabulary, gguf::Writer& head);

// The parts of it, for tests and fuzzing.
HfVocabulary parse_sentencepiece(std::string_view protobuf);
HfVocabulary parse_tokenizer_json(std::string_view text);

}  // namespace sluice::convert
