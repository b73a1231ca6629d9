#include "measure/live_times.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace sluice::measure {
namespace {

constexpr double kShortest = 1e-6;  // seconds: what is shorter counts as that

}  // namespace

void LiveTimes::add(std::chrono::nanoseconds time) {
  const double doublings = std::log2(std::max(seconds_of(time), kShortest) / kShortest);
  const auto bucket = static_cast<size_t>(doublings * kStepsOfDoubling + 0.5);
  counts_[std::min(bucket, counts_.size() - 1)].fetch_add(1, std::memory_order_relaxed);
}

double LiveTimes::percentile(double share) const {
  std::array<uint32_t, std::tuple_size_v<decltype(counts_)>> counts;
  double total = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i] = counts_[i].load(std::memory_order_relaxed);
    total += counts[i];
  }
  double below = 0;
  for (size_t i = 0; i < counts.size() && total > 0; ++i) {
    below += counts[i];
    if (below >= share * total) {
      return kShortest * std::exp2(static_cast<double>(i) / kStepsOfDoubling);
    }
  }
  return kNone;
}

void LiveLatencies::add(const ExchangeRecord& record, std::chrono::nanoseconds since,
                        int num_pieces) {
  const auto& pieces = record.pieces;
  for (size_t i = pieces.size() - static_cast<size_t>(num_pieces); i < pieces.size(); ++i) {
    if (i == 0) {
      ttft_.add(pieces[0] - since);
    } else {
      itl_.add(pieces[i] - pieces[i - 1]);
    }
  }
}

LiveLatency LiveLatencies::figures() const {
  return {ttft_.percentile(0.5), ttft_.percentile(0.95), itl_.percentile(0.5),
          itl_.percentile(0.95)};
}

}  // namespace sluice::measure
