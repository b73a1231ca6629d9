#pragma once

#include <cmath>
#include <nlohmann/json.hpp>

#include "measure/distribution.h"

// How reports write numbers: what is none is null.
namespace sluice::measure {

inline nlohmann::ordered_json number_json(double value) {
  return std::isnan(value) ? nlohmann::ordered_json() : nlohmann::ordered_json(value);
}

inline nlohmann::ordered_json distribution_json(const Distribution& values) {
  return {{"count", values.count},
          {"mean", number_json(values.mean)},
          {"min", number_json(values.min)},
          {"p50", number_json(values.p50)},
          {"p90", number_json(values.p90)},
          {"p95", number_json(values.p95)},
          {"p99", number_json(values.p99)},
          {"max", number_json(values.max)},
          {"deviation", number_json(values.deviation)}};
}

}  // namespace sluice::measure
