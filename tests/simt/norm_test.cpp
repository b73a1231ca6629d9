#include <gtest/gtest.h>

#include "backend/cuda/kernels.h"
#include "quant/half.h"
#include "simt/kernel_test_util.h"

namespace sluice::backend::cuda {
namespace {

TEST(CudaNorm, IsTheReferences) {
  std::mt19937 random(3);
  for (const int width : {8, 64, 102, 1024, 1500, 4100}) {
    for (const bool accumulates : {false, true}) {
      SCOPED_TRACE(width);
      constexpr size_t kRows = 3;
      const auto stride = static_cast<size_t>((width + 7) / 8 * 8);
      const std::vector<float> in = random_values(kRows * stride, random);
      const std::vector<float> weight = random_values(stride, random);
      const std::vector<float> before = random_values(kRows * stride, random);
      const DeviceArray<float> in_device(in), weight_device(weight), out(before);
      const DeviceArray<uint16_t> halves(kRows * stride);
      NormArgs args{};
      args.in = in_device.data();
      args.weight = weight_device.data();
      args.out = out.data();
      args.halves = halves.data();
      args.in_stride = args.out_stride = args.halves_stride = static_cast<int64_t>(stride);
      args.width = width;
      args.eps = 1e-5f;
      args.accumulates = accumulates;
      LaunchList list;
      add_launch(list, "rms_norm", {kRows}, {256}, 0, args);
      // Odd ends are read a number at a time.
      run_launches(list, width % 4 == 0 ? 1.4 : 4.0, 4.0);
      const std::vector<float> got = out.values();
      for (size_t row = 0; row < kRows; ++row) {
        double squares = 0;
        for (int i = 0; i < width; ++i)
          squares += std::pow(double{in[row * stride + static_cast<size_t>(i)]}, 2);
        const double scale = 1.0 / std::sqrt(squares / width + 1e-5);
        for (size_t i = 0; i < static_cast<size_t>(width); ++i) {
          const size_t at = row * stride + i;
          const double value = in[at] * scale * weight[i];
          ASSERT_NEAR(quant::f16_to_f32(halves.data()[at]), value, 1e-3 * std::abs(value) + 1e-6);
          ASSERT_NEAR(got[at], value + (accumulates ? before[at] : 0.0f), 1e-5);
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice::backend::cuda
