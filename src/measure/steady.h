#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "measure/loadtest.h"
#include "measure/traffic.h"

// Repeats of one load until its figures are known well enough.
namespace sluice::measure {

constexpr int kFewestRepeats = 3;
constexpr int kMostRepeats = 20;

// Mean of a few repeats and half the width of its 95% confidence interval (Student's t), as a share
// of the mean; infinite below two values. NaN counts as none.
struct MeanEstimate {
  double mean = 0;
  double error = 0;
};
MeanEstimate estimate_mean(std::vector<double> values);

struct Steadiness {
  int num_repeats = 0;
  MeanEstimate tokens_per_second;
  MeanEstimate ttft_seconds;  // of the repeats' means

  // Both are known to a share of `limit`, from at least kFewestRepeats.
  bool is_within(double limit) const;
  bool must_go_on(double limit) const { return num_repeats < kMostRepeats && !is_within(limit); }
};
Steadiness steadiness_of(const std::vector<double>& tokens_per_second,
                         const std::vector<double>& ttft_seconds);
// Of the points with these arrivals; of the waves of one line.
Steadiness steadiness_of_points(const std::vector<TrafficPoint>& points, const Arrivals& arrivals);
Steadiness steadiness_of_waves(std::span<const LoadRecord> requests);  // wave after wave

// As run_traffic(), each load again and again, a point each time.
TrafficResult run_traffic_until_steady(
    const TrafficOptions& options, double limit, const std::atomic<bool>& stop,
    const std::function<void(const TrafficProgress&)>& on_progress);

// A line for each load: its means with their errors, and whether that is within the limit.
std::string steady_text(const TrafficResult& result, double limit);
std::string steady_text(const LoadTestResult& result, double limit);

}  // namespace sluice::measure
