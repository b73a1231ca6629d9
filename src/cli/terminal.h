#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

// What commands share for talking to a person at a terminal.
namespace sluice::cli {

bool is_terminal(int file_descriptor);
int terminal_width(int file_descriptor);

// Columns separated by four spaces, as wide as their widest cell, a trailing pad behind each: the
// form of Ollama's tables.
void print_table(const std::vector<std::vector<std::string>>& rows);

// "3 days ago", "4 minutes from now", from an RFC 3339 text; "" when it is none.
std::string relative_time(const std::string& rfc3339);

// All of standard input. Throws Error(kInvalidArgument) beyond 64 MiB.
std::string read_standard_input();
// All of a file. Throws Error.
std::string read_file(const std::string& path);

// A turning sign on standard error while something is waited for; nothing when that is no terminal.
class Spinner {
 public:
  explicit Spinner(std::string text);
  ~Spinner();  // stop()
  Spinner(const Spinner&) = delete;
  Spinner& operator=(const Spinner&) = delete;
  void set_text(std::string text);
  void stop();  // erases it

 private:
  void turn();

  std::string text_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_stopping_ = false;
  std::thread thread_;
};

// While it lives, Ctrl-C does not end the program but calls `action` once, from a thread of its
// own.
class InterruptGuard {
 public:
  explicit InterruptGuard(std::function<void()> action);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  bool was_interrupted() const;

 private:
  std::atomic<bool> is_done_ = false;
  std::thread watcher_;
};

// Text that comes in pieces, broken between words at the terminal's width.
class WordWrapper {
 public:
  explicit WordWrapper(int width) : width_(width) {}  // 0: not at all

  // What to print now; the beginning of a word is held back until it is complete.
  std::string push(const std::string& text);
  std::string flush();

 private:
  void put_word(std::string& out);

  int width_;
  int column_ = 0;
  std::string spaces_;
  std::string word_;
};

}  // namespace sluice::cli
