#pragma once

#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace sluice::grammar::testing {

// A vocabulary with a token for each byte, then `words`, then `controls`, then one that ends a
// reply.
inline std::unique_ptr<text::Tokenizer> make_tokenizer(
    const std::vector<std::string>& words, const std::vector<std::string>& controls = {}) {
  std::vector<std::string> texts;
  const auto spelled = [](std::string_view bytes) {
    std::string text;
    for (const char c : bytes) {
      const text::ByteSpelling& spelling = text::kByteSpellings[static_cast<uint8_t>(c)];
      text.append(spelling.bytes.data(), spelling.size);
    }
    return text;
  };
  for (int byte = 0; byte < 256; ++byte) {
    texts.push_back(spelled(std::string(1, static_cast<char>(byte))));
  }
  for (const std::string& word : words) texts.push_back(spelled(word));
  std::vector<int32_t> types(texts.size(), 1);
  texts.insert(texts.end(), controls.begin(), controls.end());
  types.resize(texts.size(), 3);
  texts.push_back("<|end|>");
  types.push_back(3);
  gguf::Writer writer;
  writer.set_string("tokenizer.ggml.model", "gpt2");
  writer.set_string("tokenizer.ggml.pre", "gpt-2");
  writer.set_strings("tokenizer.ggml.tokens", texts);
  writer.set_int32s("tokenizer.ggml.token_type", types);
  writer.set_strings("tokenizer.ggml.merges", {});
  writer.set_uint32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(texts.size() - 1));
  const std::vector<std::byte> bytes = writer.bytes();
  return text::Tokenizer::from_gguf(gguf::File::parse(bytes));
}

// Tokens that cross the borders of what a grammar tells apart.
inline std::vector<std::string> common_words() {
  return {"{\"",         "\":",
          "\": ",        "\",\n",
          "\", \"",      "},",
          "\"}",         "}]",
          "[{",          "{}",
          "[]",          "\":\"",
          "true",        "false",
          "null",        "tr",
          "ue",          " null",
          "name",        "na",
          " the",        "the",
          "a",           "ab",
          "abc",         "\n  ",
          "\n    ",      "  ",
          "\n",          "00",
          "12",          "123",
          "3.14",        ".5",
          "1e",          "-1",
          "é",           "éa",
          "\\n",         "\\u00",
          "\\\"",        "日本",
          "本語",        "😀",
          "hello world", "an ordinary sentence",
          "\xE6\x97",    "root",
          "yes",         "no",
          " ",           "\t",
          ",",           ", ",
          ":",           "2024-",
          "-01-"};
}

// As many tokens as large models have: words of letters with and without a space before them,
// numbers, punctuation, other scripts.
inline std::vector<std::string> many_words(size_t count) {
  std::vector<std::string> words = common_words();
  std::mt19937 random(7);
  const auto below = [&](size_t n) { return static_cast<size_t>(random()) % n; };
  constexpr std::string_view kSigns = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\n\t ";
  while (words.size() < count) {
    std::string word;
    const size_t kind = below(100);
    if (kind < 70) {
      if (below(2) == 0) word = " ";
      for (size_t i = 2 + below(9); i > 0; --i) word += static_cast<char>('a' + below(26));
      if (below(4) == 0) word[word[0] == ' ' ? 1 : 0] -= 32;
    } else if (kind < 90) {
      const size_t first = below(2) == 0 ? 0x4E00 : 0x400;
      for (size_t i = 1 + below(4); i > 0; --i) {
        text::append_utf8(word, static_cast<char32_t>(first + below(first == 0x400 ? 96 : 5000)));
      }
    } else if (kind < 97) {
      for (size_t i = 2 + below(4); i > 0; --i) word += kSigns[below(kSigns.size())];
    } else {
      for (size_t i = 2 + below(2); i > 0; --i) word += static_cast<char>('0' + below(10));
    }
    words.push_back(word);
  }
  return words;
}

}  // namespace sluice::grammar::testing
