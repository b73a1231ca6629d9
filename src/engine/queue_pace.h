#pragma once

#include <chrono>
#include <cstdint>

#include "engine/request.h"

namespace sluice::engine {

// How fast the queue has moved of late, and so how long who waits will wait. Only time in which
// somebody waited counts, over about two full batches of starts: neither a pause nor a batch whose
// replies all end at once distorts it. Before anybody has waited, the requests' own durations
// serve.
class QueuePace {
 public:
  explicit QueuePace(int max_running) : max_running_(max_running) {}

  struct Totals {
    uint64_t num_started = 0;  // requests that had to wait and then began, since the start
    uint64_t num_ended = 0;    // requests that had begun and ended
    int num_running = 0;       // now
    int num_waiting = 0;       // now
  };
  // Between any two steps.
  void observe(Clock::time_point now, const Totals& totals);

  // Time from one start to the next while somebody waits; zero: not known.
  std::chrono::nanoseconds interval() const;

 private:
  // Seconds and events, old ones fading.
  struct Rate {
    double seconds = 0;
    double count = 0;
    void add(double more_seconds, uint64_t more_count, double keep);
  };

  int max_running_;
  Clock::time_point last_;
  Totals totals_;
  Rate starts_;     // seconds in which somebody waited
  Rate durations_;  // seconds of each running request
};

}  // namespace sluice::engine
