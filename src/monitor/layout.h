#pragma once

#include <string>
#include <vector>

#include "monitor/view.h"

// From data to lines of text: pure functions, no terminal.
namespace sluice::monitor {

enum class Style { kPlain, kTitle, kDim, kWarning };

struct Line {
  std::string text;
  Style style = Style::kPlain;
  // On wide screens another text beside it, from a column on.
  std::string right = {};
  Style right_style = Style::kPlain;
  int right_column = 0;
};
std::string whole_text(const Line& line);

// The whole screen in lines of at most `width` columns (at least 10), from 170 on with the machine
// beside the server. `height` is the most lines, 0 for no limit: when it is short, the tables of
// requests and threads lose their last lines, and say so; then cores and threads go; then, and
// below 40 columns, each part says only what matters most, speed first.
std::vector<Line> layout(const View& view, int width, int height);

// "[####++....]", `width` columns in all: the first share as '#', the second behind it as '+'.
std::string bar(double share, double second_share, int width);

}  // namespace sluice::monitor
