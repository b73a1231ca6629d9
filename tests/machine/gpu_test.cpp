#include "machine/gpu.h"

#include <gtest/gtest.h>

#include <cstring>

namespace sluice::machine {
namespace {

NvmlDevice handle(unsigned index) { return reinterpret_cast<NvmlDevice>(uintptr_t{index} + 1); }

// A driver with two cards, the second of which tells little.
NvmlApi fake_api() {
  NvmlApi api;
  api.init = [] { return kNvmlSuccess; };
  api.shutdown = [] { return kNvmlSuccess; };
  api.device_count = [](unsigned* count) {
    *count = 2;
    return kNvmlSuccess;
  };
  api.device_by_index = [](unsigned index, NvmlDevice* device) {
    *device = handle(index);
    return kNvmlSuccess;
  };
  api.name = [](NvmlDevice device, char* name, unsigned size) {
    std::strncpy(name, device == handle(0) ? "Card A" : "Card B", size);
    return kNvmlSuccess;
  };
  api.utilization = [](NvmlDevice device, NvmlUtilization* utilization) {
    if (device != handle(0)) return 3;  // not supported
    *utilization = {.gpu = 55, .memory = 40};
    return kNvmlSuccess;
  };
  api.memory = [](NvmlDevice, NvmlMemory* memory) {
    *memory = {.total = 80'000'000'000, .free = 38'000'000'000, .used = 42'000'000'000};
    return kNvmlSuccess;
  };
  api.power_milliwatts = [](NvmlDevice device, unsigned* power) {
    *power = 300'500;
    return device == handle(0) ? kNvmlSuccess : 3;
  };
  api.temperature = [](NvmlDevice device, int sensor, unsigned* temperature) {
    *temperature = 61;
    return device == handle(0) && sensor == kNvmlTemperatureGpu ? kNvmlSuccess : 3;
  };
  api.clock_mhz = [](NvmlDevice device, int clock, unsigned* mhz) {
    *mhz = clock == kNvmlClockSm ? 1410 : 1593;
    return device == handle(0) ? kNvmlSuccess : 3;
  };
  return api;
}

TEST(Gpu, ReadsWhatTheDriverTells) {
  const Gpus gpus(fake_api());
  const std::vector<GpuSample> samples = gpus.sample();
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].name, "Card A");
  EXPECT_EQ(samples[0].busy_percent, 55);
  EXPECT_EQ(samples[0].memory_busy_percent, 40);
  EXPECT_EQ(samples[0].memory_used_bytes, 42'000'000'000u);
  EXPECT_EQ(samples[0].memory_total_bytes, 80'000'000'000u);
  EXPECT_DOUBLE_EQ(samples[0].power_watts.value(), 300.5);
  EXPECT_FALSE(samples[0].power_limit_watts.has_value());  // the library lacks the function
  EXPECT_EQ(samples[0].temperature_celsius, 61);
  EXPECT_EQ(samples[0].sm_clock_mhz, 1410);
  EXPECT_EQ(samples[0].memory_clock_mhz, 1593);
}

TEST(Gpu, LeavesOutWhatACardDoesNotSupport) {
  const std::vector<GpuSample> samples = Gpus(fake_api()).sample();
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[1].index, 1);
  EXPECT_EQ(samples[1].name, "Card B");
  EXPECT_FALSE(samples[1].busy_percent.has_value());
  EXPECT_FALSE(samples[1].power_watts.has_value());
  EXPECT_FALSE(samples[1].temperature_celsius.has_value());
  EXPECT_FALSE(samples[1].sm_clock_mhz.has_value());
  EXPECT_TRUE(samples[1].memory_used_bytes.has_value());
}

TEST(Gpu, HasNoneWithoutADriver) {
  EXPECT_TRUE(Gpus("libsluice-no-such-library.so.1").sample().empty());
  EXPECT_TRUE(Gpus("libm.so.6").sample().empty());  // a library, but not that one
  NvmlApi failing = fake_api();
  failing.init = [] { return 9; };  // the driver is not loaded
  EXPECT_TRUE(Gpus(failing).sample().empty());
  EXPECT_TRUE(Gpus(NvmlApi{}).sample().empty());
}

}  // namespace
}  // namespace sluice::machine
