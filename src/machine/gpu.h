#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "machine/nvml_api.h"

namespace sluice::machine {

// A process on a card.
struct GpuProcess {
  int pid = 0;
  std::optional<uint64_t> memory_bytes = {};
  std::optional<int> busy_percent = {};  // of the card's multiprocessors, of late
};

// What the driver told; nothing where a card does not support a figure.
struct GpuSample {
  int index = 0;
  std::string name;
  std::optional<int> busy_percent;
  std::optional<int> memory_busy_percent;
  std::optional<uint64_t> memory_used_bytes;
  std::optional<uint64_t> memory_total_bytes;
  std::optional<double> power_watts;
  std::optional<double> power_limit_watts;
  std::optional<int> temperature_celsius;
  std::optional<int> sm_clock_mhz;
  std::optional<int> memory_clock_mhz;
  std::optional<double> energy_joules;  // since the driver was loaded
  std::optional<double> pcie_sent_bytes_per_second, pcie_received_bytes_per_second;
  std::optional<double> nvlink_sent_bytes,
      nvlink_received_bytes;  // over all links, since some moment
  std::vector<GpuProcess> processes;
};

// What a card can at most; nothing where it does not tell.
struct GpuLimits {
  std::string name;
  std::optional<uint64_t> memory_bytes;
  std::optional<double> power_watts;
  std::optional<int> sm_clock_mhz;
  std::optional<int> temperature_celsius;       // from which on it makes itself slower
  std::optional<double> pcie_bytes_per_second;  // of its link, both ways together
};

// NVIDIA's cards, by the driver's NVML library, which is opened at run time: without a driver there
// are none, and that is no error.
class Gpus {
 public:
  explicit Gpus(const char* library = "libnvidia-ml.so.1");
  explicit Gpus(const NvmlApi& api);  // for tests
  ~Gpus();
  Gpus(const Gpus&) = delete;
  Gpus& operator=(const Gpus&) = delete;

  // `looks_closely`: also the traffic over PCIe, for which the driver waits 40 ms, and the
  // processes.
  std::vector<GpuSample> sample(bool looks_closely = false) const;
  std::vector<GpuLimits> limits() const;

 private:
  std::vector<NvmlDevice> devices() const;
  void start();

  void* library_ = nullptr;
  NvmlApi api_;
  bool is_started_ = false;
};

}  // namespace sluice::machine
