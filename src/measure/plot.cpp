#include "measure/plot.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/print.h"

namespace sluice::measure {
namespace {

// Narrow enough that its text can be read on a phone, where it shrinks to three quarters.
constexpr double kPlotWidth = 480, kPlotHeight = 280;
constexpr double kLeft = 52, kRight = 14, kTop = 26, kBottom = 44;
constexpr int kNumColours = 6;
constexpr int kTicks = 6;

struct Scale {
  double x_min = 0, x_max = 1, y_max = 1;

  double x(double value) const {
    return kLeft + (value - x_min) / (x_max - x_min) * (kPlotWidth - kLeft - kRight);
  }
  double y(double value) const {
    return kPlotHeight - kBottom -
           std::clamp(value / y_max, 0.0, 1.0) * (kPlotHeight - kTop - kBottom);
  }
};

std::string tick_text(double value) {
  if (value >= 1e6) return print("%gM", value / 1e6);
  if (value >= 1e4) return print("%gk", value / 1e3);
  return print("%g", value);
}

// Each series on top of the one before it; all have the same x.
std::vector<PlotSeries> stack(std::vector<PlotSeries> series) {
  for (size_t i = 1; i < series.size(); ++i) {
    for (size_t j = 0; j < std::min(series[i].points.size(), series[i - 1].points.size()); ++j) {
      series[i].points[j].second += series[i - 1].points[j].second;
    }
  }
  return series;
}

bool is_far(const PlotBound& bound, double highest_point) {
  constexpr double kFar = 4;
  return highest_point > 0 && bound.y > kFar * highest_point;
}

Scale scale_of(const Plot& plot, const std::vector<PlotSeries>& series) {
  Scale scale;
  double x_min = INFINITY, x_max = -INFINITY, y_max = 0;
  for (const PlotSeries& one : series) {
    for (const auto& [x, y] : one.points) {
      if (std::isnan(y)) continue;
      x_min = std::min(x_min, x);
      x_max = std::max(x_max, x);
      y_max = std::max(y_max, y);
    }
  }
  for (const PlotSpan& span : plot.spans) x_max = std::max(x_max, span.end);
  const double highest_point = y_max;
  for (const PlotBound& bound : plot.bounds) {
    if (!is_far(bound, highest_point)) y_max = std::max(y_max, bound.y);
  }
  scale.x_min = std::min(x_min, 0.0);
  scale.x_max = std::max(x_max, scale.x_min + 1e-9);
  scale.y_max = plot.y_max ? *plot.y_max : ticks(y_max > 0 ? y_max : 1, kTicks).back();
  return scale;
}

std::string text_at(double x, double y, const char* anchor, const char* kind,
                    std::string_view text) {
  return print("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, kind) +
         escape_html(text) + "</text>";
}

// The two axes with their labels, and the numbers of x.
std::string frame(const Plot& plot, const Scale& scale) {
  std::string svg;
  const double bottom = kPlotHeight - kBottom;
  for (const double value : ticks(scale.x_max, 8)) {
    if (value < scale.x_min || value > scale.x_max * 1.001) continue;
    svg += text_at(scale.x(value), bottom + 16, "middle", "tick", tick_text(value));
  }
  svg += print("<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>", kLeft, kTop, bottom,
               kPlotWidth - kRight);
  svg +=
      text_at((kLeft + kPlotWidth - kRight) / 2, kPlotHeight - 10, "middle", "label", plot.x_label);
  return svg + text_at(kLeft, kTop - 10, "start", "label", plot.y_label);
}

std::string axes(const Plot& plot, const Scale& scale) {
  std::string svg;
  for (const double value : ticks(scale.y_max, kTicks)) {
    if (value > scale.y_max * 1.001) continue;
    svg += print("<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", kLeft, scale.y(value),
                 kPlotWidth - kRight) +
           text_at(kLeft - 6, scale.y(value) + 4, "end", "tick", tick_text(value));
  }
  return svg + frame(plot, scale);
}

std::string path_of(const PlotSeries& series, const Scale& scale) {
  std::string path;
  bool is_open = false;
  for (const auto& [x, y] : series.points) {
    if (std::isnan(y)) {
      is_open = false;
      continue;
    }
    path += print("%s%.1f %.1f", is_open ? "L" : "M", scale.x(x), scale.y(y));
    is_open = true;
  }
  return path;
}

std::string area_of(const PlotSeries& series, const PlotSeries* below, const Scale& scale) {
  std::string path = path_of(series, scale);
  for (size_t i = series.points.size(); i-- > 0;) {
    const bool has_below = below != nullptr && i < below->points.size();
    path += print("L%.1f %.1f", scale.x(series.points[i].first),
                  scale.y(has_below ? below->points[i].second : 0));
  }
  return path + "Z";
}

std::string plot_lines(const Plot& plot, const std::vector<PlotSeries>& series,
                       const Scale& scale) {
  std::string svg;
  for (size_t i = series.size(); i-- > 0;) {
    const size_t colour = i % kNumColours;
    if (series[i].points.empty()) continue;
    if (plot.is_stacked) {
      svg += print("<path class=\"area-%zu\" d=\"", colour) +
             area_of(series[i], i > 0 ? &series[i - 1] : nullptr, scale) + "\"/>";
      continue;
    }
    svg += print("<path class=\"line-%zu\" d=\"", colour) + path_of(series[i], scale) + "\"/>";
    for (const auto& [x, y] : series[i].points) {
      if (!plot.has_dots || std::isnan(y)) continue;
      svg += print(
          "<circle class=\"dot-%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>%s, %s</title>"
          "</circle>",
          colour, scale.x(x), scale.y(y), tick_text(x).c_str(), print("%.4g", y).c_str());
    }
  }
  return svg;
}

// So many columns as a plot can show.
HeatMap coarser(const HeatMap& map) {
  HeatMap coarse = map;
  coarse.x_ends.clear();
  coarse.columns.clear();
  const double width = map.x_ends.back() / static_cast<double>(kMostHeatColumns);
  double begin = 0, coarse_begin = 0;
  std::vector<double> sums;
  for (size_t i = 0; i < map.columns.size(); ++i) {
    const double length = map.x_ends[i] - begin;
    begin = map.x_ends[i];
    sums.resize(std::max(sums.size(), map.columns[i].size()));
    for (size_t row = 0; row < map.columns[i].size(); ++row) {
      sums[row] += map.columns[i][row] * length;
    }
    const bool is_full = begin - coarse_begin >= width || i + 1 == map.columns.size();
    if (!is_full) continue;
    for (double& sum : sums) sum /= std::max(begin - coarse_begin, 1e-9);
    coarse.columns.push_back(std::exchange(sums, {}));
    coarse.x_ends.push_back(begin);
    coarse_begin = begin;
  }
  return coarse;
}

std::string bound_lines(const Plot& plot, const Scale& scale) {
  constexpr double kLine = 16;
  const double right = kPlotWidth - kRight - 4;
  std::string svg;
  double told_at = kTop + kLine - 3;
  if (plot.bounds.empty() && !plot.no_bound.empty()) {
    return text_at(kPlotWidth - kRight, kTop - 10, "end", "bound-label",
                   "no ceiling: " + plot.no_bound);
  }
  for (const PlotBound& bound : plot.bounds) {
    if (bound.y > scale.y_max) {
      svg += text_at(kLeft + 6, told_at, "start", "bound-label",
                     bound.name + ": " + print("%.4g", bound.y) + ", above this plot");
      told_at += kLine;
      continue;
    }
    const double y = scale.y(bound.y);
    const bool has_room_above = y - kTop > kLine;
    svg += print("<path class=\"bound\" d=\"M%.1f %.1fH%.1f\"/>", kLeft, y, kPlotWidth - kRight) +
           text_at(right, has_room_above ? y - 5 : y + 13, "end", "bound-label", bound.name);
  }
  return svg;
}

}  // namespace

std::string heat_svg(const HeatMap& map) {
  size_t num_rows = 0;
  for (const auto& column : map.columns) num_rows = std::max(num_rows, column.size());
  if (num_rows == 0 || num_rows > kMostHeatRows || !(map.x_ends.back() > 0)) return "";
  const HeatMap coarse = coarser(map);
  Scale scale;
  scale.x_max = map.x_ends.back();
  const double bottom = kPlotHeight - kBottom;
  const double height = (bottom - kTop) / static_cast<double>(num_rows);
  std::string svg =
      print("<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", kPlotWidth, kPlotHeight) +
      escape_html(map.title) + "\">";
  double begin = 0;
  for (size_t i = 0; i < coarse.columns.size(); ++i) {
    const double left = scale.x(begin), width = scale.x(coarse.x_ends[i]) - left;
    begin = coarse.x_ends[i];
    for (size_t row = 0; row < coarse.columns[i].size(); ++row) {
      const double share = std::clamp(coarse.columns[i][row], 0.0, 1.0);
      if (!(share >= 0.02)) continue;
      svg += print(
          "<rect class=\"heat\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
          "opacity=\"%.2f\"/>",
          left, kTop + height * static_cast<double>(row), width, std::max(height - 1, 0.5), share);
    }
  }
  const size_t step = (num_rows + 15) / 16;  // of the labels
  for (size_t row = 0; row < num_rows; row += step) {
    svg += text_at(kLeft - 6, kTop + height * (static_cast<double>(row) + 0.5) + 4, "end", "tick",
                   std::to_string(row));
  }
  Plot labels{.x_label = map.x_label, .y_label = map.y_label};
  return svg + frame(labels, scale) + "</svg>";
}

std::vector<double> ticks(double max, int count) {
  double step = std::pow(10.0, std::floor(std::log10(std::max(max, 1e-12) / count)));
  for (const double factor : {2.0, 2.5, 2.0}) {
    if (step * count >= max) break;
    step *= factor;
  }
  std::vector<double> values = {0};
  while (values.back() < max * 0.9999 && values.size() < 100) {
    values.push_back(step * static_cast<double>(values.size()));
  }
  return values;
}

std::string escape_html(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    const Character character = next_character(text);
    const std::string_view piece = text.substr(0, character.size);
    const bool is_control = character.codepoint < 0x20 && character.codepoint != '\n';
    if (character.codepoint < 0 || is_control) {
      safe += "\xef\xbf\xbd";
    } else if (piece == "&") {
      safe += "&amp;";
    } else if (piece == "<") {
      safe += "&lt;";
    } else if (piece == ">") {
      safe += "&gt;";
    } else if (piece == "\"") {
      safe += "&quot;";
    } else {
      safe += piece;
    }
    text.remove_prefix(character.size);
  }
  return safe;
}

std::string plot_svg(const Plot& plot) {
  const bool has_points = std::any_of(plot.series.begin(), plot.series.end(), [](const auto& one) {
    return std::any_of(one.points.begin(), one.points.end(),
                       [](const auto& point) { return !std::isnan(point.second); });
  });
  if (!has_points) return "";
  const std::vector<PlotSeries> series = plot.is_stacked ? stack(plot.series) : plot.series;
  const Scale scale = scale_of(plot, series);
  std::string svg =
      print("<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", kPlotWidth, kPlotHeight) +
      escape_html(plot.title) + "\">";
  for (const PlotSpan& span : plot.spans) {
    svg += "<rect class=\"span-" + escape_html(span.kind) +
           print("\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", scale.x(span.begin),
                 kTop, std::max(scale.x(span.end) - scale.x(span.begin), 0.5),
                 kPlotHeight - kTop - kBottom);
  }
  svg += axes(plot, scale) + plot_lines(plot, series, scale);
  return svg + bound_lines(plot, scale) + "</svg>";
}

std::string plot_legend(const Plot& plot) {
  if (plot.series.size() < 2) return "";
  std::string html = "<ul class=\"legend\">";
  for (size_t i = 0; i < plot.series.size(); ++i) {
    html += print("<li><i class=\"area-%zu\"></i>", i % kNumColours) +
            escape_html(plot.series[i].name) + "</li>";
  }
  return html + "</ul>";
}

}  // namespace sluice::measure
