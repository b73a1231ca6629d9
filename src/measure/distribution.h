#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

namespace sluice::measure {

inline constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// What many values are like. Percentiles by the nearest-rank rule, the deviation that of a sample;
// NaN where there are too few values.
struct Distribution {
  size_t count = 0;
  double mean = 0;
  double min = 0;
  double max = 0;
  double deviation = 0;
  double p50 = 0;
  double p90 = 0;
  double p95 = 0;
  double p99 = 0;
};
Distribution distribution_of(std::vector<double> values);

// The value below which `share` (0 to 1) of the values lie, by the nearest-rank rule; NaN when
// there are none. `values` need not be sorted.
double percentile(std::vector<double> values, double share);

// A number in a column of a table; "-" when there is none.
std::string cell(double value, int width, int digits);

}  // namespace sluice::measure
