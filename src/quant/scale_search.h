#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

// How the encoders of the K-quants find scales: several grids are tried for each group of values,
// each is improved by weighted least squares over the codes it gives, the best one wins. Eight
// groups are searched side by side, one a lane of a vector, so that no sum crosses lanes. All is
// inlined into callers that are compiled for several instruction sets.

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace sluice::quant {

constexpr int kLanes = 8;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

#define SLUICE_INLINE [[gnu::always_inline]] inline

SLUICE_INLINE Lanes splat(float value) { return Lanes{} + value; }
// A NaN in `a` gives `b`.
SLUICE_INLINE Lanes larger(const Lanes& a, const Lanes& b) { return a > b ? a : b; }
SLUICE_INLINE Lanes smaller(const Lanes& a, const Lanes& b) { return a < b ? a : b; }
SLUICE_INLINE Lanes magnitude(const Lanes& a) { return a < 0.0f ? -a : a; }
// 1 / a, and 0 for 0.
SLUICE_INLINE Lanes inverse(const Lanes& a) { return a != 0.0f ? 1.0f / a : Lanes{}; }

// The nearest whole number within [first, last], ties to even; the bounds are far below 2^22.
SLUICE_INLINE Lanes round_within(const Lanes& value, float first, float last) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: there the last bit of a float counts ones
  const Lanes bounded = smaller(larger(value, splat(first)), splat(last));
  return (bounded + kShift) - kShift;
}

// Eight groups of kSize values and what an error in each of them weighs.
template <int kSize>
struct Groups {
  Lanes value[kSize];
  Lanes weight[kSize];
};

// `values`: [kLanes, kSize]. The weights are left to the caller.
template <int kSize>
SLUICE_INLINE void load_groups(const float* values, Groups<kSize>& groups) {
  for (int i = 0; i < kSize; ++i) {
    for (int lane = 0; lane < kLanes; ++lane) groups.value[i][lane] = values[lane * kSize + i];
  }
}

// Codes first..last stand for the values scale * code + offset.
struct Grid {
  Lanes scale = {};
  Lanes offset = {};
};

struct Fit {
  Grid grid;
  Lanes error = {};  // weighted sum of squares
};

// The error that the grid leaves when every value takes the nearest code.
template <int kSize>
SLUICE_INLINE Lanes grid_error(const Groups<kSize>& groups, const Grid& grid, float first,
                               float last) {
  const Lanes per_unit = inverse(grid.scale);
  Lanes error = {};
  for (int i = 0; i < kSize; ++i) {
    const Lanes shifted = groups.value[i] - grid.offset;
    const Lanes rest = shifted - round_within(shifted * per_unit, first, last) * grid.scale;
    error += groups.weight[i] * rest * rest;
  }
  return error;
}

// With the codes that `grid` gives, the scale and the offset (not above 0) of least error. The sums
// are over what the grid leaves, which is small, so that floats are precise enough.
template <int kSize>
SLUICE_INLINE Fit improve_affine(const Groups<kSize>& groups, const Grid& grid, float last) {
  const Lanes per_unit = inverse(grid.scale);
  Lanes w = {}, wl = {}, wll = {}, wr = {}, wrl = {}, wrr = {};
  for (int i = 0; i < kSize; ++i) {
    const Lanes shifted = groups.value[i] - grid.offset;
    const Lanes code = round_within(shifted * per_unit, 0.0f, last);
    const Lanes rest = shifted - code * grid.scale;
    const Lanes weighted_code = groups.weight[i] * code;
    const Lanes weighted_rest = groups.weight[i] * rest;
    w += groups.weight[i];
    wl += weighted_code;
    wll += weighted_code * code;
    wr += weighted_rest;
    wrl += weighted_rest * code;
    wrr += weighted_rest * rest;
  }
  const Lanes determinant = w * wll - wl * wl;
  Lanes scale_step = determinant > 0.0f ? (w * wrl - wl * wr) / determinant : Lanes{};
  Lanes offset_step = determinant > 0.0f ? (wll * wr - wl * wrl) / determinant : Lanes{};
  const auto is_positive = grid.offset + offset_step > 0.0f;
  offset_step = is_positive ? -grid.offset : offset_step;
  scale_step = is_positive ? (wrl - offset_step * wl) * inverse(wll) : scale_step;

  Fit fit;
  fit.grid = {grid.scale + scale_step, grid.offset + offset_step};
  fit.error = wrr - 2.0f * (scale_step * wrl + offset_step * wr) + scale_step * scale_step * wll +
              2.0f * scale_step * offset_step * wl + offset_step * offset_step * w;
  fit.error = fit.grid.scale >= 0.0f ? fit.error : splat(std::numeric_limits<float>::infinity());
  return fit;
}

// The same for codes first..last around 0 and no offset.
template <int kSize>
SLUICE_INLINE Fit improve_symmetric(const Groups<kSize>& groups, const Grid& grid, float first,
                                    float last) {
  const Lanes per_unit = inverse(grid.scale);
  Lanes wll = {}, wrl = {}, wrr = {};
  for (int i = 0; i < kSize; ++i) {
    const Lanes code = round_within(groups.value[i] * per_unit, first, last);
    const Lanes rest = groups.value[i] - code * grid.scale;
    const Lanes weighted_rest = groups.weight[i] * rest;
    wll += groups.weight[i] * code * code;
    wrl += weighted_rest * code;
    wrr += weighted_rest * rest;
  }
  const Lanes step = wrl * inverse(wll);
  return {Grid{grid.scale + step}, wrr - step * wrl};
}

// What is not better by comparison (a NaN is not) leaves `best` as it is.
SLUICE_INLINE void keep_better(const Fit& fit, Fit& best) {
  const auto is_better = fit.error < best.error;
  best.grid.scale = is_better ? fit.grid.scale : best.grid.scale;
  best.grid.offset = is_better ? fit.grid.offset : best.grid.offset;
  best.error = is_better ? fit.error : best.error;
}

// Scales to try: the range of the values is taken for last + first_step, last + first_step + 0.1,
// ... steps of the grid. Fewer steps cut off the extremes and make the rest finer; more do the
// reverse.
struct Trials {
  float first_step = 0.0f;
  int count = 0;
};

// Grids with codes 0..last and an offset of at most 0.
template <int kSize>
SLUICE_INLINE Grid search_affine(const Groups<kSize>& groups, float last, const Trials& trials) {
  Lanes low = {};
  Lanes high = groups.value[0];
  for (int i = 0; i < kSize; ++i) {
    low = smaller(groups.value[i], low);
    high = larger(groups.value[i], high);
  }
  const Lanes range = high - low;
  Fit best = {{range / last, low}, splat(std::numeric_limits<float>::max())};
  for (int trial = 0; trial < trials.count; ++trial) {
    const float steps = last + trials.first_step + 0.1f * static_cast<float>(trial);
    keep_better(improve_affine(groups, {range / steps, low}, last), best);
  }
  for (int again = 0; again < 2; ++again) {
    keep_better(improve_affine(groups, best.grid, last), best);
  }
  return best.grid;
}

// Grids with codes -size..size-1; the value of largest magnitude takes about -size.
template <int kSize>
SLUICE_INLINE Grid search_symmetric(const Groups<kSize>& groups, float size, const Trials& trials) {
  Lanes extreme = {};
  for (int i = 0; i < kSize; ++i) {
    const auto is_larger = magnitude(groups.value[i]) > magnitude(extreme);
    extreme = is_larger ? groups.value[i] : extreme;
  }
  Fit best = {Grid{extreme / -size}, splat(std::numeric_limits<float>::max())};
  for (int trial = 0; trial < trials.count; ++trial) {
    const float steps = size + trials.first_step + 0.1f * static_cast<float>(trial);
    keep_better(improve_symmetric(groups, Grid{extreme / -steps}, -size, size - 1.0f), best);
  }
  for (int again = 0; again < 2; ++again) {
    keep_better(improve_symmetric(groups, best.grid, -size, size - 1.0f), best);
  }
  return best.grid;
}

}  // namespace sluice::quant

#pragma GCC diagnostic pop
