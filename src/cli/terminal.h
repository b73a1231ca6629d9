#pragma once

#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

// What commands share for talking to a person at a terminal.
namespace sluice::cli {

bool is_terminal(int file_descriptor);
int terminal_width(int file_descriptor);   // 80 when it is not known
int terminal_height(int file_descriptor);  // 24 likewise

// Writes to standard output at once. Throws Error when it cannot be written to.
void write_output(std::string_view text);
// Throws Error when something that was printed before could not be written.
void flush_output();

// "Error: ..." on standard error, after all that was printed.
void print_error(std::string_view message);

// Columns separated by four spaces, as wide as their widest cell, a trailing pad behind each: the
// form of Ollama's tables. Cells are made printable.
void print_table(const std::vector<std::vector<std::string>>& rows);

// "[====      ]": `part` of 1, `width` columns between its ends; longer ones than that say no more.
constexpr size_t kLongestProgressBar = 40;
std::string progress_bar(double part, size_t width);
// "1h05m", "2m08s", "12s"
std::string short_time(double seconds);

// "3 days ago", "4 minutes from now", from an RFC 3339 text; "" when it is none.
std::string relative_time(const std::string& rfc3339);

// All of standard input. When nothing comes for a second it says on standard error what it waits
// for. Throws Error(kInvalidArgument) beyond 64 MiB.
std::string read_standard_input();
// All of a file. Throws Error.
std::string read_file(const std::string& path);
// Takes the place of what is there. Throws Error.
void write_file(const std::string& path, const std::string& text);

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
// own. Afterwards SIGINT does what it did before.
class InterruptGuard {
 public:
  explicit InterruptGuard(std::function<void()> action);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  bool was_interrupted() const;

 private:
  std::atomic<bool> is_done_ = false;
  struct sigaction before_ = {};
  std::thread watcher_;
};

}  // namespace sluice::cli
