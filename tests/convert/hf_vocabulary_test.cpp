#include "convert/hf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"

namespace sluice::convert {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) +
         std::string(1, static_cast<char>(bytes.size())) + bytes;
}
std::string number_field(int number, int value) {
  return {static_cast<char>(number << 3), static_cast<char>(value)};
}
std::string piece(const std::string& text, float score, int type) {
  char bytes[4];
  std::memcpy(bytes, &score, 4);
  return field(1, field(1, text) + std::string(1, 2 << 3 | 5) + std::string(bytes, 4) +
                      number_field(3, type));
}

TEST(SentencePiece, ReadsPiecesScoresAndTypes) {
  const HfVocabulary vocabulary = parse_sentencepiece(
      piece("<unk>", 0.0f, 2) + piece("\xE2\x96\x81the", -3.5f, 1) + piece("<0x0A>", 0.0f, 6) +
      field(2, number_field(3, 2)) + field(3, number_field(3, 0)));
  EXPECT_THAT(vocabulary.tokens, ElementsAre("<unk>", "\xE2\x96\x81the", "<0x0A>"));
  EXPECT_THAT(vocabulary.scores, ElementsAre(0.0f, -3.5f, 0.0f));
  EXPECT_THAT(vocabulary.types, ElementsAre(2, 1, 6));
  EXPECT_EQ(vocabulary.adds_space_prefix, false);
  EXPECT_EQ(vocabulary.model, "llama");
}

TEST(SentencePiece, RefusesWhatIsCutOrOfAnotherKind) {
  const std::string good = piece("a", 0.0f, 1) + field(2, number_field(3, 2));
  EXPECT_NO_THROW(parse_sentencepiece(good));
  for (size_t size = 1; size < good.size(); ++size) {
    EXPECT_THROW(parse_sentencepiece(good.substr(0, size)), Error) << size;
  }
  EXPECT_THROW(parse_sentencepiece(""), Error);
  EXPECT_THROW(parse_sentencepiece(std::string(20, '\xff')), Error);
  EXPECT_THROW(parse_sentencepiece(piece("a", 0.0f, 9)), Error);
  EXPECT_THROW(parse_sentencepiece(piece("a", 0.0f, 1)), Error);  // unigram, not BPE
}

std::string tokenizer(const std::string& pretokenizer) {
  return R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},)"
         R"("pre_tokenizer":)" +
         pretokenizer + "}";
}
std::string split(const std::string& pattern) {
  return R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":")" + pattern +
         R"("},"behavior":"Isolated"},{"type":"ByteLevel","use_regex":false}]})";
}

TEST(TokenizerJson, NamesThePreTokenizer) {
  const std::string tail = R"(| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";
  const std::string words = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|)";
  const auto name = [](const std::string& pretokenizer) {
    return parse_tokenizer_json(tokenizer(pretokenizer)).pretokenizer;
  };
  EXPECT_EQ(name(split(words + R"(\\p{N}{1,3})" + tail)), "llama-bpe");
  EXPECT_EQ(name(split(words + R"(\\p{N})" + tail)), "qwen2");
  EXPECT_EQ(name(R"({"type":"ByteLevel"})"), "gpt-2");
  EXPECT_EQ(
      name(R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},)"
           R"({"type":"ByteLevel","use_regex":true}]})"),
      "smollm");
  EXPECT_THROW(name(split(R"(\\w+)")), Error);
  EXPECT_THROW(name(R"({"type":"Metaspace"})"), Error);
  EXPECT_THROW(name("null"), Error);
}

TEST(TokenizerJson, TakesByteFallbackForSentencePiece) {
  const HfVocabulary vocabulary = parse_tokenizer_json(
      R"({"model":{"type":"BPE","byte_fallback":true,"unk_token":"<unk>","merges":[],"vocab":)"
      R"({"<unk>":0,"<0x00>":1,"a":2}},"normalizer":{"type":"Sequence","normalizers":)"
      R"([{"type":"Prepend","prepend":"_"}]}})");
  EXPECT_EQ(vocabulary.model, "llama");
  EXPECT_THAT(vocabulary.types, ElementsAre(2, 6, 1));
  EXPECT_GT(vocabulary.scores[1], vocabulary.scores[2]);
  EXPECT_EQ(vocabulary.adds_space_prefix, true);
}

TEST(TokenizerJson, RefusesIdsThatLie) {
  const auto refusal = [](const std::string& text) {
    try {
      parse_tokenizer_json(text);
      return std::string("nothing was thrown");
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_THAT(refusal(R"({"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}})"),
              HasSubstr("given twice"));
  EXPECT_THAT(refusal(R"({"model":{"type":"BPE","vocab":{"a":16000000},"merges":[]}})"),
              HasSubstr("far out"));
  EXPECT_THAT(refusal(R"({"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}})"),
              HasSubstr("no number as its id"));
  EXPECT_THAT(refusal(R"({"model":{"type":"Unigram","vocab":[]}})"), HasSubstr("'Unigram'"));
  EXPECT_THAT(refusal(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[7]}})"),
              HasSubstr("no pair"));
  EXPECT_THAT(refusal(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":)"
                      R"({"type":"ByteLevel"},"added_tokens":[{"id":9999999,"content":"x"}]})"),
              HasSubstr("far out"));
}

}  // namespace
}  // namespace sluice::convert
