#pragma once

#include <deque>
#include <string>
#include <vector>

#include "monitor/layout.h"
#include "monitor/view.h"

namespace sluice::monitor {

// What the live screen has seen so far: the newest value last.
struct History {
  std::deque<double> output_rates;  // tokens a second
  std::deque<double> prompt_rates;
  std::deque<double> cpu_shares;  // 0 to 1

  void add(const View& view);
};

// A title line that tells the last value and the highest, and columns of '#' under it, one a value,
// the newest at the right edge: `height` lines of `width` columns (at least 2 and 10).
std::vector<Line> graph(const std::string& title, const std::deque<double>& values, int width,
                        int height);

// Graphs of the history, one below the other, in at most `height` lines, an empty one before each;
// nothing when there is no room for one that says something.
std::vector<Line> graphs(const History& history, int width, int height);

}  // namespace sluice::monitor
