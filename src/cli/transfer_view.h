#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>

#include "api/json.h"

namespace sluice::cli {

// Shows the lines of a pull, push or create on standard error: each status stands on a line of its
// own, the last one moves, with a bar, the rate and the time that is left. Where standard error is
// no terminal each status is told once.
class TransferView {
 public:
  TransferView();
  ~TransferView();  // ends the line

  // {"status", "digest", "total", "completed"}
  void update(const api::Json& line);

 private:
  using Clock = std::chrono::steady_clock;
  struct Sample {
    Clock::time_point when;
    uint64_t completed_bytes = 0;
  };

  void begin(const std::string& status);
  void note(uint64_t completed_bytes);
  double rate() const;  // bytes a second; 0 when it is not known yet
  std::string text(bool is_last) const;
  void draw(bool is_last);

  const bool is_terminal_;
  std::string status_;
  uint64_t total_ = 0, completed_ = 0;
  Sample first_;                // of this status
  std::deque<Sample> samples_;  // of the last seconds
  Clock::time_point drawn_;
};

}  // namespace sluice::cli
