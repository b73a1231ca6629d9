#pragma once

// The part of NVIDIA's management library that the monitor uses, declared here because its header
// does not come with every driver or toolkit. The names, values and layouts are those of the public
// NVML reference (they are stable: versioned functions carry their version in the name).
namespace sluice::machine {

using NvmlReturn = int;  // 0: success
using NvmlDevice = struct NvmlDeviceHandle*;

constexpr NvmlReturn kNvmlSuccess = 0;
constexpr int kNvmlTemperatureGpu = 0;
constexpr int kNvmlClockSm = 1;
constexpr int kNvmlClockMemory = 2;
constexpr int kNvmlSlowdown = 1;  // the temperature from which on a card makes itself slower
constexpr int kNvmlPcieSent = 0;
constexpr int kNvmlPcieReceived = 1;
constexpr unsigned kNvmlFieldNvlinkSent = 138;  // KiB of data since some moment
constexpr unsigned kNvmlFieldNvlinkReceived = 139;
constexpr unsigned kNvmlAllLinks = ~0u;
// Of NvmlFieldValue::value_type, alike here.
constexpr int kNvmlUnsignedLong = 2;
constexpr int kNvmlUnsignedLongLong = 3;

struct NvmlUtilization {
  unsigned gpu;     // percent of the time in which a kernel ran
  unsigned memory;  // percent of the time in which memory was read or written
};

struct NvmlMemory {
  unsigned long long total;  // bytes
  unsigned long long free;
  unsigned long long used;
};

// As nvmlDeviceGetComputeRunningProcesses_v3 fills it (nvmlProcessInfo_v2_t).
struct NvmlProcess {
  unsigned pid;
  unsigned long long memory_bytes;  // all bits set where it is not known
  unsigned gpu_instance = 0, compute_instance = 0;
};

struct NvmlProcessUse {
  unsigned pid;
  unsigned long long time_us;
  unsigned sm_percent = 0, memory_percent = 0, encoder_percent = 0, decoder_percent = 0;
};

struct NvmlFieldValue {
  unsigned field;
  unsigned scope;  // of NVLink: which link, or all
  long long time_us = 0;
  long long latency_us = 0;
  int value_type = 0;
  NvmlReturn result = kNvmlSuccess;  // of this field
  unsigned long long value = 0;
};

// The functions, as found at run time; each is null when the library lacks it.
struct NvmlApi {
  NvmlReturn (*init)() = nullptr;                                         // nvmlInit_v2
  NvmlReturn (*shutdown)() = nullptr;                                     // nvmlShutdown
  NvmlReturn (*device_count)(unsigned*) = nullptr;                        // nvmlDeviceGetCount_v2
  NvmlReturn (*device_by_index)(unsigned, NvmlDevice*) = nullptr;         // ...HandleByIndex_v2
  NvmlReturn (*name)(NvmlDevice, char*, unsigned) = nullptr;              // nvmlDeviceGetName
  NvmlReturn (*utilization)(NvmlDevice, NvmlUtilization*) = nullptr;      // ...UtilizationRates
  NvmlReturn (*memory)(NvmlDevice, NvmlMemory*) = nullptr;                // ...GetMemoryInfo
  NvmlReturn (*power_milliwatts)(NvmlDevice, unsigned*) = nullptr;        // ...GetPowerUsage
  NvmlReturn (*power_limit_milliwatts)(NvmlDevice, unsigned*) = nullptr;  // ...EnforcedPowerLimit
  NvmlReturn (*temperature)(NvmlDevice, int, unsigned*) = nullptr;        // ...GetTemperature
  NvmlReturn (*clock_mhz)(NvmlDevice, int, unsigned*) = nullptr;          // ...GetClockInfo
  NvmlReturn (*most_clock_mhz)(NvmlDevice, int, unsigned*) = nullptr;     // ...GetMaxClockInfo
  NvmlReturn (*temperature_limit)(NvmlDevice, int, unsigned*) = nullptr;  // ...TemperatureThreshold
  NvmlReturn (*pcie_generation)(NvmlDevice, unsigned*) = nullptr;  // ...GetMaxPcieLinkGeneration
  NvmlReturn (*pcie_lanes)(NvmlDevice, unsigned*) = nullptr;       // ...GetMaxPcieLinkWidth
  // ...PcieThroughput: over 20 ms, which it waits; in KB a second.
  NvmlReturn (*pcie_kilobytes)(NvmlDevice, int, unsigned*) = nullptr;
  // ...TotalEnergyConsumption: since the driver was loaded.
  NvmlReturn (*energy_millijoules)(NvmlDevice, unsigned long long*) = nullptr;
  NvmlReturn (*field_values)(NvmlDevice, int, NvmlFieldValue*) = nullptr;  // ...FieldValues
  // ...ComputeRunningProcesses_v3: in, how many there is room for; out, how many there are.
  NvmlReturn (*processes)(NvmlDevice, unsigned*, NvmlProcess*) = nullptr;
  // ...ProcessUtilization: what was sampled since a time.
  NvmlReturn (*process_uses)(NvmlDevice, NvmlProcessUse*, unsigned*, unsigned long long) = nullptr;
};

}  // namespace sluice::machine
