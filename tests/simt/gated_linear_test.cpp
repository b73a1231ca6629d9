// Products of gate and up that apply the activation themselves, in all kernels that do.

#include <gtest/gtest.h>

#include <cmath>

#include "simt/linear_test_util.h"

namespace sluice::backend::cuda {
namespace {

struct GatedCase {
  Type type;
  int64_t rows;  // of each matrix
  int64_t columns;
  int tokens;
  int multiprocessors = 3;
  bool has_bias = false;
  bool is_gelu = false;
  uint32_t seed = 1;
  bool is_prefill = false;
  int compute_capability = 80;
};

struct GatedData {
  explicit GatedData(const GatedCase& c) : random(c.seed) {
    const auto rows = static_cast<size_t>(c.rows);
    gate = random_matrix(c.type, c.rows, c.columns, random);
    up = random_matrix(c.type, c.rows, c.columns, random);
    gate_bias = cpu::random_floats(rows, random);
    up_bias = cpu::random_floats(rows, random);
    x = random_halves(static_cast<size_t>(c.tokens) * static_cast<size_t>(x_stride(c)), random);
  }
  static int64_t x_stride(const GatedCase& c) { return c.columns + 16; }

  std::mt19937 random;
  Matrix gate, up;
  std::vector<float> gate_bias, up_bias;
  std::vector<uint16_t> x;
};

constexpr float kInScale = 0.25f;
constexpr uint16_t kUntouched = 0x1234;

int64_t halves_stride(int64_t rows) { return (rows + 15) / 16 * 16 + 16; }

// [tokens, halves_stride], as the emulator computes them; `x`: all of the data's, or some rows.
std::vector<uint16_t> gated_products(const GatedCase& c, const GatedData& data,
                                     const std::vector<uint16_t>& x) {
  DeviceFacts device;
  device.num_multiprocessors = c.multiprocessors;
  device.compute_capability = c.compute_capability;
  if (c.compute_capability == 90) device.shared_bytes_per_block = 227 << 10;
  const simt::DeviceArray<uint16_t> in(x, "activations");
  const simt::DeviceArray<std::byte> tiles(packed({&data.gate, &data.up}), "tiles");
  const simt::DeviceArray<float> gate_bias(data.gate_bias, "bias"), up_bias(data.up_bias, "bias");
  const int64_t stride = halves_stride(c.rows);
  simt::DeviceArray<uint16_t> out(static_cast<size_t>(c.tokens * stride), "out");
  out.fill(kUntouched);
  GatedTarget target;
  target.layout = data.gate.layout;
  target.packed = tiles.data();
  if (c.has_bias) {
    target.gate_bias = gate_bias.data();
    target.up_bias = up_bias.data();
  }
  target.out = out.data();
  target.out_stride = stride;
  target.curve = gate_curve(c.is_gelu);
  const MatrixLayout layouts[] = {target.layout, target.layout};
  simt::DeviceArray<std::byte> scratch(linear_scratch_bytes(device, layouts), "scratch");
  scratch.fill(std::byte{0});
  LaunchList list;
  const HalfRows rows{in.data(), GatedData::x_stride(c), kInScale};
  add_gated_linear(list, device, rows, target, c.tokens, c.is_prefill, scratch.data());
  const simt::Report report = run(list, c.seed % 3);
  EXPECT_EQ(report.problems(), "");
  EXPECT_EQ(report.wasteful_lines(2.0, 4.0), "");
  return out.values();
}

double dot(const GatedCase& c, const Matrix& m, int64_t row, const uint16_t* x, double& size) {
  double sum = 0;
  for (int64_t k = 0; k < c.columns; ++k) {
    const double v = static_cast<double>(m.weights[static_cast<size_t>(row * c.columns + k)]) *
                     quant::f16_to_f32(x[k]) * kInScale;
    sum += v;
    size += v * v;
  }
  return sum;
}

double gate_of(double x, bool is_gelu) {
  if (!is_gelu) return x / (1.0 + std::exp(-x));
  return 0.5 * x * (1.0 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

// A half has 11 bits; sums of many rows are of weights that have been rounded to as many.
void check_gated(const GatedCase& c) {
  SCOPED_TRACE("seed " + std::to_string(c.seed) + ": " + std::to_string(c.tokens) + " tokens, " +
               std::string(quant::type_info(c.type).name) + " of " + std::to_string(c.rows) +
               " rows, columns " + std::to_string(c.columns));
  const GatedData data(c);
  const std::vector<uint16_t> got = gated_products(c, data, data.x);
  const bool is_exact = c.tokens <= 16 && !c.is_prefill;
  const int64_t stride = halves_stride(c.rows);
  for (int token = 0; token < c.tokens; ++token) {
    const uint16_t* x = data.x.data() + token * GatedData::x_stride(c);
    for (int64_t row = 0; row < c.rows; ++row) {
      double gate_size = 0, up_size = 0;
      double gate = dot(c, data.gate, row, x, gate_size), up = dot(c, data.up, row, x, up_size);
      if (c.has_bias) {
        gate += data.gate_bias[static_cast<size_t>(row)];
        up += data.up_bias[static_cast<size_t>(row)];
      }
      const double expected = gate_of(gate, c.is_gelu) * up;
      const double sums = (is_exact ? 1e-5 : 3e-3) * (1.2 * std::sqrt(gate_size) * std::abs(up) +
                                                      std::sqrt(up_size) * std::abs(gate));
      const size_t at = static_cast<size_t>(token * stride + row);
      ASSERT_NEAR(quant::f16_to_f32(got[at]) * kGatedScale, expected,
                  sums + 6e-4 * std::abs(expected) + 1e-6)
          << "token " << token << " row " << row;
    }
    // Rows are padded to groups of eight at most.
    for (int64_t row = (c.rows + 7) / 8 * 8; row < stride; ++row) {
      ASSERT_EQ(got[static_cast<size_t>(token * stride + row)], kUntouched);
    }
  }
}

TEST(CudaGatedLinear, FewRowsOfEachType) {
  uint32_t seed = 0;
  for (Type type : cpu::kAllTypes) {
    check_gated({type, 40, 512, 1, 2, false, false, ++seed});
    check_gated({type, 16, 512, 8, 1, true, true, ++seed});
    check_gated({type, 33, 512, 13, 2, true, false, ++seed});
  }
}

TEST(CudaGatedLinear, ColumnsAreSplitWhereTilesAreFew) {
  check_gated({Type::kQ4_0, 24, 4096, 2, 4, true, true, 300});
  check_gated({Type::kQ4_K, 40, 2304, 7, 8, false, false, 301});
  check_gated({Type::kQ6_K, 40, 2304, 11, 8, false, true, 302, false, 90});
}

// More pairs than blocks, and passes that end within what warps take side by side.
TEST(CudaGatedLinear, NoBlockPartsAPair) {
  check_gated({Type::kQ4_K, 360, 256, 3, 7, false, false, 310});
  check_gated({Type::kQ8_0, 104, 320, 9, 5, true, false, 311});
}

TEST(CudaGatedLinear, ARowDoesNotDependOnTheOthers) {
  GatedCase c{Type::kQ4_K, 24, 2048, 8, 5};
  const GatedData data(c);
  const std::vector<uint16_t> together = gated_products(c, data, data.x);
  c.tokens = 1;
  for (const int token : {0, 3, 7}) {
    const auto* own = data.x.data() + token * GatedData::x_stride(c);
    const std::vector<uint16_t> alone =
        gated_products(c, data, {own, own + GatedData::x_stride(c)});
    for (size_t row = 0; row < 24; ++row) {
      ASSERT_EQ(together[static_cast<size_t>(token * halves_stride(24)) + row], alone[row]);
    }
  }
}

// On an A100, and by warpgroups on an H100.
class CudaGatedLinearOf : public testing::TestWithParam<int> {
 protected:
  static void check_here(GatedCase c) {
    c.compute_capability = GetParam();
    check_gated(c);
  }
};
INSTANTIATE_TEST_SUITE_P(Many, CudaGatedLinearOf, testing::Values(80, 90));

TEST_P(CudaGatedLinearOf, ManyRowsOfEachType) {
  uint32_t seed = 400;
  for (Type type : cpu::kAllTypes) check_here({type, 40, 512, 19, 2, true, true, ++seed});
  for (Type type : {Type::kQ4_0, Type::kQ4_K, Type::kQ6_K}) {
    check_here({type, 143, 512, 50, 3, false, false, ++seed});
    check_here({type, 72, 256, 130, 2, true, true, ++seed, true});
  }
}

TEST_P(CudaGatedLinearOf, ManyRowsThatDoNotFillTheLastChunk) {
  check_here({Type::kQ4_1, 19, 576, 18, 2, false, false, 500});
  check_here({Type::kQ8_0, 11, 352, 33, 2, true, false, 501});
  check_here({Type::kF16, 150, 96, 17, 2, false, false, 502});
}

// Who comes last adds up what up to eight blocks have of a tile's columns, then activates.
TEST_P(CudaGatedLinearOf, ColumnsOfManyRowsAreSplitOverManyBlocks) {
  check_here({Type::kQ4_K, 20, 4096, 20, 9, true, true, 700});
  check_here({Type::kQ4_0, 136, 2304, 40, 7, false, false, 701});
  check_here({Type::kQ6_K, 19, 2048, 70, 6, false, false, 702});
}

// A prompt's row has the same result alone and among others, and in a last round of small pieces.
TEST_P(CudaGatedLinearOf, APromptsRowDoesNotDependOnTheOthers) {
  GatedCase c{Type::kQ4_K, 136, 512, 300, 4};
  c.is_prefill = true;
  c.compute_capability = GetParam();
  const GatedData data(c);
  const std::vector<uint16_t> together = gated_products(c, data, data.x);
  const auto row_size = static_cast<std::ptrdiff_t>(halves_stride(c.rows));
  for (const int tokens : {1, 20, 150}) {
    c.tokens = tokens;
    const auto rest = static_cast<std::ptrdiff_t>(tokens) * GatedData::x_stride(c);
    const std::vector<uint16_t> apart =
        gated_products(c, data, {data.x.end() - rest, data.x.end()});
    EXPECT_TRUE(std::equal(apart.begin(), apart.end(), together.end() - tokens * row_size));
  }
}

}  // namespace
}  // namespace sluice::backend::cuda
