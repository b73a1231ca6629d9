#include "monitor/graph.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace sluice::monitor
