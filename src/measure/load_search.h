#pragma once

#include <optional>
#include <vector>

#include "measure/goodput.h"
#include "measure/traffic.h"

// The highest load that meets a goal: doubled while it does, then halved in between.
namespace sluice::measure {

struct Trial {
  double load = 0;  // requests a second, or clients
  bool is_met = false;
};

struct LoadRange {
  double first = 1;       // to begin with
  double least = 0;       // below it nothing is tried
  double most = 0;        // nor above
  bool is_whole = false;  // clients come whole
};

constexpr int kMostTrials = 14;
constexpr double kCloseEnough = 1.08;  // the lowest that misses, over the highest that meets

// What to try after these; none when the answer is known.
std::optional<double> next_load(const LoadRange& range, const std::vector<Trial>& trials);
// The highest that met the goal and below which none missed it.
std::optional<double> best_load(const std::vector<Trial>& trials);

// As run_traffic() with a point for each load that is tried; the first is options.arrivals[0],
// which also says whether rates or clients are searched.
TrafficResult search_highest_load(const TrafficOptions& options, const Goal& goal,
                                  const std::atomic<bool>& stop,
                                  const std::function<void(const TrafficProgress&)>& on_progress);

// "The highest rate that meets it: 3.2 requests/s (3.4 does not)", in words for each outcome.
std::string search_text(const Goal& goal, const TrafficResult& result);

}  // namespace sluice::measure
