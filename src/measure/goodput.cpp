#include "measure/goodput.h"

#include <algorithm>
#include <limits>

#include "base/print.h"
#include "measure/distribution.h"

namespace sluice::measure {
namespace {

constexpr double kMostLost = 0.01;

// The values of one request; those of one that was cut off as far as they are known to be large.
void add_values(GoalMetric metric, const TrafficRecord& request, std::vector<double>& values) {
  const bool has_failed = !request.error.empty() && !request.was_cancelled;
  if (has_failed || request.is_refused()) return;
  const double age = seconds_of(request.ended - request.due);
  switch (metric) {
    case GoalMetric::kTtft:
      values.push_back(request.ttft_seconds().value_or(age));
      return;
    case GoalMetric::kE2e:
      if (request.has_left) return;
      values.push_back(age);
      return;
    case GoalMetric::kTpot:
      if (const auto itl = request.itl_seconds()) values.push_back(*itl);
      return;
    case GoalMetric::kItl:
      for (size_t i = 1; i < request.pieces.size(); ++i) {
        values.push_back(seconds_of(request.pieces[i] - request.pieces[i - 1]));
      }
      return;
  }
}

// The mean or percentile that a bound speaks of.
double value_of(const GoalBound& bound, std::vector<double> values) {
  return bound.share == 0 ? distribution_of(std::move(values)).mean
                          : percentile(std::move(values), bound.share);
}

double value_of(const GoalBound& bound, const std::vector<TrafficRecord>& requests) {
  std::vector<double> values;
  for (const TrafficRecord& request : requests) add_values(bound.metric, request, values);
  return value_of(bound, std::move(values));
}

bool is_good(const Goal& goal, const TrafficRecord& request) {
  if (!request.is_success()) return false;
  return std::all_of(goal.bounds.begin(), goal.bounds.end(), [&](const GoalBound& bound) {
    std::vector<double> values;
    add_values(bound.metric, request, values);
    // A reply is judged by its gaps as the goal judges all gaps.
    return values.empty() || value_of(bound, std::move(values)) <= bound.limit_seconds;
  });
}

std::string time_text(double seconds) {
  return seconds < 1 ? print("%.3g ms", seconds * 1e3) : print("%.3g s", seconds);
}

std::string first_missed(const Goal& goal, const TrafficPoint& point) {
  for (const GoalBound& bound : goal.bounds) {
    const double value = value_of(bound, point.requests);
    if (value > bound.limit_seconds) {
      return name_of(bound) + " is " + time_text(value) + ", not below " +
             time_text(bound.limit_seconds);
    }
  }
  return "";
}

}  // namespace

GoalResult judge(const Goal& goal, const TrafficPoint& point) {
  const double seconds = seconds_of(point.end - point.begin);
  double num_good = 0, num_lost = 0, total = 0;
  for (const TrafficRecord& request : point.requests) {
    if (request.has_left) continue;
    ++total;
    if (is_good(goal, request)) ++num_good;
    if (!request.is_success() && !request.was_cancelled) ++num_lost;
  }
  GoalResult result;
  result.goodput = seconds > 0 ? num_good / seconds : 0;
  result.share_good = total > 0 ? num_good / total : std::numeric_limits<double>::quiet_NaN();
  if (total == 0) {
    result.missed = "no request was sent";
  } else if (num_lost > kMostLost * total) {
    result.missed = print("%.0f of %.0f requests were refused or failed", num_lost, total);
  } else {
    result.missed = first_missed(goal, point);
  }
  result.is_met = result.missed.empty();
  return result;
}

}  // namespace sluice::measure
