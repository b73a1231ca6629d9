#include "machine/gpu.h"

#include <dlfcn.h>

#include <algorithm>
#include <future>
#include <iterator>

namespace sluice::machine {
namespace {

constexpr unsigned kMaxDevices = 64;
constexpr unsigned kMostProcesses = 256;  // of a card

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
  find(library, "nvmlDeviceGetMaxClockInfo", api.most_clock_mhz);
  find(library, "nvmlDeviceGetTemperatureThreshold", api.temperature_limit);
  find(library, "nvmlDeviceGetMaxPcieLinkGeneration", api.pcie_generation);
  find(library, "nvmlDeviceGetMaxPcieLinkWidth", api.pcie_lanes);
  find(library, "nvmlDeviceGetPcieThroughput", api.pcie_kilobytes);
  find(library, "nvmlDeviceGetTotalEnergyConsumption", api.energy_millijoules);
  find(library, "nvmlDeviceGetFieldValues", api.field_values);
  find(library, "nvmlDeviceGetComputeRunningProcesses_v3", api.processes);
  find(library, "nvmlDeviceGetProcessUtilization", api.process_uses);
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

std::optional<double> pcie_bytes(const NvmlApi& api, NvmlDevice device, int direction) {
  const auto kilobytes = ask(api.pcie_kilobytes, device, direction);
  if (!kilobytes) return {};
  return *kilobytes * 1e3;
}

std::optional<double> nvlink_bytes(const NvmlApi& api, NvmlDevice device, unsigned field) {
  NvmlFieldValue value{.field = field, .scope = kNvmlAllLinks};
  const bool is_told = api.field_values != nullptr &&
                       api.field_values(device, 1, &value) == kNvmlSuccess &&
                       value.result == kNvmlSuccess;
  const bool is_count =
      value.value_type == kNvmlUnsignedLongLong || value.value_type == kNvmlUnsignedLong;
  if (!is_told || !is_count) return {};
  return static_cast<double>(value.value) * 1024;
}

// Of several samples of a process the latest. The driver has had none of late where all are idle.
void add_uses(const NvmlApi& api, NvmlDevice device, std::vector<GpuProcess>& processes) {
  std::vector<NvmlProcessUse> uses(kMostProcesses);
  unsigned count = kMostProcesses;
  if (processes.empty() || api.process_uses == nullptr ||
      api.process_uses(device, uses.data(), &count, 0) != kNvmlSuccess) {
    return;
  }
  uses.resize(std::min(count, kMostProcesses));
  std::stable_sort(uses.begin(), uses.end(),
                   [](const auto& a, const auto& b) { return a.time_us < b.time_us; });
  for (const NvmlProcessUse& use : uses) {
    for (GpuProcess& process : processes) {
      if (process.pid == static_cast<int>(use.pid)) process.busy_percent = to_int(use.sm_percent);
    }
  }
}

std::vector<GpuProcess> sample_processes(const NvmlApi& api, NvmlDevice device) {
  std::vector<NvmlProcess> told(kMostProcesses);
  unsigned count = kMostProcesses;
  if (api.processes == nullptr || api.processes(device, &count, told.data()) != kNvmlSuccess) {
    return {};
  }
  told.resize(std::min(count, kMostProcesses));
  std::vector<GpuProcess> processes;
  for (const NvmlProcess& one : told) {
    GpuProcess process{.pid = static_cast<int>(one.pid)};
    if (~one.memory_bytes != 0) process.memory_bytes = one.memory_bytes;
    processes.push_back(process);
  }
  add_uses(api, device, processes);
  return processes;
}

std::string name_of(const NvmlApi& api, NvmlDevice device) {
  char name[96] = {};
  const bool is_told =
      api.name != nullptr && api.name(device, name, sizeof name - 1) == kNvmlSuccess;
  return is_told ? name : "";
}

// Of a lane, one way: as the PCI Express specification has it, less the code on the wire.
std::optional<double> pcie_lane_bytes(unsigned generation) {
  constexpr double kGigabytes[] = {0.25, 0.5, 0.985, 1.969, 3.938, 7.563};
  if (generation == 0 || generation > std::size(kGigabytes)) return {};
  return kGigabytes[generation - 1] * 1e9;
}

std::optional<double> pcie_limit(const NvmlApi& api, NvmlDevice device) {
  constexpr double kBothWays = 2;
  const auto lane = pcie_lane_bytes(ask(api.pcie_generation, device).value_or(0));
  const auto lanes = ask(api.pcie_lanes, device);
  if (!lane || !lanes || *lanes == 0) return {};
  return kBothWays * *lane * *lanes;
}

GpuLimits limits_of(const NvmlApi& api, NvmlDevice device) {
  GpuLimits limits;
  limits.name = name_of(api, device);
  NvmlMemory memory{};
  if (api.memory != nullptr && api.memory(device, &memory) == kNvmlSuccess) {
    limits.memory_bytes = memory.total;
  }
  limits.power_watts = to_watts(ask(api.power_limit_milliwatts, device));
  limits.sm_clock_mhz = to_int(ask(api.most_clock_mhz, device, kNvmlClockSm));
  limits.temperature_celsius = to_int(ask(api.temperature_limit, device, kNvmlSlowdown));
  limits.pcie_bytes_per_second = pcie_limit(api, device);
  return limits;
}

GpuSample sample_device(const NvmlApi& api, NvmlDevice device) {
  GpuSample sample;
  sample.name = name_of(api, device);
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
  unsigned long long millijoules = 0;
  if (api.energy_millijoules != nullptr &&
      api.energy_millijoules(device, &millijoules) == kNvmlSuccess) {
    sample.energy_joules = static_cast<double>(millijoules) / 1e3;
  }
  sample.nvlink_sent_bytes = nvlink_bytes(api, device, kNvmlFieldNvlinkSent);
  sample.nvlink_received_bytes = nvlink_bytes(api, device, kNvmlFieldNvlinkReceived);
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

// By their number; null for one that cannot be had.
std::vector<NvmlDevice> Gpus::devices() const {
  unsigned count = 0;
  if (!is_started_ || api_.device_count == nullptr || api_.device_by_index == nullptr ||
      api_.device_count(&count) != kNvmlSuccess) {
    return {};
  }
  std::vector<NvmlDevice> devices(std::min(count, kMaxDevices));
  for (unsigned i = 0; i < devices.size(); ++i) {
    if (api_.device_by_index(i, &devices[i]) != kNvmlSuccess) devices[i] = nullptr;
  }
  return devices;
}

std::vector<GpuLimits> Gpus::limits() const {
  std::vector<GpuLimits> limits;
  for (const NvmlDevice device : devices()) {
    if (device != nullptr) limits.push_back(limits_of(api_, device));
  }
  return limits;
}

std::vector<GpuSample> Gpus::sample(bool looks_closely) const {
  const std::vector<NvmlDevice> all = devices();
  std::vector<GpuSample> samples;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i] == nullptr) continue;
    samples.push_back(sample_device(api_, all[i]));
    samples.back().index = static_cast<int>(i);
  }
  if (!looks_closely) return samples;
  // All cards at once, as the driver makes one wait.
  std::vector<std::future<void>> looks;
  for (GpuSample& one : samples) {
    looks.push_back(std::async([this, device = all[static_cast<size_t>(one.index)], &sample = one] {
      sample.pcie_sent_bytes_per_second = pcie_bytes(api_, device, kNvmlPcieSent);
      sample.pcie_received_bytes_per_second = pcie_bytes(api_, device, kNvmlPcieReceived);
      sample.processes = sample_processes(api_, device);
    }));
  }
  for (std::future<void>& look : looks) look.get();
  return samples;
}

}  // namespace sluice::machine
