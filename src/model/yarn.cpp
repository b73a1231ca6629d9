#include "model/yarn.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice::model {

std::vector<float> yarn_divisors(const Yarn& yarn, int num_dims, double freq_base) {
  // Where among the frequencies a wave turns so many times within the original context.
  const auto place_of = [&](double turns) {
    const double wave = yarn.original_context / (turns * 2.0 * std::numbers::pi);
    return num_dims * std::log(wave) / (2.0 * std::log(freq_base));
  };
  // The bounds are the original's, although there are only half as many frequencies.
  const double first = std::max(std::floor(place_of(yarn.beta_fast)), 0.0);
  const double last = std::min(std::ceil(place_of(yarn.beta_slow)), num_dims - 1.0);
  const double width = std::max(last - first, 0.001);
  std::vector<float> divisors;
  for (int i = 0; i < num_dims / 2; ++i) {
    const double stretched = std::clamp((i - first) / width, 0.0, 1.0);
    divisors.push_back(static_cast<float>(1.0 / (stretched / yarn.factor + (1.0 - stretched))));
  }
  return divisors;
}

double yarn_magnitude(double factor) { return factor <= 1.0 ? 1.0 : 0.1 * std::log(factor) + 1.0; }

}  // namespace sluice::model
