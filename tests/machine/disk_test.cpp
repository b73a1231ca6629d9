#include "machine/disk.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace sluice::machine {
namespace {

TEST(Disk, IsMeasuredByALargeFileOnly) {
  const std::string path = ::testing::TempDir() + "disk-" + std::to_string(::getpid());
  EXPECT_FALSE(measure_disk_speed(path).has_value()) << "it is not there";
  EXPECT_FALSE(measure_disk_speed("").has_value());
  std::ofstream(path) << "small";
  EXPECT_FALSE(measure_disk_speed(path).has_value());
  std::ofstream(path) << std::string(size_t{20} << 20, 'x');
  const auto speed = measure_disk_speed(path);  // nothing where a file system has no direct reads
  EXPECT_GT(speed.value_or(1e6), 0);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace sluice::machine
