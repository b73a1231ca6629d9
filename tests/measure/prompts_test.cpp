#include "measure/prompts.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"

namespace sluice::measure {
namespace {

TEST(Prompts, ReadsTextAndJsonLineByLine) {
  const auto prompts = parse_prompts(
      "plain text\r\n\n\"a string\\nof two lines\"\n"
      "{\"prompt\":\"one\",\"max_tokens\":7}\n{\"text\":\"two\",\"output_length\":9}\n"
      "{\"messages\":[{\"role\":\"user\",\"content\":\"first\"},{\"role\":\"user\",\"content\":"
      "\"last\"},{\"role\":\"assistant\",\"content\":\"no\"}]}",
      "f");
  ASSERT_EQ(prompts.size(), 5u);
  EXPECT_EQ(prompts[0].text, "plain text");
  EXPECT_EQ(prompts[1].text, "a string\nof two lines");
  EXPECT_EQ(prompts[2].max_tokens, 7);
  EXPECT_EQ(prompts[3].max_tokens, 9);
  EXPECT_EQ(prompts[4].text, "last");
  EXPECT_FALSE(prompts[4].max_tokens);
}

TEST(Prompts, NamesTheLineThatIsWrong) {
  for (const char* bad : {"{\"prompt\":", "{}", "{\"prompt\":3}", "\"open", "{\"messages\":[3]}",
                          "{\"messages\":{}}"}) {
    try {
      parse_prompts(std::string("good\n") + bad, "file");
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("file, line 2: "), 0u) << error.what();
    }
  }
  EXPECT_THROW(parse_prompts("", "f"), Error);
  EXPECT_THROW(parse_prompts("\n\n", "f"), Error);
  EXPECT_THROW(read_prompts("/nonexistent"), Error);
}

TEST(Lengths, ReadsItsForms) {
  EXPECT_EQ(parse_length("512", "x").text(), "512");
  EXPECT_EQ(parse_length("100-900", "x").text(), "100-900");
  EXPECT_EQ(parse_length("512~0", "x").text(), "512~0");
  for (const char* bad : {"", "0", "-5", "5-", "9-5", "~5", "5~", "5~-1", "many", "1e9", "2000000",
                          "5-9-12", "nan"}) {
    EXPECT_THROW(parse_length(bad, "--input-tokens"), Error) << bad;
  }
}

TEST(Lengths, AreDrawnAsAsked) {
  std::mt19937_64 random(7);
  EXPECT_EQ(draw_length(parse_length("512", "x"), random(), random()), 512);
  int least = 1000, most = 0;
  double sum = 0, squares = 0;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const int uniform = draw_length(parse_length("10-12", "x"), random(), random());
    least = std::min(least, uniform);
    most = std::max(most, uniform);
    const double normal = draw_length(parse_length("500~50", "x"), random(), random());
    sum += normal;
    squares += (normal - 500) * (normal - 500);
    EXPECT_GE(draw_length(parse_length("3~500", "x"), random(), random()), 1);
  }
  EXPECT_EQ(least, 10);
  EXPECT_EQ(most, 12);
  EXPECT_NEAR(sum / kDraws, 500, 2);
  EXPECT_NEAR(std::sqrt(squares / kDraws), 50, 2);
}

}  // namespace
}  // namespace sluice::measure
