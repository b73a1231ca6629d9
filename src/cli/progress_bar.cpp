#include "cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/print.h"
#include "base/units.h"
#include "cli/terminal.h"

namespace sluice::cli {

ProgressBar::ProgressBar() : is_terminal_(is_terminal(STDERR_FILENO)) {}

void ProgressBar::update(std::string_view text, uint64_t completed_bytes, uint64_t total_bytes) {
  if (!is_terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  const bool is_new = text != text_ || !is_drawn_;
  if (is_new) {
    begun_ = now;
    completed_at_begin_ = completed_bytes;
  } else if (now - drawn_ < std::chrono::milliseconds(50) && completed_bytes < total_bytes) {
    return;
  }
  text_ = text;
  drawn_ = now;
  is_drawn_ = true;
  std::string line = "\r\033[K" + printable(text_);
  if (total_bytes > 0) {
    line += " " + progress_text(completed_bytes, total_bytes, completed_at_begin_, now - begun_);
  }
  std::fputs(line.c_str(), stderr);
}

void ProgressBar::finish() {
  if (is_drawn_) std::fputs("\r\033[K", stderr);
  is_drawn_ = false;
}

std::string progress_text(uint64_t completed_bytes, uint64_t total_bytes,
                          uint64_t completed_at_begin, std::chrono::duration<double> elapsed) {
  constexpr int kWidth = 30;
  const double part =
      std::min(1.0, static_cast<double>(completed_bytes) / static_cast<double>(total_bytes));
  const auto filled = static_cast<size_t>(part * kWidth);
  std::string text = print("%3d%% [", static_cast<int>(part * 100)) + std::string(filled, '=') +
                     std::string(kWidth - filled, ' ') + "] " + format_bytes(completed_bytes) +
                     "/" + format_bytes(total_bytes);
  if (elapsed.count() < 1.0 || completed_bytes <= completed_at_begin) return text;
  const double rate = static_cast<double>(completed_bytes - completed_at_begin) / elapsed.count();
  const uint64_t rest = total_bytes - std::min(total_bytes, completed_bytes);
  const auto seconds = static_cast<int64_t>(static_cast<double>(rest) / rate + 0.5);
  return text + "  " + format_bytes(static_cast<uint64_t>(rate)) + "/s  " +
         format_go_duration(std::chrono::seconds(seconds));
}

}  // namespace sluice::cli
