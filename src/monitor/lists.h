#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/layout.h"
#include "monitor/view.h"

// Screens that hold one list alone, to scroll through it: pure functions, no terminal.
namespace sluice::monitor {

enum class ListKind { kRequests, kModels, kThreads, kProcesses };
std::string_view list_name(ListKind kind);  // "requests", "models", "threads", "processes"
ListKind next_list(ListKind kind);          // after the last the first

// A stretch of a list, as much as there is room for.
struct ListScreen {
  std::vector<Line> lines;  // at most `height` of at most `width` columns
  size_t first = 0;         // the row that is the first one shown
  size_t num_shown = 0, num_rows = 0;

  std::string place_text() const;  // "11-20 of 256"
};

// From row `first` on, or from as far down as fills the screen. The server's speed stands above.
ListScreen list_screen(const View& view, ListKind kind, size_t first, int width, int height);

// What the keys do, in lines for a screen of that width.
std::vector<Line> help_lines(int width);

}  // namespace sluice::monitor
