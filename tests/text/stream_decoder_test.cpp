#include "text/stream_decoder.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "text/tokenizer_vocabularies.h"

namespace sluice::text {
namespace {

std::string repair(const std::string& bytes, size_t step) {
  Utf8Repairer repairer;
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += step) {
    repairer.push(std::string_view(bytes).substr(i, step), out);
  }
  repairer.flush(out);
  return out;
}

// What Python's bytes.decode("utf-8", "replace") answers.
TEST(Utf8Repairer, ReplacesMaximalSubpartsAsPythonDoes) {
  const std::string r = "\uFFFD";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"plain", "plain"},
      {"\xC3\xA9", "\u00E9"},
      {"\x80", r},
      {"\xC3", r},
      {"\xC3x", r + "x"},
      {"\xE2\x82", r},
      {"\xE2\x82x", r + "x"},
      {"\xF0\x9F\x98", r},
      {"\xF0\x9F\x98\x80", "\U0001F600"},
      {"\xF0\x9F\xE2\x82\xAC", r + "\u20AC"},
      {"\xC0\x80", r + r},
      {"\xE0\x80\x80", r + r + r},
      {"\xED\xA0\x80", r + r + r},
      {"\xF0\x80\x80\x41", r + r + r + "A"},
      {"\xF4\x90\x80\x80", r + r + r + r},
      {"\xF5\x80", r + r},
      {"\xFF\xFE", r + r},
      {"a\xE4\xBD\xA0\xE5\xA5", "a\u4F60" + r},
  };
  for (const auto& [bytes, expected] : cases) {
    for (size_t step = 1; step <= 4; ++step) EXPECT_EQ(repair(bytes, step), expected) << bytes;
  }
}

TEST(Utf8Repairer, NeverEmitsHalfACharacter) {
  const std::string text = "a\u00E9\u20AC\U0001F600z";
  Utf8Repairer repairer;
  std::string all;
  for (const char byte : text) {
    std::string piece;
    repairer.push({&byte, 1}, piece);
    EXPECT_TRUE(is_utf8(piece));
    all += piece;
  }
  EXPECT_EQ(all, text);
}

TEST(StreamDecoder, JoinsBytesOfACharacterAcrossTokens) {
  const auto tokenizer = testing::load(testing::byte_vocabulary().writer());
  const std::vector<TokenId> ids = tokenizer->encode("\U0001F600!");
  ASSERT_EQ(ids.size(), 5u);
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.push(ids[1]), "");
  EXPECT_EQ(decoder.push(ids[2]), "");
  EXPECT_EQ(decoder.push(ids[3]), "\U0001F600");
  EXPECT_EQ(decoder.push(ids[4]), "!");
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.flush(), "\uFFFD");
  EXPECT_EQ(decoder.flush(), "");
}

std::string run(StopMatcher& matcher, const std::vector<std::string>& pieces,
                std::optional<size_t>& stop) {
  std::string text;
  for (const std::string& piece : pieces) {
    const StopMatcher::Result result = matcher.push(piece);
    text += result.text;
    stop = result.stop_index;
    if (stop) return text;
  }
  return text + matcher.flush();
}

TEST(StopMatcher, FindsAStopAcrossPieces) {
  StopMatcher matcher({"###", "User:"});
  EXPECT_EQ(matcher.push("Hello U").text, "Hello ");
  EXPECT_EQ(matcher.push("se").text, "");
  const StopMatcher::Result result = matcher.push("r: more");
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.stop_index, 1u);
  EXPECT_EQ(matcher.push("after").text, "");
  EXPECT_EQ(matcher.push("after").stop_index, 1u);
}

TEST(StopMatcher, ReleasesTextThatWasNoStop) {
  StopMatcher matcher({"aab"});
  EXPECT_EQ(matcher.push("xaa").text, "x");
  EXPECT_EQ(matcher.push("a").text, "a");
  EXPECT_EQ(matcher.push("c").text, "aac");
  EXPECT_EQ(matcher.push("a").text, "");
  EXPECT_EQ(matcher.flush(), "a");
  EXPECT_EQ(matcher.push("ab").text, "ab");
}

TEST(StopMatcher, FirstCompleteStopWinsAndOfThoseTheLongest) {
  std::optional<size_t> stop;
  StopMatcher first({"d", "bcde"});
  EXPECT_EQ(run(first, {"abcdef"}, stop), "abc");
  EXPECT_EQ(stop, 0u);
  StopMatcher longest({"d", "bcd"});
  EXPECT_EQ(run(longest, {"abcdef"}, stop), "a");
  EXPECT_EQ(stop, 1u);
}

TEST(StopMatcher, IgnoresEmptyStops) {
  std::optional<size_t> stop;
  StopMatcher matcher({"", "x"});
  EXPECT_EQ(run(matcher, {"abx"}, stop), "ab");
  EXPECT_EQ(stop, 1u);
  StopMatcher none({});
  EXPECT_EQ(none.push("text").text, "text");
}

TEST(StopMatcher, AgreesWithPlainSearchHoweverTheTextIsCut) {
  constexpr uint32_t kSeed = 7;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  const auto word = [&](size_t size) {
    std::string text(size, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    const std::vector<std::string> stops = {word(2 + random() % 4), word(3 + random() % 5)};
    const std::string text = word(random() % 24);
    size_t end = std::string::npos;
    size_t begin = std::string::npos;
    for (const std::string& stop : stops) {
      const size_t at = text.find(stop);
      if (at == std::string::npos) continue;
      if (at + stop.size() < end || (at + stop.size() == end && at < begin)) {
        begin = at;
        end = at + stop.size();
      }
    }
    std::vector<std::string> pieces;
    for (size_t i = 0; i < text.size();) {
      pieces.push_back(text.substr(i, 1 + random() % 3));
      i += pieces.back().size();
    }
    StopMatcher matcher(stops);
    std::optional<size_t> stop;
    EXPECT_EQ(run(matcher, pieces, stop), text.substr(0, begin));
    EXPECT_EQ(stop.has_value(), begin != std::string::npos);
  }
}

}  // namespace
}  // namespace sluice::text
