#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

// What a server and its machine did over time, for reports.
namespace sluice::measure {

// Threads of one name together.
struct TimelineThread {
  std::string name;
  double cpu_share = 0;  // 1 is one core
};

// -1: the card does not tell.
struct TimelineGpu {
  int index = 0;
  double busy_percent = -1;
  double memory_used_bytes = -1;
  double power_watts = -1;
  double sm_clock_mhz = -1;
  double temperature_celsius = -1;
  double pcie_bytes_per_second = -1, nvlink_bytes_per_second = -1;  // both ways together
};

// The stretch between two samples.
struct TimelinePoint {
  double seconds = 0;  // its end, since the timeline began
  double length_seconds = 0;
  std::string phase;  // "load", "prefill", "decode" (by what most tokens were), "idle"
  std::vector<double> core_shares;
  double process_cpu_share = 0;         // of the server; 1 is one core
  std::vector<TimelineThread> threads;  // of the server, busiest first
  double resident_bytes = 0;
  double available_bytes = 0;  // of the machine's memory
  double disk_read_bytes_per_second = 0;
  double page_cache_share = -1;  // of the model's file in the page cache; -1: not known
  double power_watts = -1;       // of the processors; -1: not known
  std::vector<TimelineGpu> gpus;
  int num_places = 0;  // for requests to run at once; 0: not known
  int num_running = 0;
  int num_waiting = 0;
  int num_blocks_used = 0;
  int num_blocks_total = 0;
  double prompt_tokens_per_second = 0;
  double output_tokens_per_second = 0;
  double forward_share = 0;   // of the stretch: in forward passes
  double schedule_share = 0;  // and the engine's thread beside them
};

constexpr size_t kMostTimelinePoints = 20'000;

nlohmann::json timeline_json(const std::vector<TimelinePoint>& points);
// Members that are missing stay as they are above. Throws Error(kCorruptData) for other types and
// more than kMostTimelinePoints.
std::vector<TimelinePoint> parse_timeline(const nlohmann::json& document);

}  // namespace sluice::measure
