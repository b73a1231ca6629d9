#include "quant/types.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::quant {
namespace {

TEST(Types, KnowsTheSizesOfBlocks) {
  EXPECT_EQ(size_bytes(Type::kF32, 3), 12u);
  EXPECT_EQ(size_bytes(Type::kQ4_0, 64), 36u);
  EXPECT_EQ(size_bytes(Type::kQ6_K, 512), 420u);
  EXPECT_EQ(size_bytes(Type::kMXFP4, 32), 17u);
  EXPECT_EQ(size_bytes(Type::kQ8_0, 0), 0u);
}

TEST(Types, RefusesPartsOfABlock) {
  EXPECT_THROW(size_bytes(Type::kQ4_K, 255), Error);
  EXPECT_THROW(size_bytes(Type::kQ4_K, -256), Error);
  EXPECT_THROW(type_info(static_cast<Type>(16)), Error);
}

TEST(Types, NamesTypesThatItCannotDecode) {
  EXPECT_EQ(find_type(16), nullptr);
  EXPECT_EQ(type_name_or_empty(16), "IQ2_XXS");
  EXPECT_EQ(type_name_or_empty(33), "Q4_0_8_8");
  EXPECT_EQ(type_name_or_empty(4), "Q4_2");
  EXPECT_EQ(type_name_or_empty(42), "Q2_0");
  EXPECT_EQ(type_name_or_empty(43), "");
  EXPECT_EQ(type_name_or_empty(0xffffffffu), "");
}

TEST(Types, NamesAgreeWithTheTableOfNumbers) {
  for (uint32_t raw = 0; raw < 64; ++raw) {
    if (const TypeInfo* info = find_type(raw)) {
      EXPECT_EQ(static_cast<uint32_t>(info->type), raw);
      EXPECT_EQ(info->name, type_name_or_empty(raw));
    }
  }
}

}  // namespace
}  // namespace sluice::quant
