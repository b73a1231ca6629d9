#include "engine/queue_pace.h"

#include <algorithm>
#include <cmath>

namespace sluice::engine {

void QueuePace::Rate::add(double more_seconds, uint64_t more_count, double keep) {
  const double kept = std::pow(keep, static_cast<double>(more_count));
  seconds = (seconds + more_seconds) * kept;
  count = count * kept;
  // Each of the new ones fades from the next on: the sum of keep^1 ... keep^n.
  if (more_count > 0) count += keep * (1 - kept) / (1 - keep);
}

void QueuePace::observe(Clock::time_point now, const Totals& totals) {
  const double seconds = std::chrono::duration<double>(now - last_).count();
  const double keep = 1 - 1 / (2.0 * max_running_ + 1);
  if (last_ != Clock::time_point{}) {
    starts_.add(totals_.num_waiting > 0 ? seconds : 0, totals.num_started - totals_.num_started,
                keep);
    durations_.add(seconds * totals_.num_running, totals.num_ended - totals_.num_ended, keep);
  }
  last_ = now;
  totals_ = totals;
}

std::chrono::nanoseconds QueuePace::interval() const {
  double seconds = 0;
  if (starts_.count > 0) {
    seconds = starts_.seconds / starts_.count;
  } else if (durations_.count > 0) {
    seconds = durations_.seconds / durations_.count / std::max(totals_.num_running, 1);
  }
  return std::chrono::nanoseconds(static_cast<int64_t>(1e9 * seconds));
}

}  // namespace sluice::engine
