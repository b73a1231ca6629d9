#include "cli/loadtest_view.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/print.h"
#include "base/units.h"
#include "cli/terminal.h"
#include "measure/report.h"
#include "measure/traffic_report.h"

namespace sluice::cli {
namespace {

using measure::LoadTestProgress;
using measure::TrafficProgress;

constexpr std::chrono::seconds kSpeedWindow{2};

std::string progress_line(const LoadtestFigures& figures, int width) {
  const std::string begun = short_time(figures.seconds);
  if (figures.share_done < 0) return begun;
  std::string tail = print(" %3.0f%%  ", figures.share_done * 100) + begun;
  if (figures.share_done >= 1 && figures.num_running > 0) {
    tail += ", waiting for the last";
  } else if (figures.share_done > 0.01) {
    tail += ", " + short_time(figures.seconds_left) + " left";
  }
  constexpr size_t kFrame = 2, kShortest = 4;
  const auto room = static_cast<size_t>(std::max(width, 0));
  if (room < tail.size() + kFrame + kShortest) return tail.substr(1);
  return progress_bar(figures.share_done,
                      std::min(kLongestProgressBar, room - tail.size() - kFrame)) +
         tail;
}

std::string requests_line(const LoadtestFigures& figures) {
  std::string text = print("requests  %7d running %7d done %7d failed", figures.num_running,
                           figures.num_done, figures.num_failed);
  if (figures.num_refused > 0) text += print(" %7d refused", figures.num_refused);
  return text;
}

std::string latency_line(const char* name, double p50, double p95, int digits) {
  const auto text = [digits](double seconds) {
    return std::isnan(seconds) ? std::string("-") : print("%.*f", digits, seconds * 1e3);
  };
  return print("%-9s %7s p50     %7s p95", name, text(p50).c_str(), text(p95).c_str());
}

LoadtestFigures figures_of(const LoadTestProgress& progress) {
  LoadtestFigures figures;
  const bool is_output = progress.workload.kind == measure::WorkloadKind::kOutput;
  figures.title = print("%s %d words, %d at a time", is_output ? "output" : "input",
                        progress.workload.num_words, progress.concurrency);
  if (progress.num_places > 0) {
    figures.title += print(", line %d of %d", progress.place, progress.num_places);
  }
  figures.num_failed = progress.num_errors;
  if (progress.num_total > 0) {
    figures.share_done = static_cast<double>(progress.num_done) / progress.num_total;
  }
  return figures;
}

LoadtestFigures figures_of(const TrafficProgress& progress) {
  LoadtestFigures figures;
  figures.title = measure::arrivals_text(progress.arrivals) + print(", line %d", progress.place);
  figures.num_failed = progress.num_errors;
  figures.num_refused = progress.num_refused;
  figures.share_done = progress.share_done;
  return figures;
}

bool is_screen() {
  const char* kind = std::getenv("TERM");
  return is_terminal(STDERR_FILENO) && !(kind != nullptr && std::string_view(kind) == "dumb");
}

}  // namespace

std::vector<std::string> loadtest_lines(const LoadtestFigures& figures, int width) {
  std::vector<std::string> lines = {
      figures.title,
      progress_line(figures, width),
      requests_line(figures),
      print("%-9s %7.1f now     %7.1f so far", "tokens/s", figures.tokens_per_second_now,
            figures.tokens_per_second),
      latency_line("TTFT, ms", figures.latency.ttft_p50, figures.latency.ttft_p95, 0),
      latency_line("ITL, ms", figures.latency.itl_p50, figures.latency.itl_p95, 1)};
  for (std::string& line : lines) {
    line = cut_to_width(printable(line), static_cast<size_t>(std::max(width, 1)));
  }
  return lines;
}

LoadtestView::LoadtestView() : is_terminal_(is_screen()) {}

void LoadtestView::show(const LoadTestProgress& progress) {
  show_either(progress, figures_of(progress));
}

void LoadtestView::show(const TrafficProgress& progress) {
  show_either(progress, figures_of(progress));
}

template <typename Progress>
void LoadtestView::show_either(const Progress& progress, LoadtestFigures figures) {
  const std::string text = printable(measure::progress_text(progress));
  if (progress.is_last) {
    erase();
    pieces_.clear();
    std::fprintf(stderr, "%s\n", text.c_str());
    return;
  }
  if (!is_terminal_) return;
  const int width = terminal_width(STDERR_FILENO) - 1;  // a full line could wrap
  constexpr int kLinesAround = 2;
  figures.num_running = progress.num_running;
  figures.num_done = progress.num_done;
  figures.seconds = progress.seconds;
  figures.seconds_left = progress.seconds * (1 / std::max(figures.share_done, 1e-3) - 1);
  figures.tokens_per_second =
      static_cast<double>(progress.num_pieces) / std::max(progress.seconds, 1e-9);
  figures.tokens_per_second_now = speed_now(progress.num_pieces);
  figures.latency = progress.latency;
  std::vector<std::string> lines = loadtest_lines(figures, width);
  const bool has_room =
      terminal_height(STDERR_FILENO) >= static_cast<int>(lines.size()) + kLinesAround;
  if (progress.is_warm_up || !has_room) {
    lines = {cut_to_width(text, static_cast<size_t>(std::max(width, 1)))};
  }
  draw(lines);
}

double LoadtestView::speed_now(int64_t num_pieces) {
  const Clock::time_point now = Clock::now();
  if (!pieces_.empty() && num_pieces < pieces_.back().second) pieces_.clear();
  pieces_.emplace_back(now, num_pieces);
  while (pieces_.size() > 2 && now - pieces_[1].first >= kSpeedWindow) pieces_.pop_front();
  const double seconds = std::chrono::duration<double>(now - pieces_.front().first).count();
  return seconds > 0 ? static_cast<double>(num_pieces - pieces_.front().second) / seconds : 0;
}

// Over what stands there, in one piece: no line is seen half.
void LoadtestView::draw(const std::vector<std::string>& lines) {
  std::string text = num_drawn_ > 1 ? print("\033[%zuA", num_drawn_ - 1) : "";
  for (size_t i = 0; i < lines.size(); ++i) text += (i == 0 ? "\r" : "\n") + lines[i] + "\033[K";
  text += "\033[J";
  num_drawn_ = lines.size();
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

void LoadtestView::erase() {
  if (num_drawn_ == 0) return;
  std::fputs(num_drawn_ > 1 ? print("\033[%zuA\r\033[J", num_drawn_ - 1).c_str() : "\r\033[J",
             stderr);
  num_drawn_ = 0;
}

}  // namespace sluice::cli
