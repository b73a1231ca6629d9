#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "quant/blocks.h"
#include "quant/codec.h"

namespace sluice::quant {
namespace {

using Values = std::vector<float>;

// Weights as models have them: a bell curve with rare outliers, each row of another size.
Values random_weights(unsigned seed, int64_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Values values(static_cast<size_t>(count));
  float size = 1.0f;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i % 32 == 0) size = std::exp(normal(random)) * 0.02f;
    values[i] = normal(random) * size * (random() % 200 == 0 ? 6.0f : 1.0f);
  }
  return values;
}

Values round_trip(Type type, const Values& values) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<std::byte> blocks(size_bytes(type, count));
  quantize(type, values.data(), blocks.data(), count);
  Values decoded(values.size());
  dequantize(type, blocks.data(), decoded.data(), count);
  return decoded;
}

double squared_error(const Values& a, const Values& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - double{b[i]}, 2);
  return sum;
}

double relative_error(Type type, const Values& values) {
  return std::sqrt(squared_error(values, round_trip(type, values)) /
                   squared_error(values, Values(values.size())));
}

struct Expectation {
  Type type;
  double at_most;  // of relative_error on random_weights
};

class Encoder : public testing::TestWithParam<Expectation> {};

TEST_P(Encoder, StaysWithinItsErrorOnRandomWeights) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    EXPECT_LE(relative_error(GetParam().type, random_weights(seed, 256 * 64)), GetParam().at_most)
        << "seed " << seed;
  }
}

TEST_P(Encoder, KeepsZerosAndSigns) {
  const Values zeros(512, 0.0f);
  EXPECT_EQ(round_trip(GetParam().type, zeros), zeros);
  for (const float value : {0.5f, -0.5f}) {
    const Values decoded = round_trip(GetParam().type, Values(512, value));
    for (const float result : decoded) ASSERT_NEAR(result, value, 0.05f);
  }
}

TEST_P(Encoder, TakesTheSizeOfTheValuesAsItComes) {
  const Values values = random_weights(3, 256 * 16);
  const double usual = relative_error(GetParam().type, values);
  for (const float factor : {0x1p-6f, 0x1p+9f}) {
    Values scaled = values;
    for (float& value : scaled) value *= factor;
    EXPECT_LE(relative_error(GetParam().type, scaled), usual * 1.1 + 1e-3) << "times " << factor;
  }
}

TEST_P(Encoder, DoesNotFailOnExtremeValues) {
  const float specials[] = {NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 1e-45f, 1e-30f, 0.0f};
  for (const float filler : specials) {
    for (const float special : specials) {
      Values values(256, filler);
      values[0] = values[100] = special;
      round_trip(GetParam().type, values);  // the sanitizers judge
    }
  }
}

TEST_P(Encoder, EncodesEachBlockAlone) {
  const Values values = random_weights(9, 512);
  const Values both = round_trip(GetParam().type, values);
  const Values second = round_trip(GetParam().type, Values(values.begin() + 256, values.end()));
  EXPECT_TRUE(std::equal(second.begin(), second.end(), both.begin() + 256));
}

INSTANTIATE_TEST_SUITE_P(
    Quant, Encoder,
    testing::Values(Expectation{Type::kF16, 4e-4}, Expectation{Type::kBF16, 3e-3},
                    Expectation{Type::kQ4_0, 0.14}, Expectation{Type::kQ4_1, 0.11},
                    Expectation{Type::kQ5_0, 0.07}, Expectation{Type::kQ5_1, 0.055},
                    Expectation{Type::kQ8_0, 0.009}, Expectation{Type::kQ4_K, 0.085},
                    Expectation{Type::kQ5_K, 0.045}, Expectation{Type::kQ6_K, 0.025}),
    [](const testing::TestParamInfo<Expectation>& info) {
      return std::string(type_info(info.param.type).name);
    });

// What needs no search: every group takes the range of its values, rounded to its six bits.
Values naive_affine(const Values& values, int last) {
  Values decoded(values.size());
  for (size_t block = 0; block < values.size(); block += kSuperBlock) {
    float scales[8], mins[8];
    for (size_t group = 0; group < 8; ++group) {
      const auto first = values.begin() + static_cast<ptrdiff_t>(block + group * 32);
      const float low = std::min(0.0f, *std::min_element(first, first + 32));
      scales[group] = (*std::max_element(first, first + 32) - low) / static_cast<float>(last);
      mins[group] = -low;
    }
    const float d = *std::max_element(scales, scales + 8) / 63.0f;
    const float dmin = *std::max_element(mins, mins + 8) / 63.0f;
    for (size_t i = 0; i < kSuperBlock; ++i) {
      const float scale = d * std::round(scales[i / 32] / d);
      const float min = dmin * std::round(mins[i / 32] / dmin);
      const float code = std::round((values[block + i] + min) / scale);
      decoded[block + i] = scale * std::clamp(code, 0.0f, static_cast<float>(last)) - min;
    }
  }
  return decoded;
}

Values naive_q6(const Values& values) {
  Values decoded(values.size());
  for (size_t block = 0; block < values.size(); block += kSuperBlock) {
    float scales[16];
    for (size_t group = 0; group < 16; ++group) {
      float largest = 0.0f;
      for (size_t i = 0; i < 16; ++i) {
        largest = std::max(largest, std::fabs(values[block + group * 16 + i]));
      }
      scales[group] = largest / 31.0f;
    }
    const float d = *std::max_element(scales, scales + 16) / 127.0f;
    for (size_t i = 0; i < kSuperBlock; ++i) {
      const float scale = d * std::round(scales[i / 16] / d);
      const float code = scale == 0.0f ? 0.0f : std::round(values[block + i] / scale);
      decoded[block + i] = scale * std::clamp(code, -32.0f, 31.0f);
    }
  }
  return decoded;
}

TEST(KQuants, SearchLeavesLessErrorThanTheRangeOfTheValues) {
  for (unsigned seed = 20; seed < 25; ++seed) {
    const Values values = random_weights(seed, 256 * 32);
    // The searches weigh large values more: measured without weights they still gain this much.
    EXPECT_LT(squared_error(values, round_trip(Type::kQ4_K, values)),
              0.9 * squared_error(values, naive_affine(values, 15)))
        << "seed " << seed;
    EXPECT_LT(squared_error(values, round_trip(Type::kQ5_K, values)),
              0.95 * squared_error(values, naive_affine(values, 31)))
        << "seed " << seed;
    EXPECT_LT(squared_error(values, round_trip(Type::kQ6_K, values)),
              0.95 * squared_error(values, naive_q6(values)))
        << "seed " << seed;
  }
}

// Values that a block can hold come back as they were, whatever lies in its neighbours: wrong bits
// of a packed scale, min or code would show.
TEST(KQuants, ReproducesWhatFitsItsGrid) {
  std::mt19937 random(31);
  Values values(256 * 8);
  for (size_t group = 0; group < values.size() / 32; ++group) {
    // The first of the eight has the largest scale and min, which give d and dmin.
    const bool is_first = group % 8 == 0;
    const int scale = is_first ? 63 : 1 + static_cast<int>(random() % 63);
    const int min = is_first ? 63 : static_cast<int>(random() % 64);
    for (size_t i = 0; i < 32; ++i) {
      const int code = i == 0 ? 0 : i == 1 ? 15 : static_cast<int>(random() % 16);
      values[group * 32 + i] =
          0x1p-7f * static_cast<float>(scale * code) - 0x1p-5f * static_cast<float>(min);
    }
  }
  const Values decoded = round_trip(Type::kQ4_K, values);
  size_t num_wrong = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    num_wrong += std::fabs(decoded[i] - values[i]) > 0.02f;
  }
  EXPECT_LT(num_wrong, values.size() / 100) << "seed 31";
}

TEST(KQuants, KeepsTheLayoutOfTheFormat) {
  // Group g holds multiples of (g + 1): its scale is that of the first group times (g + 1) / 8.
  Values values(256);
  for (size_t i = 0; i < 256; ++i) {
    values[i] = static_cast<float>(i / 32 + 1) * static_cast<float>(i % 16);
  }
  BlockQ4_K block;
  quantize(Type::kQ4_K, values.data(), reinterpret_cast<std::byte*>(&block), 256);
  for (int group = 0; group < 8; ++group) {
    EXPECT_NEAR(f16_to_f32(block.d) * scale_and_min(block.scales, group).scale, group + 1, 0.07);
    EXPECT_EQ(scale_and_min(block.scales, group).min, 0);
  }
  EXPECT_EQ(block.qs[5], 0x55);  // elements 5 of groups 0 and 1
  EXPECT_EQ(block.qs[127], 0xff);
}

}  // namespace
}  // namespace sluice::quant
