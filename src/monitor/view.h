#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "machine/gpu.h"
#include "machine/proc.h"
#include "monitor/server_status.h"

// From two samples to what is worth showing: rates from the differences of counters.
namespace sluice::monitor {

using machine::GpuSample;
using machine::MachineSample;
using machine::ProcessSample;

// Everything taken at one moment.
struct Snapshot {
  std::chrono::steady_clock::time_point time;
  ServerSample server;
  MachineSample machine;
  std::optional<ProcessSample> process;  // of the server, when it runs on this machine
  std::vector<GpuSample> gpus;
  std::vector<machine::ProcessTicks> processes;  // all; empty where nobody wants them
};

struct ThreadShare {
  int id = 0;
  std::string name;
  double cpu_share = 0;  // 1 is one core
};

struct ProcessShare {
  int pid = 0;
  std::string name;
  double cpu_share = 0;  // 1 is one core
};

// Of a card, by its counters; nothing where it has none.
struct GpuRates {
  std::optional<double> power_watts = {};  // the mean, or else the power of now
  std::optional<double> nvlink_sent_bytes_per_second = {}, nvlink_received_bytes_per_second = {};
};

// The present, and what went on between the two samples.
struct View {
  std::string url;
  bool is_local = true;  // the server is on this machine, so that the machine part is about it
  Snapshot now;
  double cpu_share = 0;                   // of all cores, 0 to 1
  std::vector<double> core_shares;        // 0 to 1 each
  double process_cpu_share = 0;           // of the server, 1 is one core
  std::vector<ThreadShare> threads;       // busiest first
  std::vector<ProcessShare> others;       // that take a hundredth of a core or more, busiest first
  double disk_read_bytes_per_second = 0;  // by all
  double disk_written_bytes_per_second = 0;
  double prompt_tokens_per_second = 0;  // prefilled
  double output_tokens_per_second = 0;
  std::vector<GpuRates> gpu_rates;         // one for each of now.gpus
  std::optional<double> processor_watts;   // of the processors
  std::optional<double> joules_per_token;  // of all that tells its own, a token of replies
  // Prompt tokens that the prefix cache spared, of all prompt tokens since the models were loaded;
  // nothing before the first.
  std::optional<double> cache_hit_share;

  // Of now.gpus[i].
  GpuRates rates_of(size_t i) const { return i < gpu_rates.size() ? gpu_rates[i] : GpuRates{}; }
};

// `before` is the earlier one. Counters that went backwards (a restart) count from zero.
View make_view(const Snapshot& before, const Snapshot& now, const std::string& url, bool is_local);

}  // namespace sluice::monitor
