#include "monitor/screen.h"

#define NCURSES_NOMACROS  // functions, not macros named erase or timeout
#include <curses.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <utility>
#include <vector>

#include "base/error.h"
#include "monitor/graph.h"
#include "monitor/layout.h"
#include "monitor/sampler.h"

namespace sluice::monitor {
namespace {

constexpr int kCtrlC = 3;
constexpr std::chrono::milliseconds kSignalCheck{100};
constexpr std::array kEndSignals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

volatile std::sig_atomic_t g_signal = 0;

// While it lives, a signal that would end the program is only noted in g_signal; afterwards it has
// its effect.
class HeldSignals {
 public:
  HeldSignals() {
    struct sigaction action = {};
    action.sa_handler = [](int signal) { g_signal = signal; };
    for (size_t i = 0; i < kEndSignals.size(); ++i) {
      sigaction(kEndSignals[i], nullptr, &before_[i]);
      // What is ignored (nohup) stays so.
      if (before_[i].sa_handler == SIG_DFL) sigaction(kEndSignals[i], &action, nullptr);
    }
  }
  ~HeldSignals() {
    for (size_t i = 0; i < kEndSignals.size(); ++i) {
      sigaction(kEndSignals[i], &before_[i], nullptr);
    }
    if (g_signal != 0) ::raise(g_signal);
  }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

 private:
  std::array<struct sigaction, kEndSignals.size()> before_ = {};
};

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

void put(int row, const Line& line) {
  ::attrset(attributes(line.style));
  ::mvaddstr(row, 0, line.text.c_str());
}

// The view, below it what the history gives where lines are left, and the keys in the last line.
void draw(const View& view, const History& history) {
  int height = 0;
  int width = 0;
  getmaxyx(stdscr, height, width);
  ::erase();
  std::vector<Line> lines = layout(view, width, std::max(height - 1, 1));
  const int num_left = height - 1 - static_cast<int>(lines.size());
  for (Line& line : graphs(history, width, num_left)) lines.push_back(std::move(line));
  for (size_t i = 0; i < lines.size(); ++i) put(static_cast<int>(i), lines[i]);
  if (height > 1) put(height - 1, {"q quit", Style::kDim});
  ::attrset(A_NORMAL);
  ::refresh();
}

// Handles keys until `deadline`; false to quit. A new size is drawn at once.
bool wait(const View& view, const History& history,
          std::chrono::steady_clock::time_point deadline) {
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (g_signal != 0) return false;
    if (left.count() <= 0) return true;
    ::timeout(static_cast<int>(std::min(left, kSignalCheck).count()));
    const int key = ::getch();
    if (key == 'q' || key == 'Q' || key == kCtrlC) return false;
    if (key == KEY_RESIZE) draw(view, history);
  }
}

}  // namespace

void run_screen(const http::Url& url, std::chrono::milliseconds interval) {
  Sampler sampler(url);
  const HeldSignals signals;
  Terminal terminal;
  Snapshot before = sampler.take();
  View view = make_view(before, before, sampler.url(), sampler.is_local());
  History history;
  draw(view, history);
  // The first rates after a moment, not only after a whole interval.
  auto deadline =
      std::chrono::steady_clock::now() + std::min(interval, std::chrono::milliseconds(300));
  while (wait(view, history, deadline)) {
    deadline = std::chrono::steady_clock::now() + interval;
    Snapshot now = sampler.take();
    view = make_view(before, now, sampler.url(), sampler.is_local());
    history.add(view);
    draw(view, history);
    before = std::move(now);
  }
}

}  // namespace sluice::monitor
