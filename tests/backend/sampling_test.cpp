#include "backend/sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "backend/maxima.h"
#include "memory_faults.h"

namespace sluice::backend {
namespace {

using testing::ElementsAre;
using TokenId = int32_t;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Ranked {
  double logit;
  TokenId id;
  double p = 0;
};

void softmax(std::vector<Ranked>& items) {
  double highest = items.front().logit, total = 0;
  for (const Ranked& item : items) highest = std::max(highest, item.logit);
  for (Ranked& item : items) total += item.p = std::exp(item.logit - highest);
  for (Ranked& item : items) item.p /= total;
}

// The definition, step by step, with full sorts.
std::vector<double> plain_distribution(std::vector<float> logits,
                                       const std::vector<TokenId>& history,
                                       const SamplingParams& params) {
  std::map<TokenId, int> counts;
  for (const TokenId id : history) ++counts[id];
  for (const auto& [id, count] : counts) {
    float& logit = logits[id];
    if (logit <= 0) {
      logit *= params.repeat_penalty;
    } else {
      logit /= params.repeat_penalty;
    }
    logit -= static_cast<float>(count) * params.frequency_penalty + params.presence_penalty;
  }

  std::vector<Ranked> items;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == -kInfinity) continue;
    items.push_back({std::min(logits[i], FLT_MAX), static_cast<TokenId>(i)});
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Ranked& a, const Ranked& b) { return a.logit > b.logit; });
  if (params.temperature == 0) items.resize(1);
  if (params.top_k > 0 && items.size() > static_cast<size_t>(params.top_k)) {
    items.resize(params.top_k);
  }
  if (params.typical_p < 1) {
    softmax(items);
    double entropy = 0;
    for (const Ranked& item : items) entropy -= item.p > 0 ? item.p * std::log(item.p) : 0;
    std::stable_sort(items.begin(), items.end(), [&](const Ranked& a, const Ranked& b) {
      return std::abs(-std::log(a.p) - entropy) < std::abs(-std::log(b.p) - entropy);
    });
    double sum = 0;
    size_t keep = 0;
    while (keep < items.size() && sum <= params.typical_p) sum += items[keep++].p;
    items.resize(keep);
    std::stable_sort(items.begin(), items.end(), [](const Ranked& a, const Ranked& b) {
      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
    });
  }
  if (params.top_p < 1) {
    softmax(items);
    double sum = 0;
    size_t keep = 0;
    do {
      sum += items[keep++].p;
    } while (keep < items.size() && sum < params.top_p);
    items.resize(keep);
  }
  if (params.min_p > 0) {
    softmax(items);
    const double floor = items.front().p * params.min_p;
    std::erase_if(items, [&](const Ranked& item) { return item.p < floor * (1 - 1e-12); });
  }
  if (params.temperature > 0) {
    for (Ranked& item : items) item.logit /= params.temperature;
  }
  softmax(items);
  std::vector<double> result(logits.size(), 0.0);
  for (const Ranked& item : items) result[item.id] = item.p;
  return result;
}

std::vector<float> random_logits(std::mt19937_64& random, size_t size, float spread) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

std::vector<TokenId> random_history(std::mt19937_64& random, size_t size, size_t vocab_size) {
  std::vector<TokenId> history(size);
  for (TokenId& id : history) id = static_cast<TokenId>(random() % vocab_size);
  return history;
}

RowSampling sampling_of(const SamplingParams& params, std::span<const TokenId> history = {},
                        uint64_t seed = 0, uint64_t position = 0) {
  RowSampling sampling;
  sampling.params = params;
  sampling.history = history;
  sampling.seed = seed;
  sampling.position = position;
  return sampling;
}

// The token drawn from a copy of `logits`.
TokenId drawn(std::vector<float> logits, const RowSampling& sampling) {
  return sample_row({logits}, sampling).token;
}

std::vector<SamplingParams> parameter_grid() {
  std::vector<SamplingParams> grid;
  for (const float temperature : {0.0f, 0.3f, 0.8f, 1.7f}) {
    for (const int top_k : {0, 1, 7, 40, 5000}) {
      for (const float top_p : {1.0f, 0.95f, 0.4f, 0.0f}) {
        for (const float min_p : {0.0f, 0.1f}) {
          for (const float typical_p : {1.0f, 0.6f}) {
            for (const bool has_penalties : {false, true}) {
              SamplingParams params;
              params.temperature = temperature;
              params.top_k = top_k;
              params.top_p = top_p;
              params.min_p = min_p;
              params.typical_p = typical_p;
              if (has_penalties) {
                params.repeat_penalty = 1.3f;
                params.presence_penalty = 0.4f;
                params.frequency_penalty = 0.2f;
              }
              grid.push_back(params);
            }
          }
        }
      }
    }
  }
  return grid;
}

std::string describe(const SamplingParams& params) {
  return "temperature " + std::to_string(params.temperature) + " top_k " +
         std::to_string(params.top_k) + " top_p " + std::to_string(params.top_p) + " min_p " +
         std::to_string(params.min_p) + " typical_p " + std::to_string(params.typical_p) +
         " repeat_penalty " + std::to_string(params.repeat_penalty);
}

TEST(Sampler, DistributionIsThatOfThePlainImplementation) {
  std::mt19937_64 random(20260801);
  for (const SamplingParams& params : parameter_grid()) {
    SCOPED_TRACE(describe(params));
    const size_t vocab_size = 200 + random() % 1800;
    const auto logits = random_logits(random, vocab_size, random() % 2 ? 3.0f : 0.7f);
    const auto history = random_history(random, 100, vocab_size);
    const auto expected = plain_distribution(logits, history, params);
    const auto actual = sampling_distribution(logits, sampling_of(params, history));
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_NEAR(actual[i], expected[i], 1e-9) << "token " << i;
    }
  }
}

TEST(Sampler, KnownMaximaChangeNothing) {
  std::mt19937_64 random(20261123);
  for (SamplingParams params : parameter_grid()) {
    SCOPED_TRACE(describe(params));
    if (random() % 4 == 0) params.frequency_penalty = -0.7f;  // raises logits
    const size_t vocab_size = 1 + random() % 2000;
    auto logits = random_logits(random, vocab_size, 3.0f);
    for (size_t i = 0; i < vocab_size / 3; ++i) {
      const float odd[] = {kNaN, -kInfinity, kInfinity, 2.0f};
      logits[random() % vocab_size] = odd[random() % 4];
    }
    logits.front() = 1.0f;
    std::vector<float> maxima(num_maxima(vocab_size));
    for (size_t i = 0; i < maxima.size(); ++i) {
      maxima[i] = highest_of(logits, i * kMaximaStride, kMaximaStride);
    }
    const auto history = random_history(random, 100, vocab_size);
    std::vector<uint32_t> mask((vocab_size + 31) / 32, ~uint32_t{0});
    for (uint32_t& word : mask)
      word &= random() % 2 ? ~uint32_t{0} : static_cast<uint32_t>(random());
    RowSampling sampling = sampling_of(params, history, random());
    if (random() % 2) sampling.mask = mask;
    const TokenId expected = drawn(logits, sampling);
    ASSERT_EQ(sample_row({logits, maxima}, sampling).token, expected);
  }
}

// Pearson's statistic over bins of at least five expected draws, against a bound that a right
// sampler passes with all but three in a million seeds (Wilson and Hilferty's approximation).
void expect_drawn_from(const std::vector<double>& probabilities, const std::vector<int>& drawn,
                       int num_draws) {
  double statistic = 0, rest_expected = 0, rest_drawn = 0;
  int num_bins = 0;
  const auto add_bin = [&](double expected, double count) {
    statistic += (count - expected) * (count - expected) / expected;
    ++num_bins;
  };
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] == 0) {
      ASSERT_EQ(drawn[i], 0) << "token " << i << " was cut and yet drawn";
    } else if (probabilities[i] * num_draws >= 5) {
      add_bin(probabilities[i] * num_draws, drawn[i]);
    } else {
      rest_expected += probabilities[i] * num_draws;
      rest_drawn += drawn[i];
    }
  }
  if (rest_expected >= 5) add_bin(rest_expected, rest_drawn);
  if (num_bins < 2) return;
  const double degrees = num_bins - 1;
  const double root = 1 - 2 / (9 * degrees) + 4.5 * std::sqrt(2 / (9 * degrees));
  EXPECT_LT(statistic, degrees * root * root * root) << num_bins << " bins";
}

TEST(Sampler, DrawsFollowThePlainDistribution) {
  std::mt19937_64 random(7);
  constexpr int kDraws = 3000;
  constexpr size_t kVocab = 120;
  const auto grid = parameter_grid();
  for (size_t g = 0; g < grid.size(); g += 17) {
    SCOPED_TRACE(describe(grid[g]));
    const auto logits = random_logits(random, kVocab, 2.0f);
    const auto history = random_history(random, 80, kVocab);
    std::vector<int> counts(kVocab, 0);
    for (int i = 0; i < kDraws; ++i) ++counts[drawn(logits, sampling_of(grid[g], history, g, i))];
    expect_drawn_from(plain_distribution(logits, history, grid[g]), counts, kDraws);
  }
}

TEST(Sampler, CutsOfALargeVocabularyAreThoseOfThePlainImplementation) {
  std::mt19937_64 random(99);
  auto logits = random_logits(random, 150'000, 2.5f);
  // Rounded, so that there are ties at every border.
  for (float& logit : logits) logit = std::round(logit * 8) / 8;
  for (const auto& [top_k, top_p] :
       {std::pair(40, 1.0f), std::pair(0, 0.5f), std::pair(0, 0.999f), std::pair(3000, 0.9f)}) {
    SamplingParams params;
    params.top_k = top_k;
    params.top_p = top_p;
    const auto expected = plain_distribution(logits, {}, params);
    const auto actual = sampling_distribution(logits, sampling_of(params));
    // The nucleus' border may lie a token or two off: a vocabulary is summed to seven digits.
    double difference = 0;
    for (size_t i = 0; i < actual.size(); ++i) difference += std::abs(actual[i] - expected[i]);
    EXPECT_LT(difference, 1e-6) << top_k << " " << top_p;
  }
}

TEST(Sampler, ADrawDependsOnSeedAndPositionAlone) {
  std::mt19937_64 random(1);
  int num_of_other_seed = 0, num_of_other_position = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    const auto logits = random_logits(random, 500, 1.0f);
    const TokenId token = drawn(logits, sampling_of({}, {}, 42, i));
    ASSERT_EQ(drawn(logits, sampling_of({}, {}, 42, i)), token);
    num_of_other_seed += drawn(logits, sampling_of({}, {}, 43, i)) != token;
    num_of_other_position += drawn(logits, sampling_of({}, {}, 42, i + 1)) != token;
  }
  EXPECT_GT(num_of_other_seed, 20);
  EXPECT_GT(num_of_other_position, 20);
}

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

TEST(Sampler, GreedyTakesTheLowestIdOfEquals) {
  std::vector<float> logits(1000, -1.0f);
  for (const int id : {70, 300, 999}) logits[id] = 2.5f;
  EXPECT_EQ(drawn(logits, sampling_of(greedy())), 70);
}

TEST(Sampler, TopKKeepsTheLowestIdsOfEquals) {
  SamplingParams params;
  params.top_k = 3;
  params.top_p = 1;
  const std::vector<float> logits(1000, 0.5f);
  const auto distribution = sampling_distribution(logits, sampling_of(params));
  for (int id = 0; id < 1000; ++id) ASSERT_EQ(distribution[id] > 0, id < 3) << id;
}

TEST(Sampler, NaNAndMinusInfinityAreNeverDrawn) {
  SamplingParams params;
  params.top_k = 0;
  params.top_p = 1;
  params.temperature = 5;
  for (uint64_t i = 0; i < 300; ++i) {
    const TokenId token =
        drawn({kNaN, 1.0f, -kInfinity, -2.0f, kNaN, -kInfinity}, sampling_of(params, {}, 3, i));
    ASSERT_TRUE(token == 1 || token == 3) << token;
  }
  std::vector<float> logits{kNaN, -5.0f, -kInfinity};
  EXPECT_EQ(drawn(logits, sampling_of(greedy())), 1);
}

TEST(Sampler, PlusInfinityIsTakenForTheLargestNumber) {
  std::vector<float> logits{0.0f, kInfinity, 100.0f, kInfinity};
  EXPECT_EQ(drawn(logits, sampling_of(greedy())), 1);
  SamplingParams params;
  EXPECT_THAT(sampling_distribution(logits, sampling_of(params)), ElementsAre(0.0, 0.5, 0.0, 0.5));
  RowSampling sampling = sampling_of(greedy());
  sampling.num_top_logprobs = 0;
  EXPECT_NEAR(sample_row({logits}, sampling).logprob, std::log(0.5f), 1e-6);
}

TEST(Sampler, ARowWithoutAFiniteLogitGivesNoToken) {
  for (const float value : {kNaN, kInfinity, -kInfinity}) {
    for (const float temperature : {0.0f, 1.0f}) {
      SamplingParams params;
      params.temperature = temperature;
      const std::vector<float> logits(100, value);
      EXPECT_EQ(drawn(logits, sampling_of(params)), kNoToken);
      RowSampling sampling = sampling_of(params);
      sampling.num_top_logprobs = 3;
      EXPECT_EQ(drawn(logits, sampling), kNoToken);
    }
  }
}

TEST(Sampler, DrawsOnlyWhatTheMaskAllows) {
  std::mt19937_64 random(20261125);
  for (const SamplingParams& params : parameter_grid()) {
    SCOPED_TRACE(describe(params));
    const size_t vocab_size = 1 + random() % 300;
    const auto logits = random_logits(random, vocab_size, 3.0f);
    const auto history = random_history(random, 20, vocab_size);
    std::vector<uint32_t> mask((vocab_size + 31) / 32);
    for (uint32_t& word : mask) word = static_cast<uint32_t>(random() & random());
    auto allowed = logits;
    for (size_t i = 0; i < vocab_size; ++i) {
      if (!(mask[i / 32] >> i % 32 & 1)) allowed[i] = -kInfinity;
    }
    RowSampling sampling = sampling_of(params, history, random());
    const TokenId expected = drawn(allowed, sampling);
    sampling.mask = mask;
    ASSERT_EQ(drawn(logits, sampling), expected);
  }
}

TEST(Sampler, AMaskOfAllOnesChangesNothingAndOneOfZerosLeavesNoToken) {
  std::mt19937_64 random(3);
  std::vector<float> logits = random_logits(random, 1000, 1.0f);
  const std::vector<float> before = logits;
  std::vector<uint32_t> mask(32, ~uint32_t{0});
  RowSampling sampling = sampling_of({});
  sampling.mask = mask;
  sample_row({logits}, sampling);
  EXPECT_EQ(logits, before);
  mask.assign(32, 0);
  EXPECT_EQ(drawn(logits, sampling), kNoToken);
}

TEST(Sampler, TinyTemperatureIsGreedyAndHugeOneIsFlat) {
  std::vector<float> logits{1.0f, 1.001f, 0.5f};
  SamplingParams params;
  params.top_p = 1;
  params.temperature = 1e-30f;
  EXPECT_THAT(sampling_distribution(logits, sampling_of(params)), ElementsAre(0.0, 1.0, 0.0));
  params.temperature = 1e30f;
  for (const double p : sampling_distribution(logits, sampling_of(params)))
    EXPECT_NEAR(p, 1.0 / 3, 1e-9);
}

TEST(Sampler, PenaltiesCountTheHistoryAndTheDraft) {
  SamplingParams params = greedy();
  params.repeat_penalty = 2.0f;
  params.presence_penalty = 0.5f;
  params.frequency_penalty = 0.25f;
  std::vector<float> logits{4.0f, 4.0f, -4.0f, 4.0f};
  const std::vector<TokenId> history{1, 2}, draft{1};
  RowSampling sampling = sampling_of(params, history);
  sampling.draft = draft;
  sample_row({logits}, sampling);
  EXPECT_THAT(logits, ElementsAre(4.0f, 2.0f - 0.5f - 0.5f, -8.0f - 0.5f - 0.25f, 4.0f));

  logits = {4.0f, 4.0f, -4.0f, 4.0f};
  sample_row({logits}, sampling_of(params));
  EXPECT_THAT(logits, ElementsAre(4.0f, 4.0f, -4.0f, 4.0f));
}

TEST(Sampler, BiasesAreAddedBehindTheMaskAndBeforeThePenalties) {
  SamplingParams params = greedy();
  params.repeat_penalty = 2.0f;
  std::vector<float> logits{4.0f, 1.0f, 0.0f, -4.0f};
  const std::vector<TokenId> history{1};
  const std::vector<TokenBias> biases{{1, 5.0f}, {3, -100.0f}, {2, 9.0f}, {-1, 1.0f}, {4, 1.0f}};
  const std::vector<uint32_t> mask{0b1011};
  RowSampling sampling = sampling_of(params, history);
  sampling.biases = biases;
  sampling.mask = mask;
  EXPECT_EQ(sample_row({logits}, sampling).token, 0);
  EXPECT_THAT(logits, ElementsAre(4.0f, 3.0f, -kInfinity, -104.0f));
}

TEST(Sampler, ABiasMovesAndBansTokensOfALargeRow) {
  std::mt19937_64 random(11);
  const std::vector<float> logits = random_logits(random, 600, 2.0f);
  const auto best = static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
  const std::vector<TokenBias> ban{{best, -100.0f}}, wish{{423, 100.0f}};
  for (const SamplingParams& params : parameter_grid()) {
    for (const auto& biases : {ban, wish}) {
      RowSampling sampling = sampling_of(params, {}, 3, 4);
      sampling.biases = biases;
      std::vector<float> changed = logits;
      changed[static_cast<size_t>(biases[0].token)] += biases[0].bias;
      const auto expected = plain_distribution(changed, {}, params);
      const auto found = sampling_distribution(logits, sampling);
      for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-5);
      // With maxima known beforehand, too.
      std::vector<float> row = logits;
      std::vector<float> maxima(num_maxima(row.size()));
      for (size_t i = 0; i < maxima.size(); ++i) {
        maxima[i] = highest_of(row, i * kMaximaStride, kMaximaStride);
      }
      const TokenId token = sample_row({row, maxima}, sampling).token;
      EXPECT_EQ(token, drawn(logits, sampling));
      EXPECT_TRUE(biases[0].bias < 0 || token == 423);
      EXPECT_NE(token, biases[0].bias < 0 ? best : -1);
    }
  }
}

TEST(Sampler, HistoryOutsideTheVocabularyIsPassedOver) {
  SamplingParams params = greedy();
  params.repeat_penalty = 2.0f;
  EXPECT_EQ(drawn({1.0f, 2.0f}, sampling_of(params, std::vector<TokenId>{-1, 2, 100'000})), 1);
}

// What sample_row() says beside `token`, the only one it may draw.
SampledToken logprobs(std::vector<float> logits, TokenId token, int count) {
  std::vector<uint32_t> mask((logits.size() + 31) / 32, 0);
  mask[static_cast<size_t>(token) / 32] = uint32_t{1} << token % 32;
  RowSampling sampling = sampling_of({});
  sampling.mask = mask;
  const std::vector<TokenBias> biases{{0, 50.0f}};  // the model's own are told
  sampling.biases = biases;
  sampling.num_top_logprobs = count;
  return sample_row({logits}, sampling);
}

TEST(Logprobs, AreThoseOfPlainSoftmaxWithoutTheMask) {
  std::mt19937_64 random(5);
  auto logits = random_logits(random, 1003, 4.0f);
  logits[17] = -kInfinity;
  logits[18] = kNaN;
  double total = 0;
  for (const float logit : logits) total += std::isfinite(logit) ? std::exp(double{logit}) : 0.0;
  const SampledToken output = logprobs(logits, 7, 20);
  EXPECT_EQ(output.token, 7);
  EXPECT_NEAR(output.logprob, logits[7] - std::log(total), 1e-5);
  ASSERT_EQ(output.top.size(), 20u);
  std::vector<float> sorted;
  for (const float logit : logits) {
    if (std::isfinite(logit)) sorted.push_back(logit);
  }
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(logits[output.top[i].token], sorted[i]);
    EXPECT_NEAR(output.top[i].logprob, sorted[i] - std::log(total), 1e-5);
  }
}

TEST(Logprobs, MoreThanTheVocabularyGivesAllOfIt) {
  const SampledToken output = logprobs({1.0f, 3.0f, 2.0f}, 0, 20);
  ASSERT_EQ(output.top.size(), 3u);
  EXPECT_EQ(output.top[0].token, 1);
  EXPECT_EQ(output.top[2].token, 0);
}

TEST(SampleRow, SaysThatThereIsNoMemory) {
  std::vector<float> logits = {1, 2, 3};
  RowSampling sampling;
  sampling.num_top_logprobs = 2;
  test::memory_faults = {.num_good = 0, .num_failures = 1};
  const SampledToken token = sample_row({logits}, sampling);
  test::memory_faults = {};
  EXPECT_EQ(token.token, kNoMemory);
  EXPECT_NE(sample_row({logits}, sampling).token, kNoMemory);
}

}  // namespace
}  // namespace sluice::backend
