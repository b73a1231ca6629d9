#pragma once

#include <algorithm>
#include <chrono>
#include <random>

#include "registry/options.h"

namespace sluice::registry {

// How long to wait before the next attempt: twice as long each time, between half of that and the
// whole, so that those who failed together do not come back together.
class Backoff {
 public:
  explicit Backoff(const RegistryOptions& options)
      : max_attempts_(options.max_attempts),
        next_(options.first_delay),
        first_(options.first_delay),
        longest_(options.longest_delay),
        random_(std::random_device{}()) {}

  // One more attempt has failed; false when there have been enough.
  bool may_go_on() { return ++num_failed_ < max_attempts_; }
  std::chrono::milliseconds next_delay() {
    const auto most = std::min(next_, longest_);
    next_ = most * 2;
    std::uniform_int_distribution<long> pick(most.count() / 2, most.count());
    return std::chrono::milliseconds(pick(random_));
  }
  // Something was gained.
  void reset() {
    num_failed_ = 0;
    next_ = first_;
  }

 private:
  int max_attempts_;
  int num_failed_ = 0;
  std::chrono::milliseconds next_, first_, longest_;
  std::minstd_rand random_;
};

}  // namespace sluice::registry
