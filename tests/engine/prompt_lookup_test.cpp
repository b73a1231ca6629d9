#include "engine/prompt_lookup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <vector>

namespace sluice::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Tokens = std::vector<text::TokenId>;

std::vector<text::TokenId> guess(const Tokens& tokens, int count) {
  PromptLookup lookup;
  Tokens result;
  const auto match = lookup.find(tokens);
  if (match.length > 0) PromptLookup::copy(tokens, match, count, result);
  return result;
}

TEST(PromptLookup, GuessesWhatFollowedTheSameTokens) {
  EXPECT_THAT(guess({7, 1, 2, 3, 4, 5, 9, 1, 2}, 3), ElementsAre(3, 4, 5));
}

TEST(PromptLookup, WithoutARepetitionThereIsNothing) {
  EXPECT_THAT(guess({1, 2, 3, 4, 5, 6}, 3), IsEmpty());
  EXPECT_THAT(guess({1, 2, 3, 2}, 3), IsEmpty()) << "one token is too little";
  EXPECT_THAT(guess({}, 3), IsEmpty());
  EXPECT_THAT(guess({1}, 3), IsEmpty());
  EXPECT_THAT(guess({1, 1}, 3), IsEmpty());
}

TEST(PromptLookup, TheLongerMatchWinsThenTheLaterOne) {
  EXPECT_THAT(guess({1, 2, 3, 40, 9, 2, 3, 50, 1, 2, 3}, 1), ElementsAre(40));
  EXPECT_THAT(guess({2, 3, 40, 9, 2, 3, 50, 1, 2, 3}, 1), ElementsAre(50));
}

TEST(PromptLookup, ATextThatRepeatsItselfIsGuessedToGoOn) {
  EXPECT_THAT(guess({5, 6, 7, 5, 6, 7, 5, 6}, 7), ElementsAre(7, 5, 6, 7, 5, 6, 7));
  EXPECT_THAT(guess({8, 8, 8}, 4), ElementsAre(8, 8, 8, 8));
}

TEST(PromptLookup, AfterAResetTheTextMayBeAnotherOne) {
  PromptLookup lookup;
  const Tokens first = {1, 2, 3, 4, 1, 2}, second = {9, 1, 2, 5, 6, 7, 1, 2};
  EXPECT_EQ(lookup.find(first).next, 2);
  lookup.reset();
  EXPECT_EQ(lookup.find(second).next, 3);
}

PromptLookup::Match slow_find(std::span<const text::TokenId> tokens) {
  PromptLookup::Match best;
  for (size_t end = tokens.size() - 1; end >= PromptLookup::kShortestMatch; --end) {
    int length = 0;
    while (length < PromptLookup::kLongestMatch && static_cast<size_t>(length) < end &&
           tokens[end - 1 - static_cast<size_t>(length)] ==
               tokens[tokens.size() - 1 - static_cast<size_t>(length)]) {
      ++length;
    }
    if (length >= PromptLookup::kShortestMatch && length > best.length) {
      best = {length, static_cast<int>(end)};
    }
  }
  return best;
}

TEST(PromptLookup, FindsWhatASlowSearchFindsWhileTheTextGrows) {
  constexpr uint64_t kSeed = 5;
  std::cout << "seed " << kSeed << "\n";
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 20; ++round) {
    PromptLookup lookup;
    Tokens tokens;
    while (tokens.size() < 600) {
      if (tokens.size() > 50 && random() % 20 == 0) {
        const size_t from = random() % 40;
        for (size_t i = 0; i < 10; ++i) tokens.push_back(tokens[from + i]);
      }
      tokens.push_back(static_cast<text::TokenId>(random() % 12));
      if (tokens.size() < 3 || random() % 3 == 0) continue;
      const auto expected = slow_find(tokens), found = lookup.find(tokens);
      ASSERT_EQ(found.length, expected.length);
      ASSERT_EQ(found.next, expected.next);
    }
  }
}

}  // namespace
}  // namespace sluice::engine
