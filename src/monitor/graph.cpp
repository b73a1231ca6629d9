#include "monitor/graph.h"

#include <algorithm>
#include <cmath>

#include "base/print.h"

namespace sluice::monitor {
namespace {

constexpr size_t kMostValues = 1000;
constexpr int kLeastHeight = 4;  // of a graph: the title and three rows
constexpr int kMostHeight = 12;

void keep(std::deque<double>& values, double value) {
  values.push_back(value);
  if (values.size() > kMostValues) values.pop_front();
}

}  // namespace

void History::add(const View& view) {
  keep(output_rates, view.output_tokens_per_second);
  keep(prompt_rates, view.prompt_tokens_per_second);
  keep(cpu_shares, view.cpu_share);
}

std::vector<Line> graph(const std::string& title, const std::deque<double>& values, int width,
                        int height) {
  width = std::max(width, 10);
  const int num_rows = std::max(height, 2) - 1;
  const size_t num_shown = std::min(values.size(), static_cast<size_t>(width));
  const auto first = values.end() - static_cast<std::ptrdiff_t>(num_shown);
  const double highest = num_shown > 0 ? *std::max_element(first, values.end()) : 0;
  const double last = num_shown > 0 ? values.back() : 0;
  std::vector<Line> lines = {{title + print(" %.1f, highest %.1f", last, highest), Style::kDim}};
  for (int row = num_rows; row > 0; --row) {
    std::string text(static_cast<size_t>(width) - num_shown, ' ');
    for (auto value = first; value != values.end(); ++value) {
      // Whatever is not nothing has a mark in the lowest row.
      const double filled = highest > 0 ? *value / highest * num_rows : 0;
      const bool is_filled = row == 1 ? filled > 0 : std::lround(filled) >= row;
      text += is_filled ? '#' : ' ';
    }
    text.erase(text.find_last_not_of(' ') + 1);
    lines.push_back({text});
  }
  return lines;
}

std::vector<Line> graphs(const History& history, int width, int height) {
  struct Curve {
    const char* title;
    const std::deque<double>& values;
    double scale;
  };
  const Curve curves[] = {{"Tokens/s out", history.output_rates, 1},
                          {"Tokens/s in", history.prompt_rates, 1},
                          {"CPU %", history.cpu_shares, 100}};
  const int num_curves = std::min(height / (kLeastHeight + 1), static_cast<int>(std::size(curves)));
  std::vector<Line> lines;
  for (int i = 0; i < num_curves; ++i) {
    std::deque<double> values = curves[i].values;
    for (double& value : values) value *= curves[i].scale;
    lines.push_back({""});
    const int own_height = std::min(height / num_curves - 1, kMostHeight);
    for (Line& line : graph(curves[i].title, values, width, own_height)) {
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

}  // namespace sluice::monitor
