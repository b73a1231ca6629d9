#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

// Tiny vocabularies made in code, one of each kind, for tests and fuzzing.
namespace sluice::text::testing {

enum Type : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct TinyVocabulary {
  std::string model = "gpt2";
  std::string pre = "gpt-2";  // "": none
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<float> scores;
  std::vector<std::string> merges;
  std::optional<TokenId> eos;

  int32_t add(const std::string& token, int32_t type = kNormal, float score = 0) {
    tokens.push_back(token);
    types.push_back(type);
    scores.push_back(score);
    return static_cast<int32_t>(tokens.size() - 1);
  }

  gguf::Writer writer() const {
    gguf::Writer writer;
    writer.set_string("general.architecture", "llama");
    writer.set_string("tokenizer.ggml.model", model);
    if (!pre.empty()) writer.set_string("tokenizer.ggml.pre", pre);
    writer.set_strings("tokenizer.ggml.tokens", tokens);
    writer.set_int32s("tokenizer.ggml.token_type", types);
    if (model == "llama") writer.set_float32s("tokenizer.ggml.scores", scores);
    if (model != "llama") writer.set_strings("tokenizer.ggml.merges", merges);
    if (eos) writer.set_uint32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*eos));
    return writer;
  }
};

inline std::unique_ptr<Tokenizer> load(const gguf::Writer& writer) {
  const std::vector<std::byte> bytes = writer.bytes();
  return Tokenizer::from_gguf(gguf::File::parse(bytes));
}

// Adds the merge of each "left right" and its token.
inline void add_merges(TinyVocabulary& v, const std::vector<std::string>& merges) {
  for (const std::string& merge : merges) {
    v.merges.push_back(merge);
    std::string token = merge;
    token.erase(token.find(' ', 1), 1);
    v.add(token);
  }
}

// How byte-level vocabularies spell bytes.
inline std::string byte_spelling(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    const ByteSpelling& spelling = kByteSpellings[static_cast<uint8_t>(byte)];
    text.append(spelling.bytes.data(), spelling.size);
  }
  return text;
}

// A token for each byte, whose id is the byte.
inline TinyVocabulary bytes_alone(const std::string& pre = "gpt-2") {
  TinyVocabulary v;
  v.pre = pre;
  for (int byte = 0; byte < 256; ++byte) {
    v.add(byte_spelling(std::string(1, static_cast<char>(byte))));
  }
  return v;
}

// And behind them one that ends a reply.
inline constexpr TokenId kEndOfBytes = 256;
inline gguf::Writer bytes_and_end() {
  TinyVocabulary v = bytes_alone();
  v.eos = v.add("<|end|>", kControl);
  return v.writer();
}

// All bytes, a few merges and special tokens.
inline TinyVocabulary byte_vocabulary(const std::string& pre = "gpt-2") {
  TinyVocabulary v = bytes_alone(pre);
  add_merges(v, {"h e", "l l", "he ll", "hell o", "\u0120 w", "\u0120w o", "o r", "\u0120wo r",
                 "\u00C3 \u00A9", "\u0120 \u0120", "\u0120\u0120 \u0120\u0120", "1 2", "a a"});
  v.add("<|im_start|>", kControl);
  v.add("<|im_end|>", kControl);
  v.add("<tag>", kUserDefined);
  v.add("<tag><tag>", kUserDefined);
  return v;
}

// SentencePiece style: 0 unknown, 1 BOS, 2 EOS, 3 to 258 bytes, then characters and pieces.
inline TinyVocabulary piece_vocabulary() {
  TinyVocabulary v;
  v.model = "llama";
  v.pre = "default";
  v.add("<unk>", kUnknown);
  v.add("<s>", kControl);
  v.add("</s>", kControl);
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (size_t byte = 0; byte < 256; ++byte) {
    v.add(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">", kByte);
  }
  float score = 0;
  for (const char* token :
       {"\u2581\u2581", "he", "ll", "\u2581he", "\u2581hello", "llo", "hello", "\u2581w", "or",
        "\u2581wor", "ld", "\u2581world", "\u2581\u2581\u2581\u2581", "s>", "<s"}) {
    v.add(token, kNormal, score--);
  }
  for (const char* token : {"\u2581", "h", "e", "l", "o", "w", "r", "d", "s", "<", ">", "\u00E9"}) {
    v.add(token, kNormal, score--);
  }
  v.add("  ", kUserDefined, -1000);
  v.add("\n", kUserDefined, -1000);
  v.add("\n\n", kUserDefined, -1000);
  return v;
}

// Gemma 4 style: merges over pieces with "▁", bytes as a fallback.
inline TinyVocabulary merge_piece_vocabulary() {
  TinyVocabulary v = piece_vocabulary();
  v.model = "gemma4";
  v.pre = "";
  v.tokens.resize(259);
  v.types.resize(259);
  v.scores.clear();
  for (const char* token : {"\u2581", "h", "e", "l", "o", "w", "r", "\n", "\n\n\n"}) v.add(token);
  add_merges(v, {"h e", "l l", "he ll", "hell o", "\u2581 hello", "\u2581 w", "\u2581 \u2581"});
  return v;
}

}  // namespace sluice::text::testing
