#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "monitor/layout.h"
#include "monitor/view.h"

namespace sluice::monitor {

// What the live screen has seen so far: the newest value last.
struct History {
  std::deque<std::chrono::steady_clock::time_point> times;
  std::deque<double> output_rates;  // tokens a second
  std::deque<double> prompt_rates;
  std::deque<double> cpu_shares;  // 0 to 1

  // Of the last so many seconds of a curve; nothing when there have not been as many.
  std::optional<double> mean_of(const std::deque<double>& values, std::chrono::seconds span) const;

  void add(const View& view);
};

// A title line that tells the last value, the highest and `more`, and columns of '#' under it, one
// a value, the newest at the right edge: `height` lines of `width` columns (at least 2 and 10).
std::vector<Line> graph(const std::string& title, const std::deque<double>& values, int width,
                        int height, const std::string& more = "");

// Graphs of the history, with the means of one and five minutes, one below the other, in at most
// `height` lines, an empty one before each; nothing when there is no room for one that says
// something.
std::vector<Line> graphs(const History& history, int width, int height);

// The same under the lines of a screen of that size, or, where there is no room but beside them
// (layout() on wide screens), under the right half of these.
void add_graphs(const History& history, int width, int height, std::vector<Line>& lines);

}  // namespace sluice::monitor
