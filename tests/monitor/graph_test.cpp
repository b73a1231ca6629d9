#include "monitor/graph.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "monitor/example_view.h"
#include "monitor/layout.h"

namespace sluice::monitor {
namespace {

std::string drawn(const std::vector<Line>& lines) {
  std::string text;
  for (const Line& line : lines) text += line.text + "\n";
  return text;
}

TEST(Graph, ShowsTheNewestValuesAtTheRightEdge) {
  EXPECT_EQ(drawn(graph("Speed", {100, 1, 2, 3, 4, 0, 4, 2, 1, 0, 0.1}, 10, 5)),
            "Speed 0.1, highest 4.0\n"
            "   # #\n"
            "  ## #\n"
            " ### ##\n"
            "#### ### #\n");
  EXPECT_EQ(drawn(graph("Speed", {1}, 10, 2)), "Speed 1.0, highest 1.0\n         #\n");
  EXPECT_EQ(drawn(graph("Speed", {}, 10, 3)), "Speed 0.0, highest 0.0\n\n\n");
  EXPECT_EQ(drawn(graph("Speed", {0, 0}, 10, 2)), "Speed 0.0, highest 0.0\n\n");
}

TEST(Graph, FillsTheLinesThatAreLeftAndNoMore) {
  History history;
  View view;
  view.output_tokens_per_second = 7;
  for (int i = 0; i < 5000; ++i) history.add(view);
  for (int height = -3; height < 60; ++height) {
    const std::vector<Line> lines = graphs(history, 200, height);
    EXPECT_LE(lines.size(), static_cast<size_t>(std::max(height, 0)));
    if (height >= 5) {
      EXPECT_FALSE(lines.empty());
    }
    for (const Line& line : lines) EXPECT_LE(line.text.size(), 200u);
  }
  EXPECT_GE(graphs(history, 200, 30).size(), 28u);
}

TEST(Graph, StandsBesideALongListOnAWideScreen) {
  History history;
  View view = example_view();
  for (int i = 0; i < 50; ++i) history.add(view);
  view.now.server.requests.resize(100, view.now.server.requests.back());
  const int height = 49;
  std::vector<Line> lines = layout(view, 200, height);
  ASSERT_EQ(lines.size(), static_cast<size_t>(height));
  add_graphs(history, 200, height, lines);
  EXPECT_EQ(lines.size(), static_cast<size_t>(height));
  EXPECT_TRUE(std::any_of(lines.begin(), lines.end(), [](const Line& line) {
    return line.right.starts_with("Tokens/s out 61.5");
  }));
  for (const Line& line : lines) EXPECT_LE(whole_text(line).size(), 200u);
  std::vector<Line> few = layout(example_view(), 200, height);
  const size_t num_before = few.size();
  add_graphs(history, 200, height, few);
  EXPECT_GT(few.size(), num_before) << "below, where there is room";
  std::vector<Line> narrow = layout(view, 80, height);
  add_graphs(history, 80, height, narrow);
  EXPECT_EQ(narrow.size(), static_cast<size_t>(height));
}

TEST(Graph, TellsMeansOverMinutes) {
  History history;
  View view;
  for (int second = 0; second <= 301; ++second) {
    view.now.time = std::chrono::steady_clock::time_point(std::chrono::seconds(second));
    view.output_tokens_per_second = second <= 241 ? 0 : 50;
    if (second == 59) {
      EXPECT_FALSE(history.mean_of(history.output_rates, std::chrono::minutes(1)).has_value());
    }
    history.add(view);
  }
  EXPECT_DOUBLE_EQ(history.mean_of(history.output_rates, std::chrono::minutes(1)).value(), 50);
  EXPECT_DOUBLE_EQ(history.mean_of(history.output_rates, std::chrono::minutes(5)).value(), 10);
  EXPECT_NE(drawn(graphs(history, 80, 10)).find("highest 50.0, 1 min 50.0, 5 min 10.0\n"),
            std::string::npos);
}

}  // namespace
}  // namespace sluice::monitor
