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
  api.pcie_kilobytes = [](NvmlDevice device, int direction, unsigned* kilobytes) {
    *kilobytes = direction == kNvmlPcieSent ? 2'000 : 3'000'000;
    return device == handle(0) ? kNvmlSuccess : 3;
  };
  api.energy_millijoules = [](NvmlDevice device, unsigned long long* millijoules) {
    *millijoules = 123'456'000;
    return device == handle(0) ? kNvmlSuccess : 3;
  };
  api.field_values = [](NvmlDevice device, int count, NvmlFieldValue* values) {
    for (int i = 0; i < count; ++i) {
      const bool is_known = device == handle(0) && values[i].scope == kNvmlAllLinks;
      values[i].value_type = kNvmlUnsignedLongLong;
      values[i].value = values[i].field == kNvmlFieldNvlinkSent ? 5 : 7;
      values[i].result = is_known ? kNvmlSuccess : 3;
    }
    return kNvmlSuccess;
  };
  api.processes = [](NvmlDevice device, unsigned* count, NvmlProcess* processes) {
    if (device != handle(0)) return 3;
    processes[0] = {.pid = 77, .memory_bytes = 40'000'000'000};
    processes[1] = {.pid = 812, .memory_bytes = ~0ull};
    *count = 2;
    return kNvmlSuccess;
  };
  api.process_uses = [](NvmlDevice, NvmlProcessUse* uses, unsigned* count, unsigned long long) {
    uses[0] = {.pid = 77, .time_us = 20, .sm_percent = 97};
    uses[1] = {.pid = 77, .time_us = 10, .sm_percent = 3};
    uses[2] = {.pid = 5, .time_us = 10, .sm_percent = 1};
    *count = 3;
    return kNvmlSuccess;
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

TEST(Gpu, TellsWhatACardCanAtMost) {
  NvmlApi api = fake_api();
  api.power_limit_milliwatts = [](NvmlDevice, unsigned* power) {
    *power = 700'000;
    return kNvmlSuccess;
  };
  api.most_clock_mhz = [](NvmlDevice, int clock, unsigned* mhz) {
    *mhz = 1980;
    return clock == kNvmlClockSm ? kNvmlSuccess : 3;
  };
  api.temperature_limit = [](NvmlDevice, int kind, unsigned* celsius) {
    *celsius = 92;
    return kind == kNvmlSlowdown ? kNvmlSuccess : 3;
  };
  api.pcie_generation = [](NvmlDevice device, unsigned* generation) {
    *generation = device == handle(0) ? 5 : 99;
    return kNvmlSuccess;
  };
  api.pcie_lanes = [](NvmlDevice, unsigned* lanes) {
    *lanes = 16;
    return kNvmlSuccess;
  };
  const std::vector<GpuLimits> limits = Gpus(api).limits();
  ASSERT_EQ(limits.size(), 2u);
  EXPECT_EQ(limits[0].name, "Card A");
  EXPECT_EQ(limits[0].memory_bytes, 80'000'000'000u);
  EXPECT_DOUBLE_EQ(limits[0].power_watts.value(), 700);
  EXPECT_EQ(limits[0].sm_clock_mhz, 1980);
  EXPECT_EQ(limits[0].temperature_celsius, 92);
  EXPECT_NEAR(limits[0].pcie_bytes_per_second.value(), 126e9, 1e9);
  EXPECT_FALSE(limits[1].pcie_bytes_per_second.has_value()) << "nobody knows that generation";
  EXPECT_TRUE(Gpus(NvmlApi{}).limits().empty());
  EXPECT_FALSE(Gpus(fake_api()).limits()[0].sm_clock_mhz.has_value());
}

TEST(Gpu, ReadsEnergyTrafficAndProcesses) {
  const Gpus gpus(fake_api());
  const std::vector<GpuSample> samples = gpus.sample(/*looks_closely=*/true);
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_DOUBLE_EQ(samples[0].energy_joules.value(), 123'456);
  EXPECT_DOUBLE_EQ(samples[0].pcie_sent_bytes_per_second.value(), 2e6);
  EXPECT_DOUBLE_EQ(samples[0].pcie_received_bytes_per_second.value(), 3e9);
  EXPECT_DOUBLE_EQ(samples[0].nvlink_sent_bytes.value(), 5 * 1024);
  EXPECT_DOUBLE_EQ(samples[0].nvlink_received_bytes.value(), 7 * 1024);
  ASSERT_EQ(samples[0].processes.size(), 2u);
  EXPECT_EQ(samples[0].processes[0].pid, 77);
  EXPECT_EQ(samples[0].processes[0].memory_bytes, 40'000'000'000u);
  EXPECT_EQ(samples[0].processes[0].busy_percent, 97) << "the latest of its samples";
  EXPECT_FALSE(samples[0].processes[1].memory_bytes.has_value());
  EXPECT_FALSE(samples[0].processes[1].busy_percent.has_value());
  EXPECT_FALSE(samples[1].energy_joules.has_value());
  EXPECT_FALSE(samples[1].nvlink_sent_bytes.has_value());
  EXPECT_TRUE(samples[1].processes.empty());
  EXPECT_TRUE(gpus.sample()[0].processes.empty()) << "only where it is asked for";
}

// Answers of a driver that fails from some call on, as one does whose card falls off the bus.
int g_calls_left = 0;

template <auto kMember, typename... Arguments>
NvmlReturn failing(Arguments... arguments) {
  constexpr NvmlReturn kGpuIsLost = 15;
  if (g_calls_left-- <= 0) return kGpuIsLost;
  return (fake_api().*kMember)(arguments...);
}

TEST(Gpu, LivesWithADriverThatFailsHalfWay) {
  NvmlApi api;
  api.init = failing<&NvmlApi::init>;
  api.shutdown = failing<&NvmlApi::shutdown>;
  api.device_count = failing<&NvmlApi::device_count, unsigned*>;
  api.device_by_index = failing<&NvmlApi::device_by_index, unsigned, NvmlDevice*>;
  api.name = failing<&NvmlApi::name, NvmlDevice, char*, unsigned>;
  api.utilization = failing<&NvmlApi::utilization, NvmlDevice, NvmlUtilization*>;
  api.memory = failing<&NvmlApi::memory, NvmlDevice, NvmlMemory*>;
  api.power_milliwatts = failing<&NvmlApi::power_milliwatts, NvmlDevice, unsigned*>;
  api.temperature = failing<&NvmlApi::temperature, NvmlDevice, int, unsigned*>;
  api.clock_mhz = failing<&NvmlApi::clock_mhz, NvmlDevice, int, unsigned*>;
  api.pcie_kilobytes = failing<&NvmlApi::pcie_kilobytes, NvmlDevice, int, unsigned*>;
  api.energy_millijoules = failing<&NvmlApi::energy_millijoules, NvmlDevice, unsigned long long*>;
  api.field_values = failing<&NvmlApi::field_values, NvmlDevice, int, NvmlFieldValue*>;
  api.processes = failing<&NvmlApi::processes, NvmlDevice, unsigned*, NvmlProcess*>;
  api.process_uses =
      failing<&NvmlApi::process_uses, NvmlDevice, NvmlProcessUse*, unsigned*, unsigned long long>;
  size_t most_seen = 0;
  for (int num_calls = 0; num_calls < 40; ++num_calls) {
    g_calls_left = num_calls;
    const Gpus gpus(api);
    // One after the other: the answers are counted.
    const size_t num_seen = gpus.sample(false).size();
    EXPECT_GE(num_seen, most_seen) << num_calls;
    most_seen = num_seen;
    for (const GpuSample& sample : gpus.sample(false)) {
      EXPECT_FALSE(sample.memory_clock_mhz && !sample.memory_used_bytes) << num_calls;
    }
  }
  EXPECT_EQ(most_seen, 2u);
  g_calls_left = 1;  // it has started, and then nothing
  EXPECT_TRUE(Gpus(api).sample(true).empty());
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
