#include "measure/goal.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/print.h"

namespace sluice::measure {
namespace {

constexpr std::array<std::pair<std::string_view, GoalMetric>, 4> kMetrics = {{
    {"ttft", GoalMetric::kTtft},
    {"itl", GoalMetric::kItl},
    {"tpot", GoalMetric::kTpot},
    {"e2e", GoalMetric::kE2e},
}};

Error wrong(std::string_view bound, const std::string& what) {
  return Error(ErrorCode::kInvalidArgument,
               "the goal '" + std::string(bound) + "' " + what +
                   "; a goal reads like ttft_p95<500ms,itl_p95<50ms (ttft, itl, tpot, e2e; mean, "
                   "max, p50, p99; ms, s)");
}

std::optional<double> number_of(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

std::optional<double> share_of(std::string_view statistic) {
  if (statistic == "mean") return 0;
  if (statistic == "max") return 1;
  if (!statistic.starts_with('p')) return std::nullopt;
  const auto percent = number_of(statistic.substr(1));
  if (!percent || *percent <= 0 || *percent >= 100) return std::nullopt;
  return *percent / 100;
}

std::optional<double> time_of(std::string_view text) {
  double unit = 1;
  if (text.ends_with("ms")) {
    unit = 1e-3;
    text.remove_suffix(2);
  } else if (text.ends_with("s")) {
    text.remove_suffix(1);
  } else {
    return std::nullopt;
  }
  const auto value = number_of(text);
  if (!value || *value <= 0) return std::nullopt;
  return *value * unit;
}

GoalBound parse_bound(std::string_view text) {
  const size_t sign = text.find('<');
  if (sign == std::string_view::npos) throw wrong(text, "has no '<'");
  const std::string_view name = text.substr(0, sign);
  const std::string_view metric = name.substr(0, name.find('_'));
  GoalBound bound;
  const auto found = std::find_if(kMetrics.begin(), kMetrics.end(),
                                  [&](const auto& entry) { return entry.first == metric; });
  if (found == kMetrics.end()) throw wrong(text, "is about nothing that is measured");
  bound.metric = found->second;
  if (metric.size() < name.size()) {
    const auto share = share_of(name.substr(metric.size() + 1));
    if (!share) throw wrong(text, "has no such statistic");
    bound.share = *share;
  }
  std::string_view limit = text.substr(sign + 1);
  if (limit.starts_with('=')) limit.remove_prefix(1);
  const auto seconds = time_of(limit);
  if (!seconds) throw wrong(text, "has no time as its limit");
  bound.limit_seconds = *seconds;
  return bound;
}

}  // namespace

std::string name_of(const GoalBound& bound) {
  std::string name;
  for (const auto& [text, metric] : kMetrics) {
    if (metric == bound.metric) name = text;
  }
  if (bound.share == 0) return name + "_mean";
  if (bound.share == 1) return name + "_max";
  return name + print("_p%g", bound.share * 100);
}

Goal parse_goal(std::string_view text) {
  Goal goal{std::string(text), {}};
  std::erase(goal.text, ' ');
  std::string_view rest = goal.text;
  while (true) {
    const size_t comma = rest.find(',');
    goal.bounds.push_back(parse_bound(rest.substr(0, comma)));
    if (comma == std::string_view::npos) return goal;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace sluice::measure
