#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::cli {

// One line on standard error that is drawn again, at most 20 times a second: what is done, how much
// of it, how fast, how long it still takes. Nothing when standard error is no terminal.
class ProgressBar {
 public:
  ProgressBar();
  // A bar when `total_bytes` is not 0, else the text alone. A new text begins a new bar.
  void update(std::string_view text, uint64_t completed_bytes, uint64_t total_bytes);
  // Leaves no trace.
  void finish();
  ~ProgressBar() { finish(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

 private:
  bool is_terminal_;
  bool is_drawn_ = false;
  std::string text_;
  std::chrono::steady_clock::time_point begun_, drawn_;
  uint64_t completed_at_begin_ = 0;
};

// "  42% [=====     ] 120 MB/1.2 GB  85 MB/s  13s", without the rate in the first second.
std::string progress_text(uint64_t completed_bytes, uint64_t total_bytes,
                          uint64_t completed_at_begin, std::chrono::duration<double> elapsed);

}  // namespace sluice::cli
