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
#include <cstring>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/print.h"
#include "monitor/graph.h"
#include "monitor/layout.h"
#include "monitor/lists.h"
#include "monitor/sampler.h"

namespace sluice::monitor {
namespace {

constexpr int kCtrlC = 3;
constexpr int kEscape = 27;
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
    ::set_escdelay(25);  // ms until Escape is a key of its own, not the begin of another's
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

// Cut at the right edge, where curses would go on in the next line.
void put(int row, const Line& line, int width) {
  ::attrset(attributes(line.style));
  ::mvaddstr(row, 0, cut_to_width(line.text, static_cast<size_t>(std::max(width, 1))).c_str());
  if (line.right.empty()) return;
  ::attrset(attributes(line.right_style));
  ::mvaddstr(row, line.right_column, line.right.c_str());
}

// What the screen shows, and what its keys have changed.
struct Screen {
  View view;
  History history;
  Arrangement arrangement;
  std::optional<ListKind> list = {};  // shown alone
  size_t first = 0;                   // row of it
  size_t page = 1;                    // rows of it that were shown
  bool shows_help = false;
  enum class Typing { kNothing, kFilter, kNumber } typing = Typing::kNothing;
  std::string number;   // of the request to cancel
  std::string message;  // what became of it
};
using Typing = Screen::Typing;

// What the keys do, as much as fits.
std::string hint(const Screen& screen, const std::string& place, size_t width) {
  std::string filter = printable(screen.arrangement.filter);
  if (!filter.empty()) filter = ": " + filter;
  if (screen.list) {
    const std::string list = std::string(list_name(*screen.list)) + " " + place;
    for (const char* keys : {"  Up Down PgUp PgDn scroll  Tab next list  Esc overview  ? help",
                             "  Up Down scroll  Tab next  Esc back", "  Up Down Tab Esc"}) {
      if (list.size() + std::strlen(keys) <= width) return list + keys;
    }
    return list;
  }
  const std::string sorted(sort_key_name(screen.arrangement.sort_key));
  const std::string whole =
      "q quit  Tab lists  s sort: " + sorted + "  x cancel  / filter" + filter + "  ? help";
  if (display_width(whole) <= width) return whole;
  const std::string brief = "q quit  Tab lists  x cancel  ? help";
  return brief.size() <= width ? brief : "q quit Tab ? help";
}

std::string keys_text(const Screen& screen, const std::string& place, size_t width) {
  if (screen.typing == Typing::kFilter) {
    return "filter: " + printable(screen.arrangement.filter) + "_";
  }
  if (screen.typing == Typing::kNumber) {
    return (width < 40 ? "cancel id: " : "cancel request with id: ") + screen.number + "_";
  }
  if (!screen.message.empty()) return printable(screen.message);
  return hint(screen, place, width);
}

// The view, below it what the history gives where lines are left; or one list alone, or the help.
std::vector<Line> body_of(Screen& screen, int width, int height, std::string& place) {
  if (screen.shows_help) return help_lines(width);
  View view = screen.view;
  arrange(screen.arrangement, view.now.server);
  if (screen.list) {
    ListScreen list = list_screen(view, *screen.list, screen.first, width, height);
    screen.first = list.first;
    screen.page = std::max<size_t>(list.num_shown, 1);
    place = list.place_text();
    return std::move(list.lines);
  }
  std::vector<Line> lines = layout(view, width, height);
  add_graphs(screen.history, width, height, lines);
  return lines;
}

// The body, and the keys in the last line.
void draw(Screen& screen) {
  int height = 0;
  int width = 0;
  getmaxyx(stdscr, height, width);
  ::erase();
  std::string place;
  const int body_height = std::max(height - 1, 1);
  const std::vector<Line> lines = body_of(screen, width, body_height, place);
  const size_t num_lines = std::min(lines.size(), static_cast<size_t>(body_height));
  for (size_t i = 0; i < num_lines; ++i) put(static_cast<int>(i), lines[i], width);
  const auto columns = static_cast<size_t>(std::max(width, 1));
  if (height > 1) put(height - 1, {keys_text(screen, place, columns), Style::kDim}, width);
  ::attrset(A_NORMAL);
  ::refresh();
}

std::string cancel(const Screen& screen, SnapshotSampler& sampler) {
  ServerSample shown = screen.view.now.server;
  arrange(screen.arrangement, shown);
  // Of several prompts of one request any stands for it.
  std::erase_if(shown.requests, [&](const RequestSample& request) {
    return std::to_string(request.id) != screen.number;
  });
  if (shown.requests.empty()) return "no request that is shown has the id " + screen.number;
  return sampler.cancel(shown.requests.front());
}

// A key while something is typed: Enter ends it, Escape drops it.
void type(Screen& screen, int key, SnapshotSampler& sampler) {
  constexpr int kBackspace = 127, kControlH = 8;
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

void show_list(Screen& screen, std::optional<ListKind> list) {
  screen.list = list;
  screen.first = 0;
}

// To scroll opens the requests.
void browse(Screen& screen, int key) {
  const bool scrolls = key == KEY_UP || key == KEY_DOWN || key == KEY_PPAGE || key == KEY_NPAGE ||
                       key == KEY_HOME || key == KEY_END || key == 'j' || key == 'k';
  if (key == kEscape) {
    show_list(screen, {});
  } else if (key == '\t') {
    show_list(screen, screen.list ? next_list(*screen.list) : ListKind::kRequests);
  } else if (scrolls && !screen.list) {
    show_list(screen, ListKind::kRequests);
  } else if (key == KEY_UP || key == 'k') {
    screen.first -= std::min<size_t>(screen.first, 1);
  } else if (key == KEY_DOWN || key == 'j') {
    ++screen.first;
  } else if (key == KEY_PPAGE) {
    screen.first -= std::min(screen.first, screen.page);
  } else if (key == KEY_NPAGE || key == ' ') {
    screen.first += screen.page;
  } else if (key == KEY_HOME) {
    screen.first = 0;
  } else if (key == KEY_END) {
    screen.first = std::numeric_limits<size_t>::max();
  }
}

// False to quit.
bool obey(Screen& screen, int key, SnapshotSampler& sampler) {
  if (key == kCtrlC) return false;
  screen.message.clear();
  if (screen.shows_help && key != KEY_RESIZE) {
    screen.shows_help = false;
  } else if (screen.typing != Typing::kNothing) {
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
  } else if (key == '?' || key == 'h' || key == 'H') {
    screen.shows_help = true;
  } else {
    browse(screen, key);
  }
  draw(screen);
  return true;
}

// Handles keys until `deadline`; false to quit. A new size is drawn at once.
bool wait(Screen& screen, SnapshotSampler& sampler,
          std::chrono::steady_clock::time_point deadline) {
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
  SnapshotSampler sampler(url, api_key, /*lists_processes=*/true);
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
