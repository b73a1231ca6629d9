#include "quant/codec.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "test_data.h"

namespace sluice::quant {
namespace {

constexpr Type kAllTypes[] = {Type::kF32,  Type::kF16,    Type::kBF16,   Type::kQ4_0,
                              Type::kQ4_1, Type::kQ5_0,   Type::kQ5_1,   Type::kQ8_0,
                              Type::kQ2_K, Type::kQ3_K,   Type::kQ4_K,   Type::kQ5_K,
                              Type::kQ6_K, Type::kIQ4_NL, Type::kIQ4_XS, Type::kMXFP4};
constexpr Type kEncodedTypes[] = {Type::kF16,  Type::kBF16, Type::kQ4_0, Type::kQ4_1,
                                  Type::kQ5_0, Type::kQ5_1, Type::kQ8_0};

struct Golden {
  int64_t num_elements = 0;
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

// `direction` is "decode" (blocks come first in the file) or "encode" (values come first).
Golden read_golden(const std::string& direction, Type type) {
  const std::string path =
      test_data("quant/golden/") + direction + "_" + std::string(type_info(type).name) + ".bin";
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  uint32_t num_blocks = 0;
  if (bytes.size() < sizeof(num_blocks)) throw std::runtime_error("cannot read " + path);
  std::memcpy(&num_blocks, bytes.data(), sizeof(num_blocks));

  Golden golden;
  golden.num_elements = int64_t{num_blocks} * type_info(type).block_elements;
  golden.blocks.resize(size_bytes(type, golden.num_elements));
  golden.values.resize(static_cast<size_t>(golden.num_elements));
  const size_t value_bytes = golden.values.size() * sizeof(float);
  if (bytes.size() != sizeof(num_blocks) + golden.blocks.size() + value_bytes) {
    throw std::runtime_error(path + " has another size than its blocks make");
  }
  const char* first = bytes.data() + sizeof(num_blocks);
  const bool is_decode = direction == "decode";
  std::memcpy(golden.blocks.data(), is_decode ? first : first + value_bytes, golden.blocks.size());
  std::memcpy(golden.values.data(), is_decode ? first + golden.blocks.size() : first, value_bytes);
  return golden;
}

// Equal to the bit; all NaNs count as one.
bool same(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

class EveryType : public testing::TestWithParam<Type> {};

TEST_P(EveryType, DecodesGoldenBlocksToTheBit) {
  const Golden golden = read_golden("decode", GetParam());
  std::vector<float> values(golden.values.size());
  dequantize(GetParam(), golden.blocks.data(), values.data(), golden.num_elements);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_PRED2(same, values[i], golden.values[i]) << "element " << i;
  }
}

TEST_P(EveryType, DecodesFromUnalignedMemory) {
  const Golden golden = read_golden("decode", GetParam());
  std::vector<std::byte> shifted(golden.blocks.size() + 1);
  std::memcpy(shifted.data() + 1, golden.blocks.data(), golden.blocks.size());
  std::vector<float> values(golden.values.size());
  dequantize(GetParam(), shifted.data() + 1, values.data(), golden.num_elements);
  EXPECT_PRED2(same, values.back(), golden.values.back());
}

TEST_P(EveryType, RefusesNegativeCountsAndPartsOfABlock) {
  const int elements = type_info(GetParam()).block_elements;
  std::vector<std::byte> blocks(1024);
  std::vector<float> values(1024);
  if (elements > 1) {
    EXPECT_THROW(dequantize(GetParam(), blocks.data(), values.data(), elements - 1), Error);
  }
  EXPECT_THROW(dequantize(GetParam(), blocks.data(), values.data(), -elements), Error);
}

TEST_P(EveryType, DecodesNothingFromNothing) {
  EXPECT_NO_THROW(dequantize(GetParam(), nullptr, nullptr, 0));
}

std::string name_of(const testing::TestParamInfo<Type>& info) {
  return std::string(type_info(info.param).name);
}

INSTANTIATE_TEST_SUITE_P(Quant, EveryType, testing::ValuesIn(kAllTypes), name_of);

class EncodedType : public testing::TestWithParam<Type> {};

TEST_P(EncodedType, EncodesGoldenValuesToTheBit) {
  const Golden golden = read_golden("encode", GetParam());
  std::vector<std::byte> blocks(golden.blocks.size());
  quantize(GetParam(), golden.values.data(), blocks.data(), golden.num_elements);
  EXPECT_EQ(blocks, golden.blocks);
}

TEST_P(EncodedType, SurvivesNonFiniteAndExtremeValues) {
  const int elements = type_info(GetParam()).block_elements;
  const float specials[] = {NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 1e-45f, 0.0f};
  for (const float filler : specials) {
    for (const float special : specials) {
      std::vector<float> values(static_cast<size_t>(elements), filler);
      values[0] = special;
      std::vector<std::byte> blocks(size_bytes(GetParam(), elements));
      quantize(GetParam(), values.data(), blocks.data(), elements);  // the sanitizers judge
      dequantize(GetParam(), blocks.data(), values.data(), elements);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Quant, EncodedType, testing::ValuesIn(kEncodedTypes), name_of);

TEST(Quantize, NamesTheTypeItCannotEncode) {
  std::vector<float> values(256);
  std::vector<std::byte> blocks(1024);
  try {
    quantize(Type::kQ2_K, values.data(), blocks.data(), 256);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("Q2_K"), std::string::npos);
  }
}

TEST(Half, ConvertsEveryHalfAsTheCompilerDoes) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const auto expected = static_cast<float>(std::bit_cast<_Float16>(half));
    ASSERT_PRED2(same, f16_to_f32(half), expected) << std::hex << bits;
    if (!std::isnan(expected)) {
      ASSERT_EQ(f32_to_f16(expected), half);
    }
  }
}

TEST(Half, RoundsFloatsAsTheCompilerDoes) {
  std::mt19937 random(7);
  for (int i = 0; i < 300'000; ++i) {
    auto bits = static_cast<uint32_t>(random());
    if (i % 2) bits = 0x33000000u + bits % 0x14900000u;  // the range that halves cover
    if (i % 4 == 1) bits &= ~0xfffu;                     // ties
    const auto value = std::bit_cast<float>(bits);
    if (std::isnan(value)) {
      ASSERT_EQ(f32_to_f16(value) & 0x7fff, 0x7e00);
    } else {
      ASSERT_EQ(f32_to_f16(value), std::bit_cast<uint16_t>(static_cast<_Float16>(value)))
          << std::hex << bits << " (seed 7)";
    }
  }
}

TEST(Bfloat16, RoundsToNearestEvenAndKeepsNaN) {
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // tie to even
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(f32_to_bf16(INFINITY), 0x7f80);
  EXPECT_EQ(f32_to_bf16(3.4e38f), 0x7f80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x7f800001u)), 0x7fc0);  // not infinity
  EXPECT_EQ(bf16_to_f32(0xc040), -3.0f);
}

}  // namespace
}  // namespace sluice::quant
