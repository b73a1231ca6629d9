#include "machine/gpu.h"

#include <dlfcn.h>

#include <algorithm>

namespace sluice::machine {
namespace {

constexpr unsigned kMaxDevices = 64;

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
}

NvmlApi find_functions(void* library) {
  NvmlApi api;
  find(library, "nvmlInit_v2", api.init);
  find(library, "nvmlShutdown", api.shutdown);
  find(library, "nvmlDeviceGetCount_v2", api.device_count);
  find(library, "nvmlDeviceGetHandleByIndex_v2", api.device_by_index);
  find(library, "nvmlDeviceGetName", api.name);
  find(library, "nvmlDeviceGetUtilizationRates", api.utilization);
  find(library, "nvmlDeviceGetMemoryInfo", api.memory);
  find(library, "nvmlDeviceGetPowerUsage", api.power_milliwatts);
  find(library, "nvmlDeviceGetEnforcedPowerLimit", api.power_limit_milliwatts);
  find(library, "nvmlDeviceGetTemperature", api.temperature);
  find(library, "nvmlDeviceGetClockInfo", api.clock_mhz);
  return api;
}

// Calls an NVML function whose last argument is the result; nothing when it is missing or fails.
template <typename Function, typename... Arguments>
std::optional<unsigned> ask(Function function, Arguments... arguments) {
  unsigned value = 0;
  if (function == nullptr || function(arguments..., &value) != kNvmlSuccess) return {};
  return value;
}

std::optional<int> to_int(std::optional<unsigned> value) {
  if (!value) return {};
  return static_cast<int>(std::min(*value, 1u << 30));
}

std::optional<double> to_watts(std::optional<unsigned> milliwatts) {
  if (!milliwatts) return {};
  return *milliwatts / 1e3;
}

GpuSample sample_device(const NvmlApi& api, NvmlDevice device) {
  GpuSample sample;
  char name[96] = {};
  if (api.name != nullptr && api.name(device, name, sizeof name - 1) == kNvmlSuccess) {
    sample.name = name;
  }
  NvmlUtilization utilization{};
  if (api.utilization != nullptr && api.utilization(device, &utilization) == kNvmlSuccess) {
    sample.busy_percent = to_int(utilization.gpu);
    sample.memory_busy_percent = to_int(utilization.memory);
  }
  NvmlMemory memory{};
  if (api.memory != nullptr && api.memory(device, &memory) == kNvmlSuccess) {
    sample.memory_used_bytes = memory.used;
    sample.memory_total_bytes = memory.total;
  }
  sample.power_watts = to_watts(ask(api.power_milliwatts, device));
  sample.power_limit_watts = to_watts(ask(api.power_limit_milliwatts, device));
  sample.temperature_celsius = to_int(ask(api.temperature, device, kNvmlTemperatureGpu));
  sample.sm_clock_mhz = to_int(ask(api.clock_mhz, device, kNvmlClockSm));
  sample.memory_clock_mhz = to_int(ask(api.clock_mhz, device, kNvmlClockMemory));
  return sample;
}

}  // namespace

Gpus::Gpus(const char* library) : library_(::dlopen(library, RTLD_NOW | RTLD_LOCAL)) {
  if (library_ == nullptr) return;
  api_ = find_functions(library_);
  start();
}

Gpus::Gpus(const NvmlApi& api) : api_(api) { start(); }

void Gpus::start() { is_started_ = api_.init != nullptr && api_.init() == kNvmlSuccess; }

Gpus::~Gpus() {
  if (is_started_ && api_.shutdown != nullptr) api_.shutdown();
  if (library_ != nullptr) ::dlclose(library_);
}

std::vector<GpuSample> Gpus::sample() const {
  std::vector<GpuSample> samples;
  unsigned count = 0;
  if (!is_started_ || api_.device_count == nullptr || api_.device_by_index == nullptr ||
      api_.device_count(&count) != kNvmlSuccess) {
    return samples;
  }
  for (unsigned i = 0; i < std::min(count, kMaxDevices); ++i) {
    NvmlDevice device = nullptr;
    if (api_.device_by_index(i, &device) != kNvmlSuccess) continue;
    samples.push_back(sample_device(api_, device));
    samples.back().index = static_cast<int>(i);
  }
  return samples;
}

}  // namespace sluice::machine
