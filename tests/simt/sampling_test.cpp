#include "backend/cuda/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "backend/philox.h"
#include "backend/sampling.h"
#include "simt/kernel_test_util.h"

namespace sluice::backend::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What the kernel says of one row of logits.
SampleResult sample_on_device(const std::vector<float>& logits, const RowSampling& sampling) {
  const auto vocab = static_cast<int>(logits.size());
  SampleTask task{};
  task.uniform = uniform_draw(sampling.seed, sampling.position);
  task.log_min_p = sampling.params.min_p > 0 ? std::log(double{sampling.params.min_p})
                                             : -std::numeric_limits<double>::infinity();
  task.temperature = sampling.params.temperature;
  task.top_p = sampling.params.top_p;
  task.typical_p = sampling.params.typical_p;
  task.repeat_penalty = sampling.params.repeat_penalty;
  task.presence_penalty = sampling.params.presence_penalty;
  task.frequency_penalty = sampling.params.frequency_penalty;
  task.top_k = std::max(sampling.params.top_k, 0);
  task.num_top_logprobs = sampling.num_top_logprobs;
  task.has_mask = !sampling.mask.empty();
  std::vector<TokenCount> counts;
  if (sampling.params.has_penalty()) {
    for (const int32_t token : sampling.history) {
      const auto known = std::find_if(counts.begin(), counts.end(),
                                      [&](const TokenCount& c) { return c.token == token; });
      if (known == counts.end()) {
        counts.push_back({token, 1, 0, 0});
      } else {
        ++known->count;
      }
    }
  }
  task.num_counts = static_cast<int>(counts.size());
  counts.resize(counts.size() + 1);
  std::vector<uint32_t> mask(sampling.mask.begin(), sampling.mask.end());
  mask.resize(static_cast<size_t>(vocab + 31) / 32);
  const DeviceArray<float> logits_device(logits, "logits");
  const DeviceArray<SampleTask> tasks(std::vector<SampleTask>{task}, "tasks");
  const DeviceArray<TokenCount> counts_device(counts, "counts");
  const DeviceArray<uint32_t> masks(mask, "masks");
  const DeviceArray<SampleResult> results(1, "results");
  const SampleArgs args{logits_device.data(), vocab,         vocab,
                        (vocab + 31) / 32,    tasks.data(),  counts_device.data(),
                        masks.data(),         results.data()};
  LaunchList list;
  add_launch(list, "sample", {1}, {kSampleThreads}, kSampleSharedBytes, args);
  run_launches(list, 33.0, 33.0);
  const std::vector<float> after = logits_device.values();
  EXPECT_EQ(std::memcmp(after.data(), logits.data(), logits.size() * 4), 0);
  return results.values()[0];
}

class Rows {
 public:
  explicit Rows(uint32_t seed) : random_(seed) {}

  std::vector<float> logits(int vocab) {
    std::vector<float> values = random_values(static_cast<size_t>(vocab), random_, spread());
    if (random_() % 3 == 0) {
      for (int i = 0; i < 20; ++i) values[random_() % values.size()] = special();
    }
    if (random_() % 4 == 0) {
      for (float& value : values) value = std::round(value);  // many are equal
    }
    return values;
  }
  RowSampling sampling(int vocab) {
    RowSampling s;
    s.seed = random_();
    s.position = random_() % 1000;
    s.params.temperature = pick({0.0f, 0.8f, 1.0f, 0.1f, 2.0f});
    s.params.top_k = static_cast<int>(pick({40.0f, 0.0f, 1.0f, 3.0f, 300.0f}));
    s.params.top_p = pick({0.9f, 1.0f, 0.5f, 0.99f, 0.0f});
    s.params.min_p = pick({0.0f, 0.05f, 0.3f});
    s.params.typical_p = pick({1.0f, 1.0f, 0.7f, 0.2f});
    s.num_top_logprobs = static_cast<int>(pick({-1.0f, 0.0f, 5.0f}));
    if (random_() % 2) {
      s.params.repeat_penalty = 1.2f;
      s.params.presence_penalty = 0.3f;
      s.params.frequency_penalty = 0.1f;
      history_.clear();
      for (int i = 0; i < 30; ++i) {
        history_.push_back(static_cast<int32_t>(random_() % static_cast<unsigned>(vocab)));
      }
      history_.push_back(history_.front());
      s.history = history_;
    }
    if (random_() % 3 == 0) {
      mask_.resize(static_cast<size_t>(vocab + 31) / 32);
      for (uint32_t& word : mask_) word = static_cast<uint32_t>(random_() & random_());
      s.mask = mask_;
    }
    return s;
  }

 private:
  float pick(std::initializer_list<float> choices) {
    return choices.begin()[random_() % choices.size()];
  }
  float spread() { return pick({1.0f, 3.0f, 10.0f}); }
  float special() {
    return pick({kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 0.0f, 1e30f});
  }

  std::mt19937 random_;
  std::vector<int32_t> history_;
  std::vector<uint32_t> mask_;
};

TEST(CudaSampling, ChoosesAsTheHost) {
  Rows rows(11);
  int num_left_to_host = 0, num_drawn = 0;
  for (int i = 0; i < 120; ++i) {
    const int vocab = std::vector<int>{200, 1003, 5000, 33}[static_cast<size_t>(i % 4)];
    const std::vector<float> logits = rows.logits(vocab);
    const RowSampling sampling = rows.sampling(vocab);
    SCOPED_TRACE(testing::Message()
                 << i << ": vocabulary " << vocab << ", temperature " << sampling.params.temperature
                 << ", top_k " << sampling.params.top_k << ", top_p " << sampling.params.top_p
                 << ", min_p " << sampling.params.min_p << ", typical_p "
                 << sampling.params.typical_p << ", mask " << !sampling.mask.empty());
    std::vector<float> changed = logits;
    const SampledToken expected = sample_row({changed}, sampling);
    const SampleResult got = sample_on_device(logits, sampling);
    if (got.token == kSampleOnHost) {
      ++num_left_to_host;
      continue;
    }
    ++num_drawn;
    ASSERT_EQ(got.token, expected.token);
    if (sampling.num_top_logprobs < 0 || got.token < 0) continue;
    const auto logprob = [&](float logit) {
      return static_cast<float>(static_cast<double>(std::min(logit, 3.4028234663852886e38f)) -
                                got.best - std::log(got.total));
    };
    ASSERT_EQ(logprob(got.logit), expected.logprob);
    ASSERT_EQ(static_cast<size_t>(got.num_top), expected.top.size());
    for (size_t k = 0; k < expected.top.size(); ++k) {
      ASSERT_EQ(got.top[k].token, expected.top[k].token);
      ASSERT_EQ(logprob(got.top[k].logit), expected.top[k].logprob);
    }
  }
  EXPECT_GT(num_drawn, 90);  // the rest is typical_p without top_k, or keeps thousands
}

TEST(CudaSampling, NothingToDraw) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  RowSampling sampling;
  EXPECT_EQ(sample_on_device(std::vector<float>(100, -kInfinity), sampling).token, kNoToken);
  EXPECT_EQ(sample_on_device(std::vector<float>(100, nan), sampling).token, kNoToken);
  EXPECT_EQ(sample_on_device(std::vector<float>(100, kInfinity), sampling).token, kNoToken);
  const std::vector<uint32_t> mask(4, 0);
  sampling.mask = mask;
  EXPECT_EQ(sample_on_device(std::vector<float>(100, 1.0f), sampling).token, kNoToken);
}

TEST(CudaSampling, TooManyAreTheHosts) {
  RowSampling sampling;
  sampling.params.top_k = 0;
  sampling.params.top_p = 0.9f;
  EXPECT_EQ(sample_on_device(std::vector<float>(6000, 1.0f), sampling).token, kSampleOnHost);
  sampling.params.top_p = 1.0f;
  EXPECT_GE(sample_on_device(std::vector<float>(6000, 1.0f), sampling).token, 0);
}

}  // namespace
}  // namespace sluice::backend::cuda
