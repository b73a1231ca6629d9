#include <gtest/gtest.h>

#include <cstring>

#include "backend/cuda/kernels.h"
#include "quant/half.h"
#include "simt/kernel_test_util.h"

namespace sluice::backend::cuda {
namespace {

double activated(double x, bool is_gelu) {
  if (!is_gelu) return x / (1.0 + std::exp(-x));
  return 0.5 * x * (1.0 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

TEST(CudaElementwise, GatedActivation) {
  std::mt19937 random(3);
  for (const int width : {8, 100, 510, 2049}) {
    for (const bool is_gelu : {false, true}) {
      SCOPED_TRACE(width);
      constexpr size_t kRows = 2;
      const auto stride = static_cast<size_t>((width + 7) / 8 * 8);
      const std::vector<float> gate = random_values(kRows * stride, random, 3.0f);
      const std::vector<float> up = random_values(kRows * stride, random, 300.0f);
      const DeviceArray<float> gate_device(gate), up_device(up), out(kRows * stride);
      const DeviceArray<uint16_t> halves(kRows * stride);
      const GatedArgs args{gate_device.data(),
                           up_device.data(),
                           static_cast<int64_t>(stride),
                           halves.data(),
                           static_cast<int64_t>(stride),
                           out.data(),
                           width,
                           gate_curve(is_gelu)};
      LaunchList list;
      add_launch(list, "gated_activation", {static_cast<uint32_t>((width + 1023) / 1024), kRows},
                 {128}, 0, args);
      run_launches(list, width % 4 == 0 ? 1.4 : 4.0);
      for (size_t row = 0; row < kRows; ++row) {
        for (size_t i = 0; i < static_cast<size_t>(width); ++i) {
          const size_t at = row * stride + i;
          const double value = activated(gate[at], is_gelu) * up[at];
          ASSERT_NEAR(out.data()[at], value, 2e-5 * std::abs(value) + 1e-4);
          ASSERT_NEAR(quant::f16_to_f32(halves.data()[at]) * kGatedScale, value,
                      1e-3 * std::abs(value) + 1e-4);
        }
      }
    }
  }
}

TEST(CudaElementwise, SoftCapHalvesAndGatheredRows) {
  std::mt19937 random(4);
  const int width = 203;
  const size_t stride = 208, rows = 5;
  const std::vector<float> in = random_values(rows * stride, random, 20.0f);
  const DeviceArray<float> in_device(in), gathered(3 * stride);
  const DeviceArray<uint16_t> halves(3 * stride);
  const DeviceArray<int32_t> output_rows(std::vector<int32_t>{4, 0, 3});
  LaunchList list;
  add_launch(list, "gather_rows", {3}, {256}, 0,
             GatherArgs{in_device.data(), 208, output_rows.data(), gathered.data(), 208, width});
  add_launch(list, "soft_cap", {1, 3}, {128}, 0, SoftCapArgs{gathered.data(), 208, width, 30.0f});
  add_launch(list, "to_halves", {1, 3}, {128}, 0,
             ToHalvesArgs{gathered.data(), 208, halves.data(), 208, width});
  run_launches(list, 4.0);
  const int from[] = {4, 0, 3};
  for (size_t row = 0; row < 3; ++row) {
    for (size_t i = 0; i < static_cast<size_t>(width); ++i) {
      const float value = in[static_cast<size_t>(from[row]) * stride + i];
      const double capped = 30.0 * std::tanh(value / 30.0);
      ASSERT_NEAR(gathered.data()[row * stride + i], capped, 1e-4);
      ASSERT_NEAR(quant::f16_to_f32(halves.data()[row * stride + i]), capped,
                  1e-3 * std::abs(capped) + 1e-4);
    }
  }
}

TEST(CudaElementwise, AStepComesInPieces) {
  std::vector<std::byte> host(4096, std::byte{9});
  StepPieces pieces;
  pieces.num_pieces = 3;
  pieces.pieces[0] = {0, static_cast<int>(sizeof(StepPieces) / 16)};
  pieces.pieces[1] = {32, 2};
  pieces.pieces[2] = {100, 70};
  std::memcpy(host.data(), &pieces, sizeof(pieces));
  const DeviceArray<std::byte> from(host), to(std::vector<std::byte>(4096, std::byte{1}));
  LaunchList list;
  add_launch(list, "load_step", {2}, {256}, 0, LoadStepArgs{from.data(), to.data()});
  run_launches(list, 8.0);  // the pieces themselves
  const std::vector<std::byte> got = to.values();
  EXPECT_EQ(std::memcmp(got.data(), &pieces, sizeof(pieces)), 0);
  EXPECT_EQ(got[511], std::byte{1});
  EXPECT_EQ(got[512], std::byte{9});
  EXPECT_EQ(got[543], std::byte{9});
  EXPECT_EQ(got[544], std::byte{1});
  EXPECT_EQ(got[2719], std::byte{9});
  EXPECT_EQ(got[2720], std::byte{1});
}

}  // namespace
}  // namespace sluice::backend::cuda
