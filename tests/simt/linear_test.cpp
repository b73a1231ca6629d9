#include "backend/cuda/linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "simt/linear_test_util.h"

namespace sluice::backend::cuda {
namespace {

using cpu::kAllTypes;

struct Case {
  std::vector<Type> types;
  std::vector<int64_t> rows;  // of the matrices, which read the same activations
  int64_t columns = 256;
  int tokens = 1;
  int multiprocessors = 3;
  bool has_bias = false;
  bool accumulates = false;
  uint32_t seed = 1;
  bool is_prefill = false;
  int compute_capability = 80;
};

// The products of a case, as the emulator computes them, [matrices][tokens, rows].
std::vector<std::vector<float>> products(const Case& c, const std::vector<Matrix>& matrices,
                                         const std::vector<uint16_t>& x, float scale,
                                         const std::vector<std::vector<float>>& biases) {
  DeviceFacts device;
  device.num_multiprocessors = c.multiprocessors;
  device.compute_capability = c.compute_capability;
  if (c.compute_capability == 90) device.shared_bytes_per_block = 227 << 10;
  const simt::DeviceArray<uint16_t> in(x, "activations");
  std::vector<std::unique_ptr<simt::DeviceArray<std::byte>>> tiles;
  std::vector<std::unique_ptr<simt::DeviceArray<float>>> bias, out;
  std::vector<LinearTarget> targets;
  std::vector<MatrixLayout> layouts;
  for (size_t i = 0; i < matrices.size(); ++i) {
    const MatrixLayout& layout = matrices[i].layout;
    tiles.push_back(
        std::make_unique<simt::DeviceArray<std::byte>>(packed({&matrices[i]}), "tiles"));
    bias.push_back(std::make_unique<simt::DeviceArray<float>>(biases[i], "bias"));
    const int64_t stride = out_stride(layout.rows);
    out.push_back(
        std::make_unique<simt::DeviceArray<float>>(static_cast<size_t>(c.tokens * stride), "out"));
    out.back()->fill(0.25f);
    layouts.push_back(layout);
    targets.push_back({layout, tiles.back()->data(), c.has_bias ? bias.back()->data() : nullptr,
                       out.back()->data(), stride, c.accumulates});
  }
  simt::DeviceArray<std::byte> scratch(linear_scratch_bytes(device, layouts), "scratch");
  scratch.fill(std::byte{0});
  LaunchList list;
  const HalfRows rows{in.data(), static_cast<int64_t>(x.size()) / c.tokens, scale};
  add_linear(list, device, rows, targets, c.tokens, c.is_prefill, scratch.data());
  const simt::Report report = run(list, c.seed % 3);
  EXPECT_EQ(report.problems(), "");
  EXPECT_EQ(report.wasteful_lines(2.0, 4.0), "");
  std::vector<std::vector<float>> results;
  for (const auto& values : out) results.push_back(values->values());
  return results;
}

// Of up to 16 rows what is rounded is sums in f32 alone: codes and scales are exact. Of more,
// weights are rounded to halves.
void check(const Case& c) {
  std::string name = "seed " + std::to_string(c.seed) + ": " + std::to_string(c.tokens) +
                     " tokens, columns " + std::to_string(c.columns);
  std::mt19937 random(c.seed);
  std::vector<Matrix> matrices;
  std::vector<std::vector<float>> biases;
  for (size_t i = 0; i < c.types.size(); ++i) {
    name += ", " + std::string(quant::type_info(c.types[i]).name) + " of " +
            std::to_string(c.rows[i]) + " rows";
    matrices.push_back(random_matrix(c.types[i], c.rows[i], c.columns, random));
    biases.push_back(cpu::random_floats(static_cast<size_t>(c.rows[i]), random));
  }
  SCOPED_TRACE(name);
  const size_t stride = static_cast<size_t>(c.columns) + 16;
  const std::vector<uint16_t> x = random_halves(static_cast<size_t>(c.tokens) * stride, random);
  const float scale = 0.5f;
  const auto got = products(c, matrices, x, scale, biases);
  const bool is_exact = c.tokens <= 16 && !c.is_prefill;
  for (size_t i = 0; i < matrices.size(); ++i) {
    double errors = 0, sizes = 0;
    for (int token = 0; token < c.tokens; ++token) {
      for (int64_t row = 0; row < c.rows[i]; ++row) {
        double sum = 0, size = 0;
        for (int64_t k = 0; k < c.columns; ++k) {
          const double w = matrices[i].weights[static_cast<size_t>(row * c.columns + k)];
          const double v =
              w * scale *
              quant::f16_to_f32(x[static_cast<size_t>(token) * stride + static_cast<size_t>(k)]);
          sum += v;
          size += v * v;
        }
        if (c.has_bias) sum += biases[i][static_cast<size_t>(row)];
        if (c.accumulates) sum += 0.25;
        const float value = got[i][static_cast<size_t>(token * out_stride(c.rows[i]) + row)];
        ASSERT_NEAR(value, sum, (is_exact ? 1e-5 : 3e-3) * std::sqrt(size) + 1e-6)
            << "token " << token << " row " << row;
        errors += (value - sum) * (value - sum);
        sizes += size;
      }
    }
    EXPECT_LE(std::sqrt(errors / sizes), is_exact ? 3e-6 : 6e-4);
    // Nobody writes between rows.
    ASSERT_EQ(got[i][static_cast<size_t>(c.rows[i])], 0.25f);
  }
}

TEST(CudaLinear, FewRowsOfEachType) {
  uint32_t seed = 0;
  for (Type type : kAllTypes) {
    check({{type}, {40}, 1024, 1, 2, false, false, ++seed});
    check({{type}, {16}, 512, 8, 1, true, true, ++seed});
    check({{type}, {33}, 512, 13, 2, true, false, ++seed});
  }
}

TEST(CudaLinear, RowsThatDoNotFillTheLastChunk) {
  uint32_t seed = 100;
  for (Type type : kAllTypes) {
    if (quant::type_info(type).block_elements == 256) continue;
    for (int64_t columns : {32, 576, 896})
      check({{type}, {19}, columns, 3, 2, false, false, ++seed});
  }
}

TEST(CudaLinear, SeveralMatricesReadTheSameRows) {
  check({{Type::kQ4_0, Type::kQ4_0, Type::kQ4_0}, {96, 32, 32}, 512, 2, 3, true, false, 200});
  check({{Type::kQ4_K, Type::kQ4_K, Type::kQ6_K}, {80, 16, 33}, 256, 5, 2, false, true, 201});
  check({{Type::kQ8_0, Type::kF16}, {128, 16}, 128, 16, 5, false, false, 202});
}

// One launch, whose blocks have a type each; and where there are too few blocks for that.
TEST(CudaLinear, SeveralTypesInOneLaunch) {
  check({{Type::kQ4_K, Type::kQ4_K, Type::kQ6_K}, {272, 40, 40}, 768, 1, 11, true, false, 210});
  check({{Type::kQ6_K, Type::kQ5_K, Type::kQ4_K}, {33, 80, 160}, 512, 8, 7, false, true, 211});
  check({{Type::kQ5_K, Type::kQ6_K, Type::kQ6_K}, {96, 16, 19}, 4096, 14, 9, true, true, 212});
  check({{Type::kQ4_K, Type::kQ6_K, Type::kQ5_K}, {40, 33, 16}, 512, 3, 2, false, false, 213});
  check({{Type::kQ4_K, Type::kQ4_0, Type::kQ6_K}, {48, 33, 16}, 512, 16, 4, false, false, 214});
}

TEST(CudaLinear, ColumnsAreSplitWhereTilesAreFew) {
  check({{Type::kQ4_0}, {48}, 4096, 2, 4, true, true, 300});
  check({{Type::kQ4_K}, {80}, 2304, 7, 8, false, false, 301});
  check({{Type::kQ4_K}, {80}, 2304, 11, 8, false, false, 302});
}

// Eight rows at once give each what it gets alone, to the last bit.
TEST(CudaLinear, ARowDoesNotDependOnTheOthers) {
  for (Type type : {Type::kQ4_0, Type::kQ4_K, Type::kQ6_K, Type::kF16}) {
    std::mt19937 random(7);
    const std::vector<Matrix> matrices = {random_matrix(type, 48, 2048, random)};
    const std::vector<uint16_t> x = random_halves(8 * 2048, random);
    Case c{{type}, {48}, 2048, 8, 5};
    const std::vector<float> together = products(c, matrices, x, 1.0f, {{0.0f}})[0];
    c.tokens = 1;
    for (size_t token : {0u, 3u, 7u}) {
      const std::vector<uint16_t> own(x.begin() + static_cast<std::ptrdiff_t>(token * 2048),
                                      x.begin() + static_cast<std::ptrdiff_t>(token * 2048 + 2048));
      const std::vector<float> alone = products(c, matrices, own, 1.0f, {{0.0f}})[0];
      for (size_t row = 0; row < 48; ++row) ASSERT_EQ(together[token * 56 + row], alone[row]);
    }
  }
}

// On an A100, and by warpgroups on an H100.
class CudaLinearOf : public testing::TestWithParam<int> {
 protected:
  static void check_here(Case c) {
    c.compute_capability = GetParam();
    check(c);
  }
};
INSTANTIATE_TEST_SUITE_P(Many, CudaLinearOf, testing::Values(80, 90));

TEST_P(CudaLinearOf, ManyRowsOfEachType) {
  uint32_t seed = 400;
  for (Type type : kAllTypes) check_here({{type}, {40}, 512, 19, 2, true, true, ++seed});
  for (Type type : {Type::kQ4_0, Type::kQ4_K, Type::kQ6_K}) {
    check_here({{type}, {272}, 512, 50, 3, false, false, ++seed});
    check_here({{type}, {144}, 256, 130, 2, false, true, ++seed, true});
  }
}

TEST_P(CudaLinearOf, ManyRowsThatDoNotFillTheLastChunk) {
  check_here({{Type::kQ4_1}, {19}, 576, 18, 2, false, false, 500});
  check_here({{Type::kQ8_0}, {19}, 352, 33, 2, false, false, 501});
  check_here({{Type::kF16}, {300}, 96, 17, 2, false, false, 502});
}

TEST_P(CudaLinearOf, SeveralMatricesReadTheSameManyRows) {
  check_here({{Type::kQ4_K, Type::kQ4_K, Type::kQ6_K}, {80, 16, 33}, 1024, 22, 5, true, true, 600});
  check_here({{Type::kQ4_0, Type::kQ4_0}, {300, 260}, 512, 20, 7, false, false, 601});
}

TEST_P(CudaLinearOf, SeveralTypesOfManyRowsInOneLaunch) {
  check_here(
      {{Type::kQ4_K, Type::kQ4_K, Type::kQ6_K}, {272, 80, 40}, 768, 22, 11, true, true, 610});
  check_here(
      {{Type::kQ6_K, Type::kQ5_K, Type::kQ4_K}, {33, 300, 80}, 1024, 50, 9, true, false, 611});
  check_here(
      {{Type::kQ5_K, Type::kQ6_K, Type::kQ4_K}, {40, 33, 16}, 512, 40, 2, false, false, 612});
}

// Rounds of blocks of both types, and what is left of the larger one in small pieces; and a prompt
// that is pieces only.
TEST_P(CudaLinearOf, SeveralTypesOfAPromptInOneLaunch) {
  const std::vector<Type> types = {Type::kQ4_K, Type::kQ6_K};
  check_here({types, {1040, 40}, 256, 200, 4, true, false, 620, true});
  check_here({types, {560, 270}, 256, 130, 64, false, true, 621, true});
  check_here({{Type::kQ6_K, Type::kQ4_K, Type::kQ5_K},
              {300, 272, 40},
              256,
              70,
              3,
              true,
              false,
              622,
              true});
}

// Who comes last adds up what up to eight blocks have of a tile's columns.
TEST_P(CudaLinearOf, ColumnsOfManyRowsAreSplitOverManyBlocks) {
  check_here({{Type::kQ4_K}, {40}, 4096, 20, 9, true, true, 700});
  check_here({{Type::kQ4_0}, {272}, 2304, 40, 7, false, true, 701});
  check_here({{Type::kQ6_K}, {19}, 2048, 70, 6, false, false, 702});
}

// The last round of a prompt's product is done in smaller pieces where few blocks have it: to the
// last bit what one round gives.
TEST_P(CudaLinearOf, ALastRoundInPiecesGivesTheSame) {
  check_here({{Type::kQ4_K}, {272}, 256, 300, 4, true, true, 710, true});
  std::mt19937 random(9);
  const std::vector<Matrix> matrices = {random_matrix(Type::kQ4_0, 272, 320, random)};
  const std::vector<uint16_t> x = random_halves(300 * 320, random);
  Case c{{Type::kQ4_0}, {272}, 320, 300, 4};
  c.is_prefill = true;
  c.compute_capability = GetParam();
  const std::vector<float> in_pieces = products(c, matrices, x, 1.0f, {{0.0f}})[0];
  for (const int multiprocessors : {3, 64}) {  // no last round, and nothing else
    c.multiprocessors = multiprocessors;
    EXPECT_EQ(products(c, matrices, x, 1.0f, {{0.0f}})[0], in_pieces);
  }
}

// A prompt's row has the same result alone and among others, to the last bit.
TEST_P(CudaLinearOf, APromptsRowDoesNotDependOnTheOthers) {
  std::mt19937 random(8);
  const std::vector<Matrix> matrices = {random_matrix(Type::kQ4_K, 48, 1024, random)};
  const std::vector<uint16_t> x = random_halves(100 * 1024, random);
  Case c{{Type::kQ4_K}, {48}, 1024, 100, 5};
  c.is_prefill = true;
  c.compute_capability = GetParam();
  const std::vector<float> together = products(c, matrices, x, 1.0f, {{0.0f}})[0];
  for (int tokens : {1, 20, 40}) {
    c.tokens = tokens;
    const std::vector<uint16_t> own(x.end() - tokens * 1024, x.end());
    const std::vector<float> apart = products(c, matrices, own, 1.0f, {{0.0f}})[0];
    for (size_t i = 0; i < static_cast<size_t>(tokens) * 56; ++i) {
      if (i % 56 >= 48) continue;
      ASSERT_EQ(together[static_cast<size_t>(100 - tokens) * 56 + i], apart[i]);
    }
  }
}

// That there are other types beside does not change a result either, nor the number of blocks.
TEST_P(CudaLinearOf, APromptsRowDoesNotDependOnOtherTypes) {
  std::mt19937 random(8);
  const std::vector<Matrix> both = {random_matrix(Type::kQ4_K, 560, 512, random),
                                    random_matrix(Type::kQ6_K, 40, 512, random)};
  const std::vector<uint16_t> x = random_halves(300 * 512, random);
  Case c{{Type::kQ4_K, Type::kQ6_K}, {560, 40}, 512, 300, 5};
  c.is_prefill = true;
  c.compute_capability = GetParam();
  const auto together = products(c, both, x, 1.0f, {{0.0f}, {0.0f}});
  for (size_t i = 0; i < 2; ++i) {
    c.multiprocessors = 40;
    EXPECT_EQ(products(c, {both[i]}, x, 1.0f, {{0.0f}})[0], together[i]);
  }
}

// Packing on a device is packing on the host.
TEST(CudaPack, GivesTheTilesOfTheHost) {
  std::mt19937 random(11);
  for (Type type : kAllTypes) {
    SCOPED_TRACE(quant::type_info(type).name);
    const int64_t columns = quant::type_info(type).block_elements == 256 ? 512 : 352;
    const Matrix m = random_matrix(type, 83, columns, random);
    const simt::DeviceArray<std::byte> raw(m.source, "raw");
    const simt::DeviceArray<std::byte> tiles(m.layout.bytes, "tiles");
    LaunchList list;
    const size_t row_bytes = quant::size_bytes(type, columns);
    const int64_t stride = m.layout.tile_bytes;
    add_pack(list, m.layout, raw.data(), 0, 64, tiles.data(), stride);
    add_pack(list, m.layout, raw.data() + 64 * row_bytes, 64, 19, tiles.data(), stride);
    EXPECT_EQ(run(list, 0).problems(), "");
    EXPECT_EQ(tiles.values(), packed({&m}));
  }
}

}  // namespace
}  // namespace sluice::backend::cuda
