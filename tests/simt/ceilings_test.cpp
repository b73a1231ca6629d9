#include "backend/cuda/ceilings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "quant/half.h"
#include "simt/kernel_test_util.h"

namespace sluice::backend::cuda {
namespace {

TEST(CudaCeilings, EveryWordIsReadOnce) {
  std::mt19937 random(3);
  for (const int pieces : {1, 255, 2 * 4 * kCeilingThreads + 77}) {
    std::vector<uint32_t> words(static_cast<size_t>(pieces) * 4);
    uint32_t expected = 0;
    for (uint32_t& word : words) expected += word = static_cast<uint32_t>(random());
    const DeviceArray<uint32_t> device(words);
    const DeviceArray<uint32_t> sum(std::vector<uint32_t>{0});
    LaunchList list;
    add_launch(
        list, "read_ceiling", {2}, {kCeilingThreads}, 0,
        ReadCeilingArgs{reinterpret_cast<const std::byte*>(device.data()), pieces, sum.data()});
    run_launches(list);
    EXPECT_EQ(*sum.data(), expected) << pieces;
  }
}

TEST(CudaCeilings, ProductsAreProducts) {
  double expected = 0;
  const auto value = [](int matrix, int row, int column) {
    return double{quant::f16_to_f32(static_cast<uint16_t>(ceiling_half(matrix, row, column)))};
  };
  for (int column = 0; column < kCeilingColumns; ++column) {
    double a = 0, b = 0;
    for (int row = 0; row < 16; ++row) a += value(0, row, column);
    for (int row = 0; row < kCeilingRows; ++row) b += value(1, row, column);
    expected += a * b;
  }
  constexpr int kRounds = 3, kBlocks = 2;
  for (const char* kernel : {"multiply_ceiling", "multiply_wide_ceiling"}) {
    const DeviceArray<float> sums(kBlocks * kCeilingThreads / 32, "sums");
    LaunchList list;
    const bool is_wide = std::strstr(kernel, "wide") != nullptr;
    add_launch(list, kernel, {kBlocks}, {kCeilingThreads}, is_wide ? kCeilingShared : 0,
               MultiplyCeilingArgs{kRounds, sums.data()});
    run_launches(list, 8.0);  // a sum a warp is stored
    for (int i = 0; i < kBlocks * kCeilingThreads / 32; ++i) {
      EXPECT_NEAR(sums.data()[i], kRounds * expected, 0.05) << kernel;
    }
  }
}

}  // namespace
}  // namespace sluice::backend::cuda
