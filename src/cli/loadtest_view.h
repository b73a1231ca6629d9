#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "measure/loadtest.h"
#include "measure/traffic.h"

namespace sluice::cli {

// What there is to see of a load test under way, of either kind.
struct LoadtestFigures {
  std::string title;       // "16 clients, line 2 of 5"
  double share_done = -1;  // 0 to 1; negative: not known
  double seconds = 0;      // since this line of the report began
  double seconds_left = 0;
  int num_running = 0, num_done = 0, num_refused = 0, num_failed = 0;
  double tokens_per_second_now = 0, tokens_per_second = 0;
  measure::LiveLatency latency;
};

// Six lines, each at most `width` columns.
std::vector<std::string> loadtest_lines(const LoadtestFigures& figures, int width);

// Shows on standard error how a load test goes on: on a terminal a few lines that are written over,
// and one that stays when a line of the report is done; elsewhere only those. Where a terminal is
// too low for that, one line that is written over.
class LoadtestView {
 public:
  LoadtestView();
  ~LoadtestView() { erase(); }
  LoadtestView(const LoadtestView&) = delete;
  LoadtestView& operator=(const LoadtestView&) = delete;

  void show(const measure::LoadTestProgress& progress);
  void show(const measure::TrafficProgress& progress);

 private:
  using Clock = std::chrono::steady_clock;

  template <typename Progress>
  void show_either(const Progress& progress, LoadtestFigures figures);
  // Of the pieces of the last seconds.
  double speed_now(int64_t num_pieces);
  void draw(const std::vector<std::string>& lines);
  void erase();

  const bool is_terminal_;
  size_t num_drawn_ = 0;  // lines that stand there, the cursor behind the last
  std::deque<std::pair<Clock::time_point, int64_t>> pieces_;
};

}  // namespace sluice::cli
