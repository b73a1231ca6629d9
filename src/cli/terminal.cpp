#include "cli/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <utility>

#include "base/error.h"
#include "base/input_file.h"
#include "base/print.h"
#include "base/threads.h"
#include "base/units.h"

namespace sluice::cli {
namespace {

constexpr size_t kMaxInput = size_t{64} << 20;

std::atomic<bool> g_interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

// Nothing comes within a second: a person may not know that the program reads.
void tell_when_silent() {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  if (::poll(&input, 1, 1000) != 0) return;
  std::fputs("waiting for standard input to end (Ctrl-D; `</dev/null` goes without it)\n", stderr);
}

}  // namespace

bool is_terminal(int file_descriptor) { return isatty(file_descriptor) == 1; }

int terminal_width(int file_descriptor) {
  winsize size{};
  if (ioctl(file_descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

int terminal_height(int file_descriptor) {
  winsize size{};
  if (ioctl(file_descriptor, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return 24;
  return size.ws_row;
}

std::string progress_bar(double part, size_t width) {
  const auto filled = static_cast<size_t>(std::clamp(part, 0.0, 1.0) * static_cast<double>(width));
  return "[" + std::string(filled, '=') + std::string(width - filled, ' ') + "]";
}

std::string short_time(double seconds) {
  const auto whole = static_cast<long>(std::clamp(seconds, 0.0, 1e9));
  if (whole >= 3600) return print("%ldh%02ldm", whole / 3600, whole / 60 % 60);
  if (whole >= 60) return print("%ldm%02lds", whole / 60, whole % 60);
  return print("%lds", whole);
}

void write_output(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  flush_output();
}

void flush_output() {
  errno = 0;
  const bool is_flushed = std::fflush(stdout) == 0;
  // What failed earlier is known only as a failure.
  if (!is_flushed || std::ferror(stdout) != 0) {
    throw io_error("cannot write to", "standard output", errno != 0 ? errno : EIO);
  }
}

void print_error(std::string_view message) {
  std::fflush(stdout);
  std::fprintf(stderr, "Error: %s\n", printable(message).c_str());
}

void print_table(const std::vector<std::vector<std::string>>& raw_rows) {
  std::vector<std::vector<std::string>> rows = raw_rows;
  std::vector<size_t> widths;
  for (auto& row : rows) {
    for (std::string& cell : row) cell = printable(cell);
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string out;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      out += row[i] + std::string(widths[i] - display_width(row[i]) + 4, ' ');
    }
    out += '\n';
  }
  std::fputs(out.c_str(), stdout);
}

std::string relative_time(const std::string& rfc3339) {
  std::tm parts{};
  const char* rest = strptime(rfc3339.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return "";
  while (*rest == '.' || (*rest >= '0' && *rest <= '9')) ++rest;
  std::time_t time = timegm(&parts);
  if (*rest == '+' || *rest == '-') {
    int hours = 0;
    int minutes = 0;
    if (std::sscanf(rest + 1, "%2d:%2d", &hours, &minutes) == 2) {
      const int offset = (hours * 60 + minutes) * 60;
      time -= *rest == '+' ? offset : -offset;
    }
  }
  const std::chrono::seconds distance(time - std::time(nullptr));
  if (distance > std::chrono::hours(24 * 365 * 20)) return "Forever";
  const bool is_past = distance.count() <= 0;
  return format_human_duration(is_past ? -distance : distance) + (is_past ? " ago" : " from now");
}

std::string read_standard_input() {
  std::string text;
  std::array<char, 65536> piece;
  tell_when_silent();
  while (true) {
    const ssize_t size = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw io_error("cannot read", "standard input", errno);
    if (size == 0) return text;
    text.append(piece.data(), static_cast<size_t>(size));
    if (text.size() > kMaxInput) {
      throw Error(ErrorCode::kInvalidArgument, "standard input is larger than 64 MiB");
    }
  }
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.flush();
  if (!file) throw io_error("cannot write", path, errno);
}

std::string read_file(const std::string& path) {
  constexpr size_t kMaxBytes = size_t{1} << 30;
  return read_small_file(path, kMaxBytes);
}

Spinner::Spinner(std::string text) : text_(std::move(text)) {
  if (is_terminal(STDERR_FILENO)) {
    thread_ = start_thread("spinner", [this] { turn(); });
  }
}

Spinner::~Spinner() { stop(); }

void Spinner::set_text(std::string text) {
  std::lock_guard lock(mutex_);
  text_ = std::move(text);
}

void Spinner::stop() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Spinner::turn() {
  static constexpr std::array<const char*, 10> kFrames = {"⠋", "⠙", "⠹", "⠸", "⠼",
                                                          "⠴", "⠦", "⠧", "⠇", "⠏"};
  std::unique_lock lock(mutex_);
  // What is over at once needs no sign.
  changed_.wait_for(lock, std::chrono::milliseconds(200), [this] { return is_stopping_; });
  if (is_stopping_) return;
  for (size_t i = 0; !is_stopping_; ++i) {
    std::fprintf(stderr, "\r\033[K%s %s", kFrames[i % kFrames.size()], printable(text_).c_str());
    changed_.wait_for(lock, std::chrono::milliseconds(80));
  }
  std::fputs("\r\033[K", stderr);
}

InterruptGuard::InterruptGuard(std::function<void()> action) {
  g_interrupted = false;
  struct sigaction handler = {};
  handler.sa_handler = [](int) { g_interrupted = true; };
  handler.sa_flags = SA_RESTART;
  watcher_ = start_thread("interrupt", [this, action = std::move(action)] {
    while (!is_done_ && !g_interrupted) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (g_interrupted) action();
  });
  sigaction(SIGINT, &handler, &before_);
}

InterruptGuard::~InterruptGuard() {
  is_done_ = true;
  watcher_.join();
  sigaction(SIGINT, &before_, nullptr);
}

bool InterruptGuard::was_interrupted() const { return g_interrupted; }

}  // namespace sluice::cli
