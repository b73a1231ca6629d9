#pragma once

// Gated activations on a device: the one formula for all that apply them.

#include "backend/cuda/gated.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {

SLUICE_DEVICE float activate(float x, const GateCurve& curve) {
  const float square = fminf(x * x, 1e30f);  // infinity times zero would be no number
  const float power = x * fmaf(curve.cubic, square, curve.linear);
  return x * ptx::fast_reciprocal(1.0f + ptx::fast_exp2(-power));
}

// As halves are to stand for it.
SLUICE_DEVICE float gated_value(float gate, float up, const GateCurve& curve) {
  constexpr float kFactor = 1.0f / kGatedScale;
  return activate(gate, curve) * up * kFactor;
}

}  // namespace sluice::backend::cuda
