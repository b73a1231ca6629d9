#include "measure/workload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <vector>

namespace sluice::measure {
namespace {

const std::string kQuestion = "give a title for below text in 10 words:\n";

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

TEST(Workload, OutputPromptIsTheArticles) {
  EXPECT_EQ(make_prompt(output_workload(25), 0), "tell a story in 25 words:");
  EXPECT_EQ(make_prompt(output_workload(800), 17), "tell a story in 800 words:");
}

TEST(Workload, InputPromptAsksAboutATextOfExactly484Words) {
  for (uint64_t variant : {0u, 1u, 29u, 4'000'000'000u}) {
    const std::string prompt = make_prompt(input_workload(), variant);
    ASSERT_TRUE(prompt.starts_with(kQuestion));
    EXPECT_EQ(words_of(prompt.substr(kQuestion.size())).size(), 484u);
  }
}

TEST(Workload, VariantsHoldTheSameWordsAndNeighboursBeginDifferently) {
  std::vector<std::string> sorted = words_of(make_prompt(input_workload(), 0));
  std::sort(sorted.begin(), sorted.end());
  std::set<std::string> beginnings;
  for (uint64_t variant = 0; variant < 29; ++variant) {
    const std::string prompt = make_prompt(input_workload(), variant);
    beginnings.insert(prompt.substr(0, kQuestion.size() + 12));
    std::vector<std::string> words = words_of(prompt);
    std::sort(words.begin(), words.end());
    EXPECT_EQ(words, sorted) << "variant " << variant;
  }
  // Some sentences begin with the same word or two ("Ilse ..."), hence not all 29.
  EXPECT_GE(beginnings.size(), 27u);
}

TEST(Workload, VariantsAreRepeatable) {
  EXPECT_EQ(make_prompt(input_workload(), 12345), make_prompt(input_workload(), 12345));
  EXPECT_NE(make_prompt(input_workload(), 12345), make_prompt(input_workload(), 12345 + 29));
}

}  // namespace
}  // namespace sluice::measure
