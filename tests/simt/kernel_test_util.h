#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "backend/cuda/launch.h"
#include "backend/relative_error.h"
#include "simt/simt.h"

// What tests of kernels share: random data, and lists of launches in the emulator.
namespace sluice::backend::cuda {

using simt::DeviceArray;

inline std::vector<float> random_values(size_t count, std::mt19937& random, float size = 1.0f) {
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Runs what a list says and expects that the emulator finds nothing wrong, and no line that asks
// for more than `most_sectors` or `most_passes` times what would do.
inline std::vector<simt::Report> run_launches(const LaunchList& list, double most_sectors = 1.0,
                                              double most_passes = 1.0) {
  std::vector<simt::Report> reports;
  for (const Launch& launch : list) {
    simt::Options options;
    options.seed = 7;
    reports.push_back(simt::launch(launch.kernel, {launch.grid.x, launch.grid.y, launch.grid.z},
                                   {launch.block.x, launch.block.y, launch.block.z},
                                   launch.shared_bytes, launch.args.data(), launch.args_bytes,
                                   options));
    EXPECT_EQ(reports.back().problems(), "");
    EXPECT_EQ(reports.back().wasteful_lines(most_sectors, most_passes), "") << launch.kernel;
  }
  return reports;
}

}  // namespace sluice::backend::cuda
