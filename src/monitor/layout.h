#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "monitor/view.h"

// From data to lines of text: pure functions, no terminal.
namespace sluice::monitor {

enum class Style { kPlain, kTitle, kDim, kWarning };

struct Line {
  std::string text;
  Style style = Style::kPlain;
};

// The whole screen in lines of at most `width` columns (at least 40). `height` is the most lines,
// 0 for no limit: when it is short, the tables of requests and threads lose their last lines, and
// say so.
std::vector<Line> layout(const View& view, int width, int height);

// "[####++....]", `width` columns in all: the first share as '#', the second behind it as '+'.
std::string bar(double share, double second_share, int width);

// Text from outside made safe for a terminal: control characters become '?', broken UTF-8 too.
std::string printable(std::string_view text);

// Cuts to `width` characters (UTF-8, one column each), the last one then being '~'.
std::string cut(std::string_view text, int width);

}  // namespace sluice::monitor
