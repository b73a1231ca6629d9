#include "measure/traffic_mix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <vector>

namespace sluice::measure {
namespace {

constexpr int kNumDraws = 10'000;

struct Drawn {
  double mean = 0;
  int median = 0;
  int p95 = 0;
  int p99 = 0;
};

Drawn describe(std::vector<int> lengths) {
  std::sort(lengths.begin(), lengths.end());
  double sum = 0;
  for (int length : lengths) sum += length;
  return {sum / kNumDraws, lengths[kNumDraws / 2], lengths[kNumDraws * 95 / 100],
          lengths[kNumDraws * 99 / 100]};
}

void expect_near(const Drawn& drawn, const Drawn& wanted) {
  EXPECT_NEAR(drawn.mean, wanted.mean, 0.03 * wanted.mean);
  EXPECT_NEAR(drawn.median, wanted.median, 0.05 * wanted.median);
  EXPECT_NEAR(drawn.p95, wanted.p95, 0.06 * wanted.p95);
  EXPECT_NEAR(drawn.p99, wanted.p99, 0.08 * wanted.p99);
}

void expect_lengths(Mix mix, const Drawn& prompts, const Drawn& replies) {
  std::vector<int> words, tokens;
  for (uint64_t i = 0; i < kNumDraws; ++i) {
    const MixedRequest request = make_mixed_request(mix, 7, i);
    words.push_back(request.num_words);
    tokens.push_back(request.max_tokens);
  }
  expect_near(describe(words), prompts);
  expect_near(describe(tokens), replies);
}

TEST(TrafficMix, LengthsAreThoseOfTheHeader) {
  expect_lengths(Mix::kShareGpt, {155, 98, 507, 1000}, {325, 265, 836, 1024});
  expect_lengths(Mix::kAlpaca, {19.3, 17, 39, 55}, {58.3, 46, 145, 233});
}

TEST(TrafficMix, PromptsHaveTheWordsThatWereDrawn) {
  for (uint64_t index = 0; index < 200; ++index) {
    const MixedRequest request = make_mixed_request(Mix::kShareGpt, 1, index);
    std::istringstream stream(request.prompt);
    const std::vector<std::string> words{std::istream_iterator<std::string>(stream), {}};
    // The question's seven words count as eight; the shortest prompts hold one word beside it.
    EXPECT_EQ(static_cast<int>(words.size()), std::max(request.num_words - 8, 1) + 7);
  }
}

TEST(TrafficMix, IsRepeatableAndDiffersByIndexAndSeed) {
  const MixedRequest request = make_mixed_request(Mix::kShareGpt, 5, 17);
  EXPECT_EQ(make_mixed_request(Mix::kShareGpt, 5, 17).prompt, request.prompt);
  EXPECT_EQ(make_mixed_request(Mix::kShareGpt, 5, 17).max_tokens, request.max_tokens);
  EXPECT_NE(make_mixed_request(Mix::kShareGpt, 5, 18).prompt, request.prompt);
  EXPECT_NE(make_mixed_request(Mix::kShareGpt, 6, 17).prompt, request.prompt);
}

TEST(TrafficMix, PromptsShareNoBlockOfACache) {
  std::set<std::string> beginnings;
  int num_long = 0;
  for (uint64_t index = 0; index < 2'000; ++index) {
    const MixedRequest request = make_mixed_request(Mix::kShareGpt, 3, index);
    if (request.num_words < 20) continue;
    ++num_long;
    beginnings.insert(request.prompt.substr(0, 32));
  }
  EXPECT_GT(num_long, 1'500);
  EXPECT_EQ(static_cast<int>(beginnings.size()), num_long);
}

TEST(TrafficMix, UniformAndExponentialKeepTheirRange) {
  EXPECT_GT(uniform_from_bits(0), 0);
  EXPECT_EQ(uniform_from_bits(~uint64_t{0}), 1);
  EXPECT_EQ(exponential_from_bits(~uint64_t{0}), 0);
  EXPECT_LT(exponential_from_bits(0), 40);
}

}  // namespace
}  // namespace sluice::measure
