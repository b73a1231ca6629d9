#include "cli/terminal_mode.h"

#include <unistd.h>

#include <atomic>
#include <string_view>

namespace sluice::cli {
namespace {

constexpr std::string_view kPasteOn = "\x1b[?2004h";
constexpr std::string_view kPasteOff = "\x1b[?2004l";

termios g_kept = {};
std::atomic<bool> g_is_paste_framed = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler reads it");

void write_terminal(std::string_view text) {
  [[maybe_unused]] const ssize_t ignored = ::write(STDOUT_FILENO, text.data(), text.size());
}

// Runs as a signal handler, once: the signal has its default effect again.
void restore_and_end(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTTOU);  // in the background the terminal is not ours to change
  sigprocmask(SIG_BLOCK, &set, nullptr);
  tcsetattr(STDIN_FILENO, TCSANOW, &g_kept);
  if (g_is_paste_framed) write_terminal(kPasteOff);
  raise(signal);
}

bool owns_terminal() { return isatty(STDIN_FILENO) == 1 && tcgetpgrp(STDIN_FILENO) == getpgrp(); }

// Keys without what moves a cursor or rings a bell: escape sequences and control characters go,
// carriage returns are newlines, those at the end go.
std::string text_of_keys(const std::string& keys) {
  const auto at = [&](size_t i) { return i < keys.size() ? keys[i] : '\0'; };
  std::string text;
  for (size_t i = 0; i < keys.size(); ++i) {
    const char c = keys[i];
    if (c == '\x1b') {
      ++i;  // ESC and a key; ESC O and a key; ESC [ and all up to a letter or '~'
      if (at(i) == 'O') {
        ++i;
      } else if (at(i) == '[') {
        ++i;
        while (i < keys.size() && (at(i) < '@' || at(i) > '~')) ++i;
      }
    } else if (c == '\n' || c == '\r') {
      text += '\n';
    } else if (static_cast<unsigned char>(c) >= ' ' && c != 127) {
      text += c;
    }
  }
  text.erase(text.find_last_not_of('\n') + 1);
  return text;
}

}  // namespace

TerminalKeeper::TerminalKeeper() {
  is_active_ = owns_terminal() && tcgetattr(STDIN_FILENO, &g_kept) == 0;
  if (!is_active_) return;
  struct sigaction action = {};
  action.sa_handler = restore_and_end;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &before_[i]);
    // What is ignored (nohup) stays so.
    if (before_[i].sa_handler == SIG_DFL) sigaction(kSignals[i], &action, nullptr);
  }
}

TerminalKeeper::~TerminalKeeper() {
  if (!is_active_) return;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
}

BracketedPaste::BracketedPaste() {
  if (isatty(STDOUT_FILENO) != 1) return;
  g_is_paste_framed = true;
  write_terminal(kPasteOn);
}

BracketedPaste::~BracketedPaste() {
  if (!g_is_paste_framed) return;
  write_terminal(kPasteOff);
  g_is_paste_framed = false;
}

QuietKeys::QuietKeys(std::string* typed) : typed_(typed) {
  is_active_ = owns_terminal() && tcgetattr(STDIN_FILENO, &before_) == 0;
  if (!is_active_) return;
  termios quiet = before_;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL);
  tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
}

QuietKeys::~QuietKeys() {
  if (!is_active_) return;
  if (typed_ != nullptr) take_typed();
  tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

void QuietKeys::take_typed() {
  termios at_once = before_;  // gives also the line that is not yet ended
  at_once.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON);
  at_once.c_cc[VMIN] = 0;
  at_once.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSANOW, &at_once);
  std::string keys;
  char piece[4096];
  for (ssize_t size; (size = ::read(STDIN_FILENO, piece, sizeof piece)) > 0;) {
    keys.append(piece, static_cast<size_t>(size));
  }
  *typed_ += text_of_keys(keys);
}

}  // namespace sluice::cli
