#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <vector>

namespace sluice::engine {
namespace {

constexpr int kRows = 8;

DraftOffer offer(int max_tokens, double chance) {
  DraftOffer offer;
  offer.max_tokens = max_tokens;
  offer.chance = chance;
  return offer;
}

// A row more takes a tenth of a step more.
double mild(int num_rows) { return 0.010 * (0.9 + 0.1 * num_rows); }
double steep(int num_rows) { return 0.010 * num_rows; }
double unknown(int) { return 0; }

int granted(double chance, const std::function<double(int)>& time_of, double min_gain = 1.03) {
  std::array offers = {offer(7, chance)};
  grant_drafts(offers, 1, kRows, time_of, min_gain);
  return offers[0].num_granted;
}

TEST(GrantDrafts, GoodGuessesGetTheWholeRoom) { EXPECT_EQ(granted(0.98, mild), 7); }

TEST(GrantDrafts, DoubtfulOnesGetFewAndBadOnesNothing) {
  EXPECT_GE(granted(0.5, mild), 1);
  EXPECT_LE(granted(0.5, mild), 3);
  EXPECT_EQ(granted(0.1, mild), 0);
}

TEST(GrantDrafts, WhereRowsCostTooMuchThereIsNone) { EXPECT_EQ(granted(0.98, steep), 0); }

TEST(GrantDrafts, BeforeTheFirstStepThereIsNone) { EXPECT_EQ(granted(0.98, unknown), 0); }

TEST(GrantDrafts, ForcedOnesTakeAllThereIs) { EXPECT_EQ(granted(0.05, steep, 0), 7); }

TEST(GrantDrafts, TheBetterGuessGetsMoreOfTheRoom) {
  std::array offers = {offer(7, 0.5), offer(7, 0.95), offer(0, 0.0), offer(2, 0.99)};
  grant_drafts(offers, 4, kRows, mild, 1.03);
  EXPECT_EQ(offers[0].num_granted, 0);
  EXPECT_EQ(offers[1].num_granted, 2);
  EXPECT_EQ(offers[2].num_granted, 0);
  EXPECT_EQ(offers[3].num_granted, 2) << "no more than it offers";
}

TEST(GrantDrafts, AProbeIsMadeWhereNothingPays) {
  std::array offers = {offer(7, 0.05), offer(7, 0.05)};
  offers[1].wants_probe = true;
  grant_drafts(offers, 2, kRows, mild, 1.03);
  EXPECT_EQ(offers[0].num_granted, 0);
  EXPECT_GT(offers[1].num_granted, 0);
  EXPECT_LE(offers[1].num_granted, 2);
}

// A text whose end always stands further up.
const std::vector<text::TokenId> kText = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4};

TEST(Drafter, ItsChanceFollowsWhatBecameOfItsGuesses) {
  Drafter drafter;
  std::vector<text::TokenId> draft;
  const double before = drafter.offer(kText, 5).chance;
  drafter.draft(kText, 3, draft);
  EXPECT_EQ(draft, (std::vector<text::TokenId>{5, 6, 7}));
  drafter.record(3, 3);
  const double better = drafter.offer(kText, 5).chance;
  EXPECT_GT(better, before);
  for (int i = 0; i < 20; ++i) drafter.record(3, 0);
  EXPECT_LT(drafter.offer(kText, 5).chance, 0.1);
}

TEST(Drafter, ProbesAfterGrowingIntervals) {
  Drafter drafter;
  std::vector<text::TokenId> draft;
  std::vector<int> intervals;
  int num_refused = 0;
  while (intervals.size() < 8) {
    const bool is_probe = drafter.offer(kText, 5).wants_probe;
    drafter.draft(kText, is_probe ? 2 : 0, draft);
    drafter.record(is_probe ? 2 : 0, 0);
    if (is_probe) intervals.push_back(num_refused);
    num_refused = is_probe ? 0 : num_refused + 1;
  }
  EXPECT_EQ(intervals, (std::vector<int>{32, 64, 128, 256, 512, 1024, 1024, 1024}));
  // One that was right all through starts over.
  while (!drafter.offer(kText, 5).wants_probe) drafter.draft(kText, 0, draft);
  drafter.draft(kText, 2, draft);
  drafter.record(2, 2);
  num_refused = 0;
  for (; !drafter.offer(kText, 5).wants_probe; ++num_refused) drafter.draft(kText, 0, draft);
  EXPECT_EQ(num_refused, 32);
}

TEST(Drafter, TakesACopyUpAgainBehindAReplacedToken) {
  std::vector<text::TokenId> text, draft;
  for (int i = 0; i < 30; ++i) text.push_back(i);
  text.insert(text.end(), {99, 0, 1, 2, 3});
  Drafter drafter;
  EXPECT_EQ(drafter.offer(text, 4).max_tokens, 4);
  drafter.draft(text, 4, draft);
  EXPECT_EQ(draft, (std::vector<text::TokenId>{4, 5, 6, 7}));
  drafter.record(4, 2);
  text.insert(text.end(), {4, 5, 77});
  EXPECT_EQ(drafter.offer(text, 4).max_tokens, 4);
  drafter.draft(text, 3, draft);
  EXPECT_EQ(draft, (std::vector<text::TokenId>{7, 8, 9}));
  // Wrong at once: that was not it.
  drafter.record(3, 0);
  text.push_back(78);
  EXPECT_EQ(drafter.offer(text, 4).max_tokens, 0);
}

TEST(Drafter, OffersNothingWithoutRoomOrWithoutAMatch) {
  Drafter drafter;
  EXPECT_EQ(drafter.offer(kText, 0).max_tokens, 0);
  drafter.reset();
  const std::vector<text::TokenId> text = {1, 2, 3, 4};
  EXPECT_EQ(drafter.offer(text, 5).max_tokens, 0);
}

}  // namespace
}  // namespace sluice::engine
