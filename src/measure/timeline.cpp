#include "measure/timeline.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace sluice::measure {

using nlohmann::json;

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(TimelineThread, name, cpu_share)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(TimelineGpu, index, busy_percent, memory_used_bytes,
                                                power_watts, sm_clock_mhz, temperature_celsius,
                                                pcie_bytes_per_second, nvlink_bytes_per_second)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    TimelinePoint, seconds, length_seconds, phase, core_shares, process_cpu_share, threads,
    resident_bytes, available_bytes, disk_read_bytes_per_second, page_cache_share, power_watts,
    gpus, num_places, num_running, num_waiting, num_blocks_used, num_blocks_total,
    prompt_tokens_per_second, output_tokens_per_second, forward_share, schedule_share)

json timeline_json(const std::vector<TimelinePoint>& points) { return points; }

std::vector<TimelinePoint> parse_timeline(const json& document) {
  try {
    if (document.size() > kMostTimelinePoints) {
      throw Error(ErrorCode::kCorruptData,
                  "the timeline has " + std::to_string(document.size()) + " points");
    }
    return document.get<std::vector<TimelinePoint>>();
  } catch (const json::exception& error) {
    throw Error(ErrorCode::kCorruptData, std::string("the timeline is damaged: ") + error.what());
  }
}

}  // namespace sluice::measure
