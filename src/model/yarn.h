#pragma once

#include <vector>

namespace sluice::model {

// YaRN (Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", arXiv
// 2309.00071): rotary frequencies of a model whose context is stretched. Waves that turn more than
// `beta_fast` times within the original context are kept, those that turn less than `beta_slow`
// times are stretched by `factor`, those between interpolated.
struct Yarn {
  double factor = 1.0;
  int original_context = 0;  // tokens
  double beta_fast = 32.0;
  double beta_slow = 1.0;
};

// What each of num_dims / 2 frequencies, freq_base^(-2 i / num_dims), is divided by.
std::vector<float> yarn_divisors(const Yarn& yarn, int num_dims, double freq_base);

// What rotated queries and keys are multiplied by: 0.1 ln(factor) + 1.
double yarn_magnitude(double factor);

}  // namespace sluice::model
