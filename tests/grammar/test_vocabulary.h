#pragma once

#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "../text/tokenizer_vocabularies.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace sluice::grammar::testing {

// A vocabulary with a token for each byte, then `words`, then `controls`, then one that ends a
// reply.
inline std::unique_ptr<text::Tokenizer> make_tokenizer(
    const std::vector<std::string>& words, const std::vector<std::string>& controls = {}) {
  using text::testing::kControl;
  text::testing::TinyVocabulary vocabulary = text::testing::bytes_alone();
  for (const std::string& word : words) vocabulary.add(text::testing::byte_spelling(word));
  for (const std::string& control : controls) vocabulary.add(control, kControl);
  vocabulary.eos = vocabulary.add("<|end|>", kControl);
  return text::testing::load(vocabulary.writer());
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
