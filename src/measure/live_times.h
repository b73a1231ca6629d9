#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "measure/distribution.h"
#include "measure/exchange.h"

// How a load test goes on, while it does: what its figures are so far, to within some percent. The
// report has the exact ones.
namespace sluice::measure {

// Times of many threads, spread over buckets an eighth of a doubling wide: some nanoseconds each.
class LiveTimes {
 public:
  void add(std::chrono::nanoseconds time);
  // Seconds, to within 5%; NaN before the first. Others may add meanwhile.
  double percentile(double share) const;

 private:
  static constexpr int kStepsOfDoubling = 8;
  static constexpr int kDoublings = 42;  // from a microsecond to fifty days
  std::array<std::atomic<uint32_t>, size_t{kStepsOfDoubling} * kDoublings + 1> counts_{};
};

// In seconds; NaN: not known yet.
struct LiveLatency {
  double ttft_p50 = kNone, ttft_p95 = kNone;
  double itl_p50 = kNone, itl_p95 = kNone;
};

class LiveLatencies {
 public:
  // The last `num_pieces` of the record's have just come; TTFT counts from `since`.
  void add(const ExchangeRecord& record, std::chrono::nanoseconds since, int num_pieces);
  LiveLatency figures() const;

 private:
  LiveTimes ttft_, itl_;
};

}  // namespace sluice::measure
