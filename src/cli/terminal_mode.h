#pragma once

#include <signal.h>
#include <termios.h>

#include <array>
#include <string>

// What is switched at the terminal while the program uses it.
namespace sluice::cli {

// While it lives, a signal that ends the program puts the terminal back first as it was when this
// was made. One at a time; does nothing when standard input is no terminal.
class TerminalKeeper {
 public:
  TerminalKeeper();
  ~TerminalKeeper();
  TerminalKeeper(const TerminalKeeper&) = delete;
  TerminalKeeper& operator=(const TerminalKeeper&) = delete;

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

  bool is_active_ = false;
  std::array<struct sigaction, kSignals.size()> before_ = {};
};

// While it lives, the terminal frames what is pasted, so that it can be told from typed keys.
class BracketedPaste {
 public:
  BracketedPaste();
  ~BracketedPaste();
  BracketedPaste(const BracketedPaste&) = delete;
  BracketedPaste& operator=(const BracketedPaste&) = delete;
};

// While it lives, keys are not shown: what is printed meanwhile is not mixed with them. (Ctrl-C is
// still a signal.) Afterwards `typed` is longer by what was typed, without control characters but
// with the newlines between lines; with null it stays for the next who reads.
class QuietKeys {
 public:
  explicit QuietKeys(std::string* typed);
  ~QuietKeys();
  QuietKeys(const QuietKeys&) = delete;
  QuietKeys& operator=(const QuietKeys&) = delete;

 private:
  void take_typed();

  std::string* typed_;
  bool is_active_ = false;
  termios before_ = {};
};

}  // namespace sluice::cli
