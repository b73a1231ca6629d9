#include "cli/progress_view.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/print.h"
#include "base/units.h"
#include "cli/terminal.h"

namespace sluice::cli {
namespace {

constexpr std::chrono::milliseconds kDrawEvery{60};
constexpr std::chrono::seconds kRateWindow{5};

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

ProgressView::ProgressView(Trace trace) : trace_(trace), is_terminal_(is_terminal(STDERR_FILENO)) {}

void ProgressView::update(const api::Json& line) {
  const std::string status = api::string_field(line, "status").value_or("");
  if (status.empty()) return;
  const auto bytes = [&](const char* name) {
    return static_cast<uint64_t>(api::int_field(line, name, 0, INT64_MAX).value_or(0));
  };
  update(status, bytes("completed"), bytes("total"));
}

void ProgressView::update(std::string_view step, uint64_t completed_bytes, uint64_t total_bytes) {
  if (step != step_) {
    end_step();
    begin(step);
    first_ = {Clock::now(), completed_bytes};
  }
  total_ = total_bytes;
  completed_ = std::min(completed_bytes, total_bytes);
  note(completed_);
  if (is_terminal_ && Clock::now() - drawn_ >= kDrawEvery) draw(false);
}

void ProgressView::finish() {
  end_step();
  step_.clear();
}

void ProgressView::begin(std::string_view step) {
  step_ = step;
  samples_.clear();
  drawn_ = {};
  if (!is_terminal_ && trace_ == Trace::kLines) {
    std::fprintf(stderr, "%s\n", printable(step_).c_str());
  }
}

void ProgressView::end_step() {
  if (step_.empty() || !is_terminal_) return;
  if (trace_ == Trace::kLines) {
    draw(true);
  } else {
    std::fputs("\r\033[K", stderr);
  }
}

void ProgressView::note(uint64_t completed_bytes) {
  const auto now = Clock::now();
  samples_.push_back({now, completed_bytes});
  while (samples_.size() > 2 && now - samples_[1].when > kRateWindow) samples_.pop_front();
}

double ProgressView::rate() const {
  if (samples_.size() < 2) return 0;
  const double seconds = seconds_between(samples_.front().when, samples_.back().when);
  const uint64_t from = samples_.front().completed_bytes;
  const uint64_t to = samples_.back().completed_bytes;
  return seconds > 0.2 && to > from ? static_cast<double>(to - from) / seconds : 0;
}

std::string ProgressView::text(bool is_last) const {
  if (total_ == 0) return step_;
  const double part = static_cast<double>(completed_) / static_cast<double>(total_);
  std::string tail = " " + format_bytes(completed_) + "/" + format_bytes(total_);
  double speed = rate();
  if (is_last) {
    const double seconds = seconds_between(first_.when, samples_.back().when);
    speed = seconds > 0 ? static_cast<double>(completed_ - first_.completed_bytes) / seconds : 0;
  }
  if (speed > 0) {
    tail += "  " + format_bytes(static_cast<uint64_t>(speed)) + "/s";
    if (!is_last) tail += "  " + short_time(static_cast<double>(total_ - completed_) / speed);
  }
  const std::string head = step_ + ": " + print("%3d%% ", static_cast<int>(part * 100));
  const auto width = static_cast<size_t>(terminal_width(STDERR_FILENO));
  const size_t taken = head.size() + tail.size() + 3;
  if (taken + 8 > width) return head + tail;
  return head + progress_bar(part, std::min(kLongestProgressBar, width - taken)) + tail;
}

void ProgressView::draw(bool is_last) {
  drawn_ = Clock::now();
  const auto width = static_cast<size_t>(terminal_width(STDERR_FILENO));
  const std::string line = cut_to_width(printable(text(is_last)), width - 1);
  std::fprintf(stderr, "\r\033[K%s%s", line.c_str(), is_last ? "\n" : "");
  std::fflush(stderr);
}

}  // namespace sluice::cli
