#pragma once

#include <cstdint>

// Gated activations, out = activation(gate) * up: what their kernel (elementwise.cu) and the
// products that apply them to their own results are told.
namespace sluice::backend::cuda {

// Halves stand for so many times what they are: the largest is then a million.
inline constexpr float kGatedScale = 16.0f;

// Both activations are x / (1 + 2^-(x (linear + cubic x^2))): SiLU is x / (1 + e^-x), and GELU's
// x / 2 (1 + tanh u), u = sqrt(2 / pi) (x + 0.044715 x^3), is x / (1 + e^-2u).
struct GateCurve {
  float linear = 0.0f, cubic = 0.0f;
};
constexpr GateCurve gate_curve(bool is_gelu) {
  constexpr double kLog2E = 1.44269504088896340736, kSqrt2OverPi = 0.79788456080286535588;
  if (!is_gelu) return {static_cast<float>(kLog2E), 0.0f};
  return {static_cast<float>(2 * kLog2E * kSqrt2OverPi),
          static_cast<float>(2 * kLog2E * kSqrt2OverPi * 0.044715)};
}

// Of a product with tiles of gate and up in turns (linear.h, GatedTarget).
struct GatedOut {
  uint16_t* out;           // [rows of activations, stride], halves; null: results stay as they are
  const float* gate_bias;  // null: none
  const float* up_bias;
  GateCurve curve;
  int32_t stride;
  int32_t rows;  // of each matrix
};

}  // namespace sluice::backend::cuda
