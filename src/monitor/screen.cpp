#include "monitor/screen.h"

#define NCURSES_NOMACROS  // functions, not macros named erase or timeout
#include <curses.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>

#include "base/error.h"
#include "monitor/layout.h"
#include "monitor/sampler.h"

namespace sluice::monitor {
namespace {

constexpr int kCtrlC = 3;

// The terminal in full-screen mode for as long as it lives.
class Terminal {
 public:
  Terminal() {
    std::setlocale(LC_CTYPE, "");
    if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0 ||
        (screen_ = ::newterm(nullptr, stdout, stdin)) == nullptr) {
      throw Error(ErrorCode::kUnsupported,
                  "the live screen needs a terminal: use `sluice top --once` here");
    }
    ::raw();  // Ctrl-C comes as a key, so that the terminal is always put back in order
    ::noecho();
    ::keypad(stdscr, TRUE);
    ::curs_set(0);
    if (::has_colors()) {
      ::start_color();
      ::use_default_colors();
      ::init_pair(1, COLOR_RED, -1);
    }
  }
  ~Terminal() {
    ::endwin();
    ::delscreen(screen_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

 private:
  SCREEN* screen_ = nullptr;
};

int attributes(Style style) {
  switch (style) {
    case Style::kTitle:
      return A_BOLD;
    case Style::kDim:
      return A_DIM;
    case Style::kWarning:
      return COLOR_PAIR(1) | A_BOLD;
    case Style::kPlain:
      break;
  }
  return A_NORMAL;
}

void draw(const View& view) {
  int height = 0;
  int width = 0;
  getmaxyx(stdscr, height, width);
  ::erase();
  const std::vector<Line> lines = layout(view, width, height);
  for (size_t i = 0; i < lines.size(); ++i) {
    ::attrset(attributes(lines[i].style));
    ::mvaddstr(static_cast<int>(i), 0, lines[i].text.c_str());
  }
  ::attrset(A_NORMAL);
  ::refresh();
}

// Handles keys until `deadline`; false to quit. A new size is drawn at once.
bool wait(const View& view, std::chrono::steady_clock::time_point deadline) {
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return true;
    ::timeout(static_cast<int>(left.count()));
    const int key = ::getch();
    if (key == 'q' || key == 'Q' || key == kCtrlC) return false;
    if (key == KEY_RESIZE) draw(view);
  }
}

}  // namespace

void run_screen(const http::Url& url, std::chrono::milliseconds interval) {
  Sampler sampler(url);
  Terminal terminal;
  Snapshot before = sampler.take();
  View view = make_view(before, before, sampler.url(), sampler.is_local());
  draw(view);
  // The first rates after a moment, not only after a whole interval.
  auto deadline =
      std::chrono::steady_clock::now() + std::min(interval, std::chrono::milliseconds(300));
  while (wait(view, deadline)) {
    deadline = std::chrono::steady_clock::now() + interval;
    Snapshot now = sampler.take();
    view = make_view(before, now, sampler.url(), sampler.is_local());
    draw(view);
    before = std::move(now);
  }
}

}  // namespace sluice::monitor
