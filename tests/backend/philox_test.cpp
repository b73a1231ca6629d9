#include "backend/philox.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::backend {
namespace {

// The known answers that come with the paper's code (Random123, kat_vectors).
TEST(Philox, GivesTheKnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  constexpr uint32_t kOnes = ~uint32_t{0};
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, DrawsAreSpreadEvenly) {
  constexpr int kDraws = 100'000;
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double draw = uniform_draw(7, i);
    ASSERT_TRUE(draw >= 0 && draw < 1) << draw;
    sum += draw;
    squares += draw * draw;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 0.005);
}

TEST(Philox, NeitherSeedsNorPositionsAreCutShort) {
  EXPECT_NE(uniform_draw(1, 0), uniform_draw(uint64_t{1} << 32 | 1, 0));
  EXPECT_NE(uniform_draw(1, 5), uniform_draw(1, uint64_t{1} << 32 | 5));
}

}  // namespace
}  // namespace sluice::backend
