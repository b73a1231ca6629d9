#include "measure/distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/print.h"

namespace sluice::measure {
namespace {

double nearest_rank(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return kNone;
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  const auto index = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  return sorted[std::min(index, sorted.size() - 1)];
}

}  // namespace

Distribution distribution_of(std::vector<double> values) {
  if (values.empty()) return {0, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone};
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {.count = values.size(),
          .mean = mean,
          .min = values.front(),
          .max = values.back(),
          .deviation = values.size() > 1 ? std::sqrt(squares / (count - 1)) : kNone,
          .p50 = nearest_rank(values, 0.5),
          .p90 = nearest_rank(values, 0.9),
          .p95 = nearest_rank(values, 0.95),
          .p99 = nearest_rank(values, 0.99)};
}

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return nearest_rank(values, share);
}

std::string cell(double value, int width, int digits) {
  if (std::isnan(value)) return print("%*s", width, "-");
  return print("%*.*f", width, digits, value);
}

}  // namespace sluice::measure
