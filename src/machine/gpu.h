#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "machine/nvml_api.h"

namespace sluice::machine {

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

  std::vector<GpuSample> sample() const;

 private:
  void start();

  void* library_ = nullptr;
  NvmlApi api_;
  bool is_started_ = false;
};

}  // namespace sluice::machine
