// NVIDIA's management library as a program finds it at run time, of two cards that are not there:
// the first tells all that is asked of it, the second little. What counts up does so with the
// clock.
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstring>

#include "machine/nvml_api.h"

namespace {

using sluice::machine::NvmlDevice;
using sluice::machine::NvmlFieldValue;
using sluice::machine::NvmlMemory;
using sluice::machine::NvmlProcess;
using sluice::machine::NvmlReturn;
using sluice::machine::NvmlUtilization;

constexpr NvmlReturn kSuccess = sluice::machine::kNvmlSuccess, kNotSupported = 3;
constexpr unsigned long long kWatts = 300;

NvmlDevice device_of(unsigned index) { return reinterpret_cast<NvmlDevice>(index + 1ul); }
bool is_first(NvmlDevice device) { return device == device_of(0); }

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename Value>
NvmlReturn of_first(NvmlDevice device, Value* out, Value value) {
  if (!is_first(device)) return kNotSupported;
  *out = value;
  return kSuccess;
}

}  // namespace

extern "C" {

NvmlReturn nvmlInit_v2() { return kSuccess; }
NvmlReturn nvmlShutdown() { return kSuccess; }

NvmlReturn nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return kSuccess;
}

NvmlReturn nvmlDeviceGetHandleByIndex_v2(unsigned index, NvmlDevice* device) {
  *device = device_of(index);
  return kSuccess;
}

NvmlReturn nvmlDeviceGetName(NvmlDevice device, char* name, unsigned size) {
  std::strncpy(name, is_first(device) ? "Fake H200" : "Fake A30", size);
  return kSuccess;
}

NvmlReturn nvmlDeviceGetUtilizationRates(NvmlDevice device, NvmlUtilization* use) {
  const auto busy = static_cast<unsigned>(50 + 40 * std::sin(seconds()));
  return of_first(device, use, {.gpu = busy, .memory = busy / 2});
}

NvmlReturn nvmlDeviceGetMemoryInfo(NvmlDevice, NvmlMemory* memory) {
  *memory = {.total = 80'000'000'000, .free = 38'000'000'000, .used = 42'000'000'000};
  return kSuccess;
}

NvmlReturn nvmlDeviceGetPowerUsage(NvmlDevice device, unsigned* milliwatts) {
  return of_first(device, milliwatts, static_cast<unsigned>(kWatts * 1000));
}

NvmlReturn nvmlDeviceGetEnforcedPowerLimit(NvmlDevice device, unsigned* milliwatts) {
  return of_first(device, milliwatts, 700'000u);
}

NvmlReturn nvmlDeviceGetTotalEnergyConsumption(NvmlDevice device, unsigned long long* millijoules) {
  return of_first(device, millijoules, static_cast<unsigned long long>(seconds() * kWatts * 1000));
}

NvmlReturn nvmlDeviceGetTemperature(NvmlDevice device, int, unsigned* celsius) {
  return of_first(device, celsius, 61u);
}

NvmlReturn nvmlDeviceGetTemperatureThreshold(NvmlDevice device, int, unsigned* celsius) {
  return of_first(device, celsius, 92u);
}

NvmlReturn nvmlDeviceGetClockInfo(NvmlDevice device, int, unsigned* mhz) {
  return of_first(device, mhz, 1410u);
}

NvmlReturn nvmlDeviceGetMaxClockInfo(NvmlDevice device, int, unsigned* mhz) {
  return of_first(device, mhz, 1980u);
}

NvmlReturn nvmlDeviceGetMaxPcieLinkGeneration(NvmlDevice device, unsigned* generation) {
  return of_first(device, generation, 5u);
}

NvmlReturn nvmlDeviceGetMaxPcieLinkWidth(NvmlDevice device, unsigned* lanes) {
  return of_first(device, lanes, 16u);
}

NvmlReturn nvmlDeviceGetPcieThroughput(NvmlDevice device, int, unsigned* kilobytes) {
  return of_first(device, kilobytes, 2'000'000u);
}

NvmlReturn nvmlDeviceGetFieldValues(NvmlDevice device, int count, NvmlFieldValue* values) {
  for (int i = 0; i < count; ++i) {
    values[i].value_type = sluice::machine::kNvmlUnsignedLongLong;
    values[i].value = static_cast<unsigned long long>(seconds() * 1e6);  // KiB
    values[i].result = is_first(device) ? kSuccess : kNotSupported;
  }
  return kSuccess;
}

NvmlReturn nvmlDeviceGetComputeRunningProcesses_v3(NvmlDevice device, unsigned* count,
                                                   NvmlProcess* processes) {
  if (!is_first(device)) return kNotSupported;
  *count = 1;
  processes[0] = {.pid = static_cast<unsigned>(getpid()), .memory_bytes = 41'000'000'000};
  return kSuccess;
}

}  // extern "C"
