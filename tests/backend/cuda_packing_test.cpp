#include "backend/cuda/packing.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "backend/cpu_test_util.h"
#include "backend/cuda/packing_layout.h"
#include "base/error.h"

namespace sluice::backend::cuda {
namespace {

using cpu::kAllTypes;
using quant::Type;

// Random valid blocks packed and decoded again are what the file's blocks decode to, bit for bit.
void expect_round_trip(Type type, int columns, int rows, uint32_t seed) {
  SCOPED_TRACE(std::string(quant::type_info(type).name) + " columns " + std::to_string(columns) +
               " rows " + std::to_string(rows) + " seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const int64_t count = int64_t{columns} * rows;
  const std::vector<std::byte> source = cpu::random_tensor(type, count, random);
  std::vector<float> expected(static_cast<size_t>(count));
  quant::dequantize(type, source.data(), expected.data(), count);

  const MatrixLayout layout = matrix_layout(type, rows, columns);
  const size_t row_bytes = quant::size_bytes(type, columns);
  std::vector<std::byte> tile(static_cast<size_t>(layout.tile_bytes), std::byte{0xa5});
  std::vector<float> values(static_cast<size_t>(columns));
  for (int index = 0; index < layout.num_tiles(); ++index) {
    pack_tile(layout, index, source.data() + static_cast<size_t>(index) * kTileRows * row_bytes,
              tile.data());
    for (int row = 0; row < kTileRows; ++row) {
      unpack_tile_row(layout, tile.data(), row, values.data());
      const int own = index * kTileRows + row;
      if (own >= rows) {
        for (float value : values) ASSERT_EQ(value, 0.0f);
        continue;
      }
      ASSERT_EQ(std::memcmp(values.data(), expected.data() + int64_t{own} * columns,
                            values.size() * sizeof(float)),
                0)
          << "row " << own;
    }
  }
}

TEST(CudaPacking, GivesTheValuesOfTheFile) {
  for (Type type : kAllTypes) {
    for (uint32_t seed : {1u, 2u, 3u}) expect_round_trip(type, 512, 32, seed);
    expect_round_trip(type, 768, 21, 4);
    if (quant::type_info(type).block_elements == 256) continue;
    for (int columns : {32, 64, 96, 288, 576, 640, 896}) expect_round_trip(type, columns, 19, 5);
  }
}

TEST(CudaPacking, AddsNoBytesToTheFiles) {
  for (Type type : kAllTypes) {
    const MatrixLayout layout = matrix_layout(type, 1024, 8192);
    EXPECT_EQ(layout.bytes, quant::size_bytes(type, 8192 * 1024)) << quant::type_info(type).name;
  }
  const MatrixLayout layout =
      matrix_layout(Type::kQ4_0, 576, 576);  // SmolLM2: 3 quarters less of scales
  EXPECT_LT(static_cast<double>(layout.bytes),
            1.04 * static_cast<double>(quant::size_bytes(Type::kQ4_0, 576 * 576)));
}

// Codes and words that no two places share, all of each word used where the layout says so.
TEST(CudaPacking, PlacesOfCodesDoNotOverlap) {
  for (Codes codes : {Codes::kBits2, Codes::kBits3, Codes::kBits4, Codes::kBits5, Codes::kBits6,
                      Codes::kBits8, Codes::kHalves, Codes::kFloats}) {
    std::set<std::pair<int, int>> bits;
    int num_bits = 0;
    for (int k = 0; k < 32; ++k) {
      for (const CodePiece& piece : code_place(codes, k / 16, k / 8 % 2, k % 8).pieces) {
        for (int bit = 0; bit < piece.bits; ++bit) bits.insert({piece.word, piece.at + bit});
        num_bits += piece.bits;
      }
    }
    EXPECT_EQ(bits.size(), static_cast<size_t>(num_bits));
    EXPECT_EQ(num_bits, 32 * code_words(codes));
    std::set<int> offsets;
    for (int lane = 0; lane < 32; ++lane) {
      for (int word = 0; word < code_words(codes); ++word) {
        offsets.insert(word_offset(codes, lane, word));
      }
    }
    EXPECT_EQ(offsets.size(), static_cast<size_t>(32 * code_words(codes)));
    EXPECT_EQ(*offsets.rbegin(), quarter_bytes(codes) - 4);
  }
}

TEST(CudaPacking, RefusesColumnsThatAreNoBlocks) {
  EXPECT_THROW(matrix_layout(Type::kQ4_0, 16, 48), Error);
  EXPECT_THROW(matrix_layout(Type::kQ4_K, 16, 288), Error);
  EXPECT_THROW(matrix_layout(Type::kF16, 16, 0), Error);
  EXPECT_THROW(matrix_layout(Type::kF16, 0, 32), Error);
}

}  // namespace
}  // namespace sluice::backend::cuda
