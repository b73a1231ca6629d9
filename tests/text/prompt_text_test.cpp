#include "text/prompt_text.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice::text {
namespace {

// The same thing, plainly: a byte and whether it is trusted.
struct Plain {
  std::string text;
  std::string marks;  // 't' or 'u'
};

void expect_same(const PromptText& text, const Plain& plain) {
  ASSERT_EQ(text.text(), plain.text);
  for (size_t i = 0; i < plain.text.size(); ++i) {
    const size_t end = std::min(plain.marks.find('u', i), plain.marks.size());
    ASSERT_EQ(text.trusted_end(i), end) << i << " of " << plain.marks;
  }
  EXPECT_EQ(text.is_trusted(), plain.marks.find('u') == std::string::npos);
  EXPECT_EQ(text.is_untrusted(), plain.marks.find('t') == std::string::npos);
}

TEST(PromptText, KnowsTheOriginOfEveryByte) {
  PromptText text("<user>", true);
  text.append("Hi", false);
  text.append("", true);
  text.append("</user>", true);
  expect_same(text, {"<user>Hi</user>", "ttttttuuttttttt"});
  expect_same(text.substr(4, 6), {"r>Hi</", "ttuutt"});
  expect_same(text.substr(6, 2), {"Hi", "uu"});
  expect_same(text.substr(15), {"", ""});
}

TEST(PromptText, AgreesWithMarkedBytesWhateverIsDone) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  for (int round = 0; round < 300; ++round) {
    PromptText text;
    Plain plain;
    for (int step = 0; step < 12; ++step) {
      const bool is_trusted = below(2) == 0;
      if (below(3) > 0 || plain.text.empty()) {
        const std::string piece(below(4), static_cast<char>('a' + below(26)));
        text.append(piece, is_trusted);
        plain.text += piece;
        plain.marks.append(piece.size(), is_trusted ? 't' : 'u');
      } else {
        const size_t begin = below(plain.text.size() + 1), size = below(plain.text.size() + 2);
        const PromptText part = text.substr(begin, size);
        expect_same(part, {plain.text.substr(begin, size), plain.marks.substr(begin, size)});
        text.append(part);
        plain.text += plain.text.substr(begin, size);
        plain.marks += plain.marks.substr(begin, size);
      }
      ASSERT_NO_FATAL_FAILURE(expect_same(text, plain));
    }
  }
}

}  // namespace
}  // namespace sluice::text
