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
#include "base/print.h"
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
  if (line.right.empty()) return;
  ::attrset(attributes(line.right_style));
  ::mvaddstr(row, line.right_column, line.right.c_str());
}

// What the screen shows, and what its keys have changed.
struct Screen {
  View view;
  History history;
  Arrangement arrangement;
  enum class Typing { kNothing, kFilter, kNumber } typing = Typing::kNothing;
  std::string number;   // of the request to cancel
  std::string message;  // what became of it
};
using Typing = Screen::Typing;

std::string keys_text(const Screen& screen) {
  if (screen.typing == Typing::kFilter) {
    return "filter: " + printable(screen.arrangement.filter) + "_";
  }
  if (screen.typing == Typing::kNumber) return "cancel request with id: " + screen.number + "_";
  if (!screen.message.empty()) return printable(screen.message);
  std::string text = "q quit  s sort: " + std::string(sort_key_name(screen.arrangement.sort_key));
  text += "  x cancel  / filter";
  if (!screen.arrangement.filter.empty()) text += ": " + printable(screen.arrangement.filter);
  return text;
}

// The view, below it what the history gives where lines are left, and the keys in the last line.
void draw(const Screen& screen) {
  int height = 0;
  int width = 0;
  getmaxyx(stdscr, height, width);
  ::erase();
  View view = screen.view;
  arrange(screen.arrangement, view.now.server);
  std::vector<Line> lines = layout(view, width, std::max(height - 1, 1));
  const int num_left = height - 1 - static_cast<int>(lines.size());
  for (Line& line : graphs(screen.history, width, num_left)) lines.push_back(std::move(line));
  for (size_t i = 0; i < lines.size(); ++i) put(static_cast<int>(i), lines[i]);
  const std::string keys = cut_to_width(keys_text(screen), static_cast<size_t>(std::max(width, 1)));
  if (height > 1) put(height - 1, {keys, Style::kDim});
  ::attrset(A_NORMAL);
  ::refresh();
}

std::string cancel(const Screen& screen, Sampler& sampler) {
  ServerSample shown = screen.view.now.server;
  arrange(screen.arrangement, shown);
  // Each model counts its own requests.
  std::erase_if(shown.requests, [&](const RequestSample& request) {
    return std::to_string(request.id) != screen.number;
  });
  if (shown.requests.empty()) return "no request that is shown has the id " + screen.number;
  if (shown.requests.size() > 1) {
    return "several models have a request " + screen.number + ": filter by model (/) first";
  }
  return sampler.cancel(shown.requests.front());
}

// A key while something is typed: Enter ends it, Escape drops it.
void type(Screen& screen, int key, Sampler& sampler) {
  constexpr int kEscape = 27, kBackspace = 127, kControlH = 8;
  constexpr size_t kLongest = 60;
  const bool is_number = screen.typing == Typing::kNumber;
  std::string& text = is_number ? screen.number : screen.arrangement.filter;
  const bool is_enter = key == '\n' || key == '\r' || key == KEY_ENTER;
  const bool erases = key == KEY_BACKSPACE || key == kBackspace || key == kControlH;
  if (key == kEscape) text.clear();
  if (is_enter && is_number && !text.empty()) screen.message = cancel(screen, sampler);
  if (is_enter || key == kEscape) screen.typing = Typing::kNothing;
  if (erases && !text.empty()) text.pop_back();
  const bool is_letter = is_number ? key >= '0' && key <= '9' : key >= ' ' && key < kBackspace;
  if (is_letter && text.size() < kLongest) text += static_cast<char>(key);
}

// False to quit.
bool obey(Screen& screen, int key, Sampler& sampler) {
  if (key == kCtrlC) return false;
  screen.message.clear();
  if (screen.typing != Typing::kNothing) {
    type(screen, key, sampler);
  } else if (key == 'q' || key == 'Q') {
    return false;
  } else if (key == 's' || key == 'S') {
    screen.arrangement.sort_key = next_sort_key(screen.arrangement.sort_key);
  } else if (key == '/') {
    screen.typing = Typing::kFilter;
    screen.arrangement.filter.clear();
  } else if (key == 'x' || key == 'X') {
    screen.typing = Typing::kNumber;
    screen.number.clear();
  }
  draw(screen);
  return true;
}

// Handles keys until `deadline`; false to quit. A new size is drawn at once.
bool wait(Screen& screen, Sampler& sampler, std::chrono::steady_clock::time_point deadline) {
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (g_signal != 0) return false;
    if (left.count() <= 0) return true;
    ::timeout(static_cast<int>(std::min(left, kSignalCheck).count()));
    const int key = ::getch();
    if (key != ERR && !obey(screen, key, sampler)) return false;
  }
}

}  // namespace

void run_screen(const http::Url& url, const std::string& api_key,
                std::chrono::milliseconds interval, Arrangement arrangement) {
  Sampler sampler(url, api_key, /*lists_processes=*/true);
  const HeldSignals signals;
  Terminal terminal;
  Snapshot before = sampler.take();
  Screen screen{.view = make_view(before, before, sampler.url(), sampler.is_local()),
                .history = {},
                .arrangement = std::move(arrangement),
                .number = {},
                .message = {}};
  draw(screen);
  // The first rates after a moment, not only after a whole interval.
  auto deadline =
      std::chrono::steady_clock::now() + std::min(interval, std::chrono::milliseconds(300));
  while (wait(screen, sampler, deadline)) {
    deadline = std::chrono::steady_clock::now() + interval;
    Snapshot now = sampler.take();
    screen.view = make_view(before, now, sampler.url(), sampler.is_local());
    screen.history.add(screen.view);
    draw(screen);
    before = std::move(now);
  }
}

}  // namespace sluice::monitor
