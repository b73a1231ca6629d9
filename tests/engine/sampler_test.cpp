#include "engine/sampler.h"

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
#include "base/error.h"
#include "engine/candidates.h"

namespace sluice::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using text::TokenId;

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
  const size_t window = params.repeat_last_n < 0
                            ? history.size()
                            : std::min<size_t>(history.size(), params.repeat_last_n);
  for (size_t i = history.size() - window; i < history.size(); ++i) ++counts[history[i]];
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
              params.seed = grid.size();
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
    const auto actual = Sampler(params).distribution(logits, history);
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
    std::vector<float> maxima(backend::num_maxima(vocab_size));
    for (size_t i = 0; i < maxima.size(); ++i) {
      maxima[i] = backend::highest_of(logits, i * backend::kMaximaStride, backend::kMaximaStride);
    }
    const auto history = random_history(random, 100, vocab_size);
    auto same_logits = logits;
    Sampler plain(params), sampler(params);
    ASSERT_EQ(sampler.sample(LogitRow{logits, maxima}, history),
              plain.sample(same_logits, history));
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
    Sampler sampler(grid[g]);
    std::vector<int> drawn(kVocab, 0);
    for (int i = 0; i < kDraws; ++i) {
      auto row = logits;
      ++drawn[sampler.sample(row, history)];
    }
    expect_drawn_from(plain_distribution(logits, history, grid[g]), drawn, kDraws);
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
    const auto actual = Sampler(params).distribution(logits, {});
    // The nucleus' border may lie a token or two off: a vocabulary is summed to seven digits.
    double difference = 0;
    for (size_t i = 0; i < actual.size(); ++i) difference += std::abs(actual[i] - expected[i]);
    EXPECT_LT(difference, 1e-6) << top_k << " " << top_p;
  }
}

TEST(Sampler, SameSeedGivesTheSameTokens) {
  std::mt19937_64 random(1);
  SamplingParams params;
  params.seed = 42;
  Sampler first(params), second(params);
  params.seed = 43;
  Sampler other(params);
  int num_different = 0;
  for (int i = 0; i < 200; ++i) {
    auto a = random_logits(random, 500, 1.0f), b = a, c = a;
    const TokenId token = first.sample(a, {});
    ASSERT_EQ(second.sample(b, {}), token);
    num_different += other.sample(c, {}) != token;
  }
  EXPECT_GT(num_different, 20);
}

TEST(Sampler, WithoutASeedTwoSamplersDiffer) {
  std::vector<TokenId> first, second;
  Sampler a{SamplingParams{}}, b{SamplingParams{}};
  for (int i = 0; i < 50; ++i) {
    std::vector<float> logits(40, 0.0f), copy = logits;
    first.push_back(a.sample(logits, {}));
    second.push_back(b.sample(copy, {}));
  }
  EXPECT_NE(first, second);
}

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

TEST(Sampler, GreedyTakesTheLowestIdOfEquals) {
  std::vector<float> logits(1000, -1.0f);
  for (const int id : {70, 300, 999}) logits[id] = 2.5f;
  EXPECT_EQ(Sampler(greedy()).sample(logits, {}), 70);
}

TEST(Sampler, TopKKeepsTheLowestIdsOfEquals) {
  SamplingParams params;
  params.top_k = 3;
  params.top_p = 1;
  const std::vector<float> logits(1000, 0.5f);
  const auto distribution = Sampler(params).distribution(logits, {});
  for (int id = 0; id < 1000; ++id) ASSERT_EQ(distribution[id] > 0, id < 3) << id;
}

TEST(Sampler, NaNAndMinusInfinityAreNeverDrawn) {
  SamplingParams params;
  params.top_k = 0;
  params.top_p = 1;
  params.temperature = 5;
  params.seed = 3;
  Sampler sampler(params);
  for (int i = 0; i < 300; ++i) {
    std::vector<float> logits{kNaN, 1.0f, -kInfinity, -2.0f, kNaN, -kInfinity};
    const TokenId token = sampler.sample(logits, {});
    ASSERT_TRUE(token == 1 || token == 3) << token;
  }
  std::vector<float> logits{kNaN, -5.0f, -kInfinity};
  EXPECT_EQ(Sampler(greedy()).sample(logits, {}), 1);
}

TEST(Sampler, PlusInfinityIsTakenForTheLargestNumber) {
  std::vector<float> logits{0.0f, kInfinity, 100.0f, kInfinity};
  EXPECT_EQ(Sampler(greedy()).sample(logits, {}), 1);
  SamplingParams params;
  EXPECT_THAT(Sampler(params).distribution(logits, {}), ElementsAre(0.0, 0.5, 0.0, 0.5));
  EXPECT_NEAR(logprobs(logits, 1, 0).logprob, std::log(0.5f), 1e-6);
}

TEST(Sampler, ARowWithoutAFiniteLogitIsAnError) {
  for (const float value : {kNaN, kInfinity, -kInfinity}) {
    for (const float temperature : {0.0f, 1.0f}) {
      SamplingParams params;
      params.temperature = temperature;
      std::vector<float> logits(100, value);
      try {
        Sampler(params).sample(logits, {});
        FAIL() << value;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInternal);
      }
    }
  }
}

TEST(Sampler, TinyTemperatureIsGreedyAndHugeOneIsFlat) {
  std::vector<float> logits{1.0f, 1.001f, 0.5f};
  SamplingParams params;
  params.top_p = 1;
  params.temperature = 1e-30f;
  EXPECT_THAT(Sampler(params).distribution(logits, {}), ElementsAre(0.0, 1.0, 0.0));
  params.temperature = 1e30f;
  for (const double p : Sampler(params).distribution(logits, {})) EXPECT_NEAR(p, 1.0 / 3, 1e-9);
}

TEST(Sampler, PenaltiesTouchOnlyTheWindow) {
  SamplingParams params = greedy();
  params.repeat_penalty = 2.0f;
  params.presence_penalty = 0.5f;
  params.frequency_penalty = 0.25f;
  params.repeat_last_n = 3;
  std::vector<float> logits{4.0f, 4.0f, -4.0f, 4.0f};
  const std::vector<TokenId> history{3, 1, 2, 1};
  Sampler(params).sample(logits, history);
  EXPECT_THAT(logits, ElementsAre(4.0f, 2.0f - 0.5f - 0.5f, -8.0f - 0.5f - 0.25f, 4.0f));

  params.repeat_last_n = 0;
  logits = {4.0f, 4.0f, -4.0f, 4.0f};
  Sampler(params).sample(logits, history);
  EXPECT_THAT(logits, ElementsAre(4.0f, 4.0f, -4.0f, 4.0f));

  params.repeat_last_n = -1;
  Sampler(params).sample(logits, history);
  EXPECT_EQ(logits[3], 2.0f - 0.5f - 0.25f);
}

TEST(Sampler, HistoryOutsideTheVocabularyIsPassedOver) {
  SamplingParams params = greedy();
  params.repeat_penalty = 2.0f;
  std::vector<float> logits{1.0f, 2.0f};
  EXPECT_EQ(Sampler(params).sample(logits, std::vector<TokenId>{-1, 2, 100'000}), 1);
}

TEST(Sampler, ParametersOutOfRangeAreRefusedByName) {
  const auto refusal = [](auto change) -> std::string {
    SamplingParams params;
    change(params);
    try {
      Sampler sampler(params);
      return "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.what();
    }
  };
  using P = SamplingParams;
  EXPECT_THAT(refusal([](P& p) { p.temperature = -0.1f; }), HasSubstr("temperature"));
  EXPECT_THAT(refusal([](P& p) { p.temperature = kNaN; }), HasSubstr("temperature"));
  EXPECT_THAT(refusal([](P& p) { p.top_k = -2; }), HasSubstr("top_k"));
  EXPECT_THAT(refusal([](P& p) { p.top_p = 1.1f; }), HasSubstr("top_p"));
  EXPECT_THAT(refusal([](P& p) { p.min_p = -0.1f; }), HasSubstr("min_p"));
  EXPECT_THAT(refusal([](P& p) { p.typical_p = kNaN; }), HasSubstr("typical_p"));
  EXPECT_THAT(refusal([](P& p) { p.repeat_last_n = -2; }), HasSubstr("repeat_last_n"));
  EXPECT_THAT(refusal([](P& p) { p.repeat_penalty = 0.0f; }), HasSubstr("repeat_penalty"));
  EXPECT_THAT(refusal([](P& p) { p.presence_penalty = kInfinity; }), HasSubstr("presence_penalty"));
  EXPECT_THAT(refusal([](P& p) { p.frequency_penalty = kNaN; }), HasSubstr("frequency_penalty"));
  EXPECT_EQ(refusal([](P& p) { p.top_k = -1; }), "accepted");
}

TEST(Logprobs, AreThoseOfPlainSoftmax) {
  std::mt19937_64 random(5);
  auto logits = random_logits(random, 1003, 4.0f);
  logits[17] = -kInfinity;
  logits[18] = kNaN;
  double total = 0;
  for (const float logit : logits) total += std::isfinite(logit) ? std::exp(double{logit}) : 0.0;
  const OutputToken output = logprobs(logits, 7, 20);
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
  EXPECT_EQ(logprobs(logits, 17, 1).logprob, -kInfinity);
  EXPECT_EQ(logprobs(logits, 18, 1).logprob, -kInfinity);
}

TEST(Logprobs, MoreThanTheVocabularyGivesAllOfIt) {
  const std::vector<float> logits{1.0f, 3.0f, 2.0f};
  const OutputToken output = logprobs(logits, 0, 20);
  ASSERT_EQ(output.top.size(), 3u);
  EXPECT_EQ(output.top[0].token, 1);
  EXPECT_EQ(output.top[2].token, 0);
}

TEST(Sampler, PenaltiesSeeThePromptOnlyIfTheyShall) {
  const std::vector<text::TokenId> tokens = {1, 2, 3, 4, 5};  // two of the prompt
  const auto seen = [&](const SamplingParams& params) {
    const auto span = penalized_tokens(params, tokens, 2);
    return std::vector<text::TokenId>(span.begin(), span.end());
  };
  using Tokens = std::vector<text::TokenId>;
  SamplingParams params;
  EXPECT_EQ(seen(params), Tokens{}) << "there is no penalty";
  params.presence_penalty = 1;
  EXPECT_EQ(seen(params), tokens);
  params.repeat_last_n = 4;
  EXPECT_EQ(seen(params), (Tokens{2, 3, 4, 5}));
  params.penalize_prompt = false;
  EXPECT_EQ(seen(params), (Tokens{3, 4, 5}));
  params.repeat_last_n = 2;
  EXPECT_EQ(seen(params), (Tokens{4, 5}));
  params.repeat_last_n = -1;
  EXPECT_EQ(seen(params), (Tokens{3, 4, 5}));
  params.repeat_last_n = 0;
  EXPECT_EQ(seen(params), Tokens{});
}

}  // namespace
}  // namespace sluice::engine
