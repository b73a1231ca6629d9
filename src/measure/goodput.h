#pragma once

#include <string>

#include "measure/goal.h"
#include "measure/traffic.h"

// What of a point's traffic was as its goal wants it.
namespace sluice::measure {

struct GoalResult {
  bool is_met = false;
  std::string missed;     // the first bound that does not hold, with its value; "" when met
  double goodput = 0;     // requests a second of which each holds all bounds by itself
  double share_good = 0;  // of all requests of the point; NaN without any
};

// Who left of its own will is not judged, but for the times up to then. Who was refused, failed, or
// was cut off holds no bound. A goal is met when all bounds hold and no more than a hundredth of
// the requests were refused or failed. Requests that were cut off count with the time that they had
// waited by then: else a server that answers nobody would be the best.
GoalResult judge(const Goal& goal, const TrafficPoint& point);

}  // namespace sluice::measure
