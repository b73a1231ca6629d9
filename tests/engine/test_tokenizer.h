#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "text/tokenizer.h"

namespace sluice::engine {

// A vocabulary whose token b is the byte b, and one token more that ends a reply.
inline constexpr text::TokenId kEndToken = 256;
inline constexpr int kVocabSize = 257;

inline std::vector<text::TokenId> bytes_as_tokens(std::string_view bytes) {
  std::vector<text::TokenId> ids;
  for (const char byte : bytes) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

class TestTokenizer {
 public:
  TestTokenizer() : bytes_(file_bytes()), file_(gguf::File::parse(bytes_)) {
    tokenizer_ = text::Tokenizer::from_gguf(file_);
  }
  operator const text::Tokenizer&() const { return *tokenizer_; }

 private:
  // GPT-2's way of spelling a byte as a printable character: itself if it is one, else one of the
  // characters from U+0100 on, in order.
  static std::vector<std::string> spellings() {
    std::vector<std::string> result;
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const bool is_printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
      const int character = is_printable ? byte : next++;
      std::string spelling;
      if (character < 128) {
        spelling = static_cast<char>(character);
      } else {
        spelling += static_cast<char>(0xC0 | (character >> 6));
        spelling += static_cast<char>(0x80 | (character & 63));
      }
      result.push_back(spelling);
    }
    return result;
  }

  static std::vector<std::byte> file_bytes() {
    std::vector<std::string> tokens = spellings();
    tokens.push_back("<|end|>");
    std::vector<int32_t> types(256, 1);
    types.push_back(3);
    gguf::Writer writer;
    writer.set_string("tokenizer.ggml.model", "gpt2");
    writer.set_string("tokenizer.ggml.pre", "gpt-2");
    writer.set_strings("tokenizer.ggml.tokens", tokens);
    writer.set_int32s("tokenizer.ggml.token_type", types);
    writer.set_strings("tokenizer.ggml.merges", {});
    writer.set_uint32("tokenizer.ggml.eos_token_id", kEndToken);
    return writer.bytes();
  }

  std::vector<std::byte> bytes_;
  gguf::File file_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
};

}  // namespace sluice::engine
