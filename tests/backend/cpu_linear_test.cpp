#include "backend/cpu/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backend/cpu/dispatch.h"
#include "backend/cpu/huge_buffer.h"
#include "backend/cpu_test_util.h"
#include "base/error.h"

namespace sluice::backend::cpu {
namespace {

using quant::Type;

struct Packed {
  PackedMatrix matrix;
  HugeBuffer memory;
};

Packed pack(Type type, int columns, int rows, const std::vector<std::byte>& source) {
  Packed packed{plan_packing(type, columns, rows), {}};
  packed.memory = HugeBuffer(packed.matrix.size_bytes(), "a test matrix");
  packed.matrix.data = packed.memory.data();
  const size_t group_bytes = kGroupRows * quant::size_bytes(type, columns);
  for (int g = 0; g < packed.matrix.num_groups(); ++g) {
    pack_group(packed.matrix, source.data() + static_cast<size_t>(g) * group_bytes, g);
  }
  return packed;
}

// What the kernels see of an activation row: read back from its tile.
std::vector<float> rounded_row(const Activations& in, int token) {
  const int tile = token / kTileTokens, lane = token % kTileTokens;
  const int width = in.tile_tokens(tile);
  std::vector<float> row;
  for (int b = 0; b < in.num_blocks; ++b) {
    const uint8_t* record =
        in.tile(tile) + static_cast<size_t>(b) * activation_record_bytes(in.form, width);
    if (in.form == ActivationForm::kBf16) {
      const auto* x = reinterpret_cast<const uint16_t*>(record) + lane * kBlockColumns;
      for (int i = 0; i < kBlockColumns; ++i) row.push_back(quant::bf16_to_f32(x[i]));
      continue;
    }
    if (in.form == ActivationForm::kFloats) {
      const float* x = reinterpret_cast<const float*>(record) + lane * kBlockColumns;
      row.insert(row.end(), x, x + kBlockColumns);
      continue;
    }
    const bool is_wide = in.form == ActivationForm::kCodes16;
    const uint8_t* low = record + lane * kBlockColumns;
    const uint8_t* high = low + width * kBlockColumns;
    const float* numbers =
        reinterpret_cast<const float*>(record + code_bytes_of_record(in.form, width)) + lane;
    for (int i = 0; i < kBlockColumns; ++i) {
      if (is_wide) {
        const int code = 256 * static_cast<int8_t>(high[i]) + static_cast<int8_t>(low[i]);
        row.push_back(numbers[0] * static_cast<float>(code));
      } else {
        row.push_back(numbers[0] * static_cast<float>(static_cast<int8_t>(low[i])) +
                      numbers[width]);
      }
    }
  }
  return row;
}

class LinearOn : public testing::TestWithParam<std::string> {
 protected:
  static const Kernels& kernels_here() {
    return GetParam() == "generic_tiles" ? generic_tile_kernels() : choose_kernels(GetParam());
  }
  void check(Type type, int columns, int rows, int tokens, std::mt19937& random) {
    SCOPED_TRACE(std::string(quant::type_info(type).name) + " columns " + std::to_string(columns) +
                 " rows " + std::to_string(rows) + " tokens " + std::to_string(tokens));
    const Kernels& kernels = kernels_here();
    const int64_t count = int64_t{columns} * rows;
    const std::vector<std::byte> source = random_tensor(type, count, random);
    std::vector<float> weights(static_cast<size_t>(count));
    quant::dequantize(type, source.data(), weights.data(), count);
    const Packed packed = pack(type, columns, rows, source);
    const std::vector<float> x = random_floats(static_cast<size_t>(tokens * columns), random);

    std::vector<uint8_t> tiles(activation_bytes(tokens, columns));
    Activations in{tiles.data(), activation_form(kernels, packed.matrix, tokens), tokens,
                   packed.matrix.num_blocks()};
    for (int t = 0; t < tokens; ++t) {
      quantize_row(kernels, in, t, x.data() + t * columns, 0, in.num_blocks);
    }
    const std::vector<float> bias = random_floats(static_cast<size_t>(rows), random);
    const size_t stride = static_cast<size_t>(rows) + 3;
    std::vector<float> out(stride * static_cast<size_t>(tokens), 0.25f);
    Team team(2);
    std::vector<std::byte> scratch(2 * linear_scratch_bytes(kernels));
    LinearTarget target{&packed.matrix, &in, bias.data(), out.data(), stride, true};
    team.run(cut_linear({&target, 1}, team.size()), [&](Pieces& pieces) {
      run_linear(
          kernels, {&target, 1}, pieces,
          scratch.data() + static_cast<size_t>(pieces.member()) * linear_scratch_bytes(kernels));
    });

    for (int t = 0; t < tokens; ++t) {
      const std::vector<float> seen = rounded_row(in, t);
      for (int r = 0; r < rows; ++r) {
        double exact = 0, with_rounded = 0, size = 0;
        for (int c = 0; c < columns; ++c) {
          const double w = weights[static_cast<size_t>(r * columns + c)];
          const double original = x[static_cast<size_t>(t * columns + c)];
          exact += w * original;
          with_rounded += w * seen[static_cast<size_t>(c)];
          size += std::abs(w * original);
        }
        const double got = double{out[static_cast<size_t>(t) * stride + static_cast<size_t>(r)]} -
                           0.25 - bias[static_cast<size_t>(r)];
        // Rounding x apart, only f32 sums are left.
        const double sums = in.form == ActivationForm::kBf16 ? 4e-3 : 4e-6;  // bf16 weights
        ASSERT_NEAR(got, with_rounded, sums * size + 1e-6) << "token " << t << " row " << r;
        const double loss = in.form == ActivationForm::kCodes8 ? 1.5e-2
                            : in.form == ActivationForm::kBf16 ? 9e-3
                                                               : 1e-4;
        ASSERT_NEAR(got, exact, loss * size + 1e-6) << "token " << t << " row " << r;
      }
      for (size_t r = static_cast<size_t>(rows); r < stride; ++r) {
        ASSERT_EQ(out[static_cast<size_t>(t) * stride + r], 0.25f) << "wrote beyond the last row";
      }
    }
  }
};

TEST_P(LinearOn, EveryTypeEqualsDequantizedProductWithTheRoundedInput) {
  std::mt19937 random(20260101);
  for (Type type : kAllTypes) {
    const int unit = std::max(32, quant::type_info(type).block_elements);
    for (int tokens : {1, 2, 3, 5, 9, 16, 33}) check(type, 2 * unit, 33, tokens, random);
  }
}

TEST_P(LinearOn, OddShapes) {
  std::mt19937 random(20260102);
  for (Type type : {Type::kQ4_0, Type::kQ4_1, Type::kQ8_0, Type::kF16}) {
    for (int rows : {1, 16, 17, 100}) check(type, 96, rows, 7, random);
    for (int tokens : {4, 6, 8, 12, 13, 17, 20, 29, 48}) check(type, 32, 20, tokens, random);
  }
  for (Type type : {Type::kQ4_K, Type::kQ6_K}) {
    for (int columns : {256, 768, 1280}) check(type, columns, 40, 6, random);
  }
}

// The instruction sets must agree on integers: the same codes from the same floats.
TEST_P(LinearOn, QuantizesAsTheGenericKernelsDo) {
  std::mt19937 random(20260103);
  const Kernels& kernels = kernels_here();
  const Kernels& plain = generic_kernels();
  constexpr int kColumns = 160, kTokens = 3;
  for (ActivationForm form : {ActivationForm::kCodes8, ActivationForm::kCodes16}) {
    std::vector<uint8_t> a(activation_bytes(16, kColumns)), b(a.size());
    const Activations in_a{a.data(), form, kTokens, kColumns / 32};
    const Activations in_b{b.data(), form, kTokens, kColumns / 32};
    for (int t = 0; t < kTokens; ++t) {
      std::vector<float> x = random_floats(kColumns, random, 3.0f);
      std::fill(x.begin(), x.begin() + 32, 1.5f);  // a constant block
      std::fill(x.begin() + 32, x.begin() + 64, 0.0f);
      quantize_row(kernels, in_a, t, x.data(), 0, 5);
      quantize_row(plain, in_b, t, x.data(), 0, 5);
      const std::vector<float> row_a = rounded_row(in_a, t), row_b = rounded_row(in_b, t);
      const float levels = form == ActivationForm::kCodes8 ? 255.0f : 65535.0f;
      for (int c = 0; c < kColumns; ++c) {
        EXPECT_EQ(row_a[static_cast<size_t>(c)], row_b[static_cast<size_t>(c)]) << c;
        EXPECT_NEAR(row_a[static_cast<size_t>(c)], x[static_cast<size_t>(c)], 12.0f / levels);
      }
      EXPECT_FLOAT_EQ(row_a[5], 1.5f);
      EXPECT_EQ(row_a[40], 0.0f);
    }
  }
}

// A packed group of 16 rows whose codes are all the largest, or all the smallest, of the format;
// scales are 1 where they are f16, and 60 or 0 where they are bytes.
template <class Fmt>
std::vector<uint8_t> extreme_group(bool is_largest, int num_units) {
  std::vector<uint8_t> group(Fmt::kUnitBytes * static_cast<size_t>(num_units), 0);
  for (int unit = 0; unit < num_units; ++unit) {
    uint8_t* scales = group.data() + Fmt::kUnitBytes * static_cast<size_t>(unit);
    for (size_t i = 0; i < scale_bytes(Fmt::kScales); ++i) scales[i] = i % 2 == 0 ? 0x00 : 0x3c;
    uint8_t* codes = scales + scale_bytes(Fmt::kScales);
    for (int block = 0; block < Fmt::kUnitBlocks; ++block, codes += Fmt::kCodeBytes) {
      const bool is_index = Fmt::kCodes == Codes::kTable;  // into kExtremes
      const uint8_t largest = Fmt::kCodes == Codes::k8 ? 0x7f : is_index ? 0xff : 0x77;
      const uint8_t smallest = Fmt::kCodes == Codes::k8 ? 0x80 : is_index ? 0x00 : 0x88;
      std::fill(codes, codes + Fmt::kCodeBytes, is_largest ? largest : smallest);
      // Bits below the nibbles.
      if (Fmt::kCodes == Codes::k4Plus1 || Fmt::kCodes == Codes::k4Plus2) {
        std::fill(codes + 256, codes + Fmt::kCodeBytes, is_largest ? 0xff : 0x00);
      }
    }
  }
  return group;
}

template <class Fmt>
void check_extremes(const Kernels& kernels, Type type) {
  alignas(16) constexpr int8_t kExtremes[16] = {-128, 0, 0, 0, 0, 0, 0, 0,
                                                0,    0, 0, 0, 0, 0, 0, 127};
  constexpr int kUnits = 2, kBlocks = kUnits * Fmt::kUnitBlocks;
  for (const ActivationForm form : {ActivationForm::kCodes8, ActivationForm::kCodes16}) {
    const bool is_wide = form == ActivationForm::kCodes16;
    for (const int tokens : {1, 2, 4, 6, 8, 12, 16}) {
      const TileKernel kernel = kernels.tile_kernel(type, form, tokens);
      if (kernel == nullptr) continue;
      for (const int8_t x : {int8_t{-128}, int8_t{127}}) {
        std::vector<uint8_t> tile(kBlocks * activation_record_bytes(form, tokens));
        for (int b = 0; b < kBlocks; ++b) {
          uint8_t* record = tile.data() + b * activation_record_bytes(form, tokens);
          const size_t code_bytes = code_bytes_of_record(form, tokens);
          std::memset(record, x, code_bytes);
          const int code = is_wide ? 257 * x : x;
          float* scales = reinterpret_cast<float*>(record + code_bytes);
          auto* starts = reinterpret_cast<int32_t*>(scales + 3 * tokens);
          for (int t = 0; t < tokens; ++t) {
            scales[t] = 1.0f;  // and no middle
            scales[2 * tokens + t] = static_cast<float>(kBlockColumns * code);
            starts[t] = -kStartBias * kBlockColumns * code;
            starts[tokens + t] = starts[2 * tokens + t] = starts[t] / 2;
          }
        }
        for (const bool is_largest : {false, true}) {
          const std::vector<uint8_t> group = extreme_group<Fmt>(is_largest, kUnits);
          std::vector<float> got(static_cast<size_t>(tokens * kGroupRows)), plain(got.size());
          kernel({group.data(), kBlocks, tile.data(), kExtremes, got.data()});
          generic_kernels().tile_kernel(
              type, form, tokens)({group.data(), kBlocks, tile.data(), kExtremes, plain.data()});
          for (size_t i = 0; i < got.size(); ++i) {
            ASSERT_NEAR(got[i], plain[i], 1e-6 * std::abs(plain[i]))
                << quant::type_info(type).name << " tokens " << tokens << " x " << int{x}
                << (is_wide ? " 16 bits " : " 8 bits ") << is_largest << " at " << i;
          }
        }
      }
    }
  }
}

// Sums in few bits must hold whatever codes there are.
TEST_P(LinearOn, SumsOfTheLargestCodesAreExact) {
  const Kernels& kernels = kernels_here();
  check_extremes<FormatQ4_0>(kernels, Type::kQ4_0);
  check_extremes<FormatQ4_1>(kernels, Type::kQ4_1);
  check_extremes<FormatQ5_0>(kernels, Type::kQ5_0);
  check_extremes<FormatQ5_1>(kernels, Type::kQ5_1);
  check_extremes<FormatQ8_0>(kernels, Type::kQ8_0);
  check_extremes<FormatQ2_K>(kernels, Type::kQ2_K);
  check_extremes<FormatQ3_K>(kernels, Type::kQ3_K);
  check_extremes<FormatQ4_K>(kernels, Type::kQ4_K);
  check_extremes<FormatQ5_K>(kernels, Type::kQ5_K);
  check_extremes<FormatQ6_K>(kernels, Type::kQ6_K);
  check_extremes<FormatIQ4_NL>(kernels, Type::kIQ4_NL);
  check_extremes<FormatIQ4_XS>(kernels, Type::kIQ4_XS);
  check_extremes<FormatMXFP4>(kernels, Type::kMXFP4);
}

TEST_P(LinearOn, SurvivesNonFiniteInput) {
  const Kernels& kernels = kernels_here();
  std::vector<float> x(32, 1.0f);
  x[3] = std::numeric_limits<float>::infinity();
  x[9] = std::numeric_limits<float>::quiet_NaN();
  std::vector<uint8_t> tiles(activation_bytes(1, 32));
  for (ActivationForm form : {ActivationForm::kCodes8, ActivationForm::kCodes16}) {
    const Activations in{tiles.data(), form, 1, 1};
    quantize_row(kernels, in, 0, x.data(), 0, 1);
  }
}

std::vector<std::string> kernel_sets() {
  std::vector<std::string> names = isas_here();
  names.push_back("generic_tiles");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Isa, LinearOn, testing::ValuesIn(kernel_sets()),
                         [](const auto& info) { return info.param; });

TEST(Packing, UnpacksEveryTypeBitForBit) {
  std::mt19937 random(20260104);
  for (const Type type : kAllTypes) {
    const int columns = 2 * std::max(32, quant::type_info(type).block_elements), rows = 37;
    std::vector<std::byte> source = random_tensor(type, int64_t{columns} * rows, random);
    if (type == Type::kMXFP4) source[0] = std::byte{0};  // the smallest scale: a denormal number
    const Packed packed = pack(type, columns, rows, source);
    const size_t row_bytes = quant::size_bytes(type, columns);
    for (int row = 0; row < rows; ++row) {
      std::vector<float> expected(static_cast<size_t>(columns)), values(expected.size());
      quant::dequantize(type, source.data() + static_cast<size_t>(row) * row_bytes, expected.data(),
                        columns);
      unpack_row(packed.matrix, row, values.data());
      ASSERT_EQ(values, expected) << quant::type_info(type).name << " row " << row;
    }
  }
}

TEST(Packing, RefusesColumnsThatAreNoMultipleOfABlock) {
  EXPECT_THROW(plan_packing(Type::kQ4_0, 40, 16), Error);
  EXPECT_THROW(plan_packing(Type::kQ4_K, 128, 16), Error);
  EXPECT_THROW(plan_packing(Type::kQ4_0, 0, 16), Error);
  EXPECT_THROW(plan_packing(Type::kQ4_0, int64_t{1} << 40, 16), Error);
}

TEST(Packing, TakesLittleMoreThanTheFile) {
  const auto bits = [](Type type) {
    const PackedMatrix m = plan_packing(type, 2048, 2048);
    return 8.0 * static_cast<double>(m.size_bytes()) / (2048.0 * 2048.0);
  };
  EXPECT_DOUBLE_EQ(bits(Type::kQ4_0), 4.5);
  EXPECT_DOUBLE_EQ(bits(Type::kQ4_1), 5.0);
  EXPECT_DOUBLE_EQ(bits(Type::kQ4_K), 4.625);
  EXPECT_DOUBLE_EQ(bits(Type::kQ6_K), 6.5625);
  EXPECT_DOUBLE_EQ(bits(Type::kQ8_0), 8.5);
}

}  // namespace
}  // namespace sluice::backend::cpu
