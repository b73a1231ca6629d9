#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Plots as SVG, for a page that has the classes below in its style sheet: nothing runs in it.
namespace sluice::measure {

struct PlotSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x and y; a y that is NaN breaks the line
};

// A line across the plot: what the machine allows. One far above all points is told, not drawn, as
// they would lie on the ground under it.
struct PlotBound {
  std::string name;
  double y = 0;
};

// A stretch of the x axis with a colour of its own.
struct PlotSpan {
  std::string kind;  // class "span-KIND"
  double begin = 0, end = 0;
};

struct Plot {
  std::string title = {};
  std::string x_label = {}, y_label = {};
  std::vector<PlotSeries> series = {};  // six at most have a colour of their own
  std::vector<PlotBound> bounds = {};
  std::string no_bound = {};  // why there is none; told in the plot
  std::vector<PlotSpan> spans = {};
  bool has_dots = true;              // at each point
  bool is_stacked = false;           // each series stands on the one before it
  std::optional<double> y_max = {};  // none: what the points and the bound take
};

// An <svg> with role img and a title; "" when there is no point. Classes: axis, grid, tick, label,
// bound, bound-label, line-0 .. line-5, dot-0 .. dot-5, area-0 .. area-5, span-KIND.
std::string plot_svg(const Plot& plot);
// Which colour is which series, as a <ul class="legend"> with an <i class="area-0"> each; "" below
// two series. Not in the SVG, as text there cannot wrap.
std::string plot_legend(const Plot& plot);

// Shares over time, a row each: the darker, the more.
struct HeatMap {
  std::string title = {};
  std::string x_label = {}, y_label = {};
  std::vector<double> x_ends = {};                // where each column ends; ascending, above 0
  std::vector<std::vector<double>> columns = {};  // of shares, 0 to 1, one for each row
};

constexpr size_t kMostHeatColumns = 160, kMostHeatRows = 64;

// As plot_svg(); "" when there is no column or no row, or there are too many rows. More columns are
// put together, weighted by their length. Classes: axis, tick, label, heat.
std::string heat_svg(const HeatMap& map);

// 0, 1, 2, 5 times a power of ten: at most `count` steps up to a value that is not below `max`.
std::vector<double> ticks(double max, int count);

// For text and attributes of HTML and SVG. What is not UTF-8 is replaced.
std::string escape_html(std::string_view text);

}  // namespace sluice::measure
