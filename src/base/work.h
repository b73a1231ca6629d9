#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stop_token>
#include <utility>

namespace sluice {

// Bounds the work that is done for one request away from the thread that serves it: parsing,
// rendering, tokenizing. Loops whose length a client chooses say how many bytes they touch; that
// ends them soon after the client has left, the server drains or the time is over. Made for one
// thread at a time (the stop may be requested from any).
class Work {
 public:
  static constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();
  // Between two looks at the stop token and the clock; a millisecond's work at most.
  static constexpr uint64_t kLookEveryBytes = 64 * 1024;

  Work() = default;  // never ends anything
  Work(uint64_t max_bytes, std::stop_token stop,
       std::optional<std::chrono::steady_clock::time_point> deadline = std::nullopt)
      : max_bytes_(max_bytes), stop_(std::move(stop)), deadline_(deadline) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  // Counts bytes that were, or are about to be, read or written. Where a step touches next to
  // nothing (an empty message, a loop's turn), count what such a step costs: some tens of bytes.
  // Throws Error as check() does; having thrown once, it throws from then on.
  void charge(uint64_t num_bytes) {
    used_bytes_ = num_bytes < kUnlimited - used_bytes_ ? used_bytes_ + num_bytes : kUnlimited;
    if (used_bytes_ >= next_look_bytes_) check();
  }

  // Looks at once: before and after what cannot be counted. Throws Error: kInvalidArgument when
  // more than max_bytes were counted, kCancelled when a stop was requested, kDeadlineExceeded when
  // the deadline has passed.
  void check();

  uint64_t used_bytes() const { return used_bytes_; }

 private:
  uint64_t max_bytes_ = kUnlimited;
  std::stop_token stop_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  uint64_t used_bytes_ = 0;
  uint64_t next_look_bytes_ = 0;
};

}  // namespace sluice
