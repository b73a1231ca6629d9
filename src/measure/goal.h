#pragma once

#include <string>
#include <string_view>
#include <vector>

// What users are to get at least: "ttft_p95<500ms,itl_p95<50ms".
namespace sluice::measure {

enum class GoalMetric {
  kTtft,  // time to the first token, since the request was due
  kItl,   // gaps between the tokens of a reply
  kTpot,  // their mean in each reply
  kE2e,   // time to the last byte, since the request was due
};

struct GoalBound {
  GoalMetric metric = GoalMetric::kTtft;
  double share = 0.95;  // of the values that are to lie below; 1: the largest, 0: their mean
  double limit_seconds = 0;
};

struct Goal {
  std::string text;
  std::vector<GoalBound> bounds;
};
// A comma-separated list of METRIC_STATISTIC<TIME: ttft, itl, tpot or e2e; mean, max or p1 to p99
// (p99.9 too; without one p95); ms or s. Throws Error(kInvalidArgument) saying what is wrong.
Goal parse_goal(std::string_view text);
// "ttft_p95".
std::string name_of(const GoalBound& bound);

}  // namespace sluice::measure
