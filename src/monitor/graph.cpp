#include "monitor/graph.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/print.h"

namespace sluice::monitor {
namespace {

constexpr size_t kMostValues = 1000;
constexpr int kLeastHeight = 4;  // of a graph: the title and three rows
constexpr int kMostHeight = 12;

template <typename Value>
void keep(std::deque<Value>& values, Value value) {
  values.push_back(value);
  if (values.size() > kMostValues) values.pop_front();
}

// ", 1 min 60.2, 5 min 55.0".
std::string means_text(const History& history, const std::deque<double>& values, double scale) {
  std::string text;
  for (const int minutes : {1, 5}) {
    const auto mean = history.mean_of(values, std::chrono::minutes(minutes));
    if (mean) text += print(", %d min %.1f", minutes, *mean * scale);
  }
  return text;
}

}  // namespace

void History::add(const View& view) {
  keep(times, view.now.time);
  keep(output_rates, view.output_tokens_per_second);
  keep(prompt_rates, view.prompt_tokens_per_second);
  keep(cpu_shares, view.cpu_share);
}

std::optional<double> History::mean_of(const std::deque<double>& values,
                                       std::chrono::seconds span) const {
  if (times.empty() || times.back() - times.front() < span) return {};
  double sum = 0;
  size_t count = 0;
  for (size_t i = values.size(); i-- > 0 && times.back() - times[i] < span;) {
    sum += values[i];
    ++count;
  }
  return sum / static_cast<double>(count);
}

std::vector<Line> graph(const std::string& title, const std::deque<double>& values, int width,
                        int height, const std::string& more) {
  width = std::max(width, 10);
  const int num_rows = std::max(height, 2) - 1;
  const size_t num_shown = std::min(values.size(), static_cast<size_t>(width));
  const auto first = values.end() - static_cast<std::ptrdiff_t>(num_shown);
  const double highest = num_shown > 0 ? *std::max_element(first, values.end()) : 0;
  const double last = num_shown > 0 ? values.back() : 0;
  std::vector<Line> lines = {
      {title + print(" %.1f, highest %.1f", last, highest) + more, Style::kDim}};
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
    const std::string more = means_text(history, curves[i].values, curves[i].scale);
    for (Line& line : graph(curves[i].title, values, width, own_height, more)) {
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

void add_graphs(const History& history, int width, int height, std::vector<Line>& lines) {
  std::vector<Line> below = graphs(history, width, height - static_cast<int>(lines.size()));
  if (!below.empty()) {
    lines.insert(lines.end(), std::make_move_iterator(below.begin()),
                 std::make_move_iterator(below.end()));
    return;
  }
  const auto last = std::find_if(lines.rbegin(), lines.rend(),
                                 [](const Line& line) { return !line.right.empty(); });
  if (last == lines.rend()) return;
  const int column = last->right_column;
  const auto begin = static_cast<size_t>(lines.rend() - last);
  const auto beside = graphs(history, width - column, static_cast<int>(lines.size() - begin));
  for (size_t i = 0; i < beside.size(); ++i) {
    Line& line = lines[begin + i];
    line.right = beside[i].text;
    line.right_style = beside[i].style;
    line.right_column = column;
  }
}

}  // namespace sluice::monitor
