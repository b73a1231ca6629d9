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

struct NvmlUtilization {
  unsigned gpu;     // percent of the time in which a kernel ran
  unsigned memory;  // percent of the time in which memory was read or written
};

struct NvmlMemory {
  unsigned long long total;  // bytes
  unsigned long long free;
  unsigned long long used;
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
};

}  // namespace sluice::machine
