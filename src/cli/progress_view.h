#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "api/json.h"

namespace sluice::cli {

// Shows on standard error how work gets on: each step stands on a line of its own, the last one
// moves, with a bar, the rate and the time that is left.
class ProgressView {
 public:
  // What stays behind: the lines of all steps, and where standard error is no terminal each step is
  // told once; or nothing, and there nothing is told.
  enum class Trace { kLines, kNone };
  explicit ProgressView(Trace trace = Trace::kLines);
  ~ProgressView() { finish(); }
  ProgressView(const ProgressView&) = delete;
  ProgressView& operator=(const ProgressView&) = delete;

  // A bar when `total_bytes` is not 0, else the step alone. Another step begins another line.
  void update(std::string_view step, uint64_t completed_bytes, uint64_t total_bytes);
  // A line of a pull, push or create: {"status", "digest", "total", "completed"}.
  void update(const api::Json& line);
  // Ends the line, or takes it away.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  struct Sample {
    Clock::time_point when;
    uint64_t completed_bytes = 0;
  };

  void begin(std::string_view step);
  void note(uint64_t completed_bytes);
  double rate() const;  // bytes a second; 0 when it is not known yet
  std::string text(bool is_last) const;
  void draw(bool is_last);
  void end_step();

  const Trace trace_;
  const bool is_terminal_;
  std::string step_;
  uint64_t total_ = 0, completed_ = 0;
  Sample first_;                // of this step
  std::deque<Sample> samples_;  // of the last seconds
  Clock::time_point drawn_;
};

}  // namespace sluice::cli
