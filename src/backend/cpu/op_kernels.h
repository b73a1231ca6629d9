#pragma once

#include "backend/cpu/kernels.h"

// The element-wise operations, over one row or a part of one.
namespace sluice::backend::cpu {

template <class V>
struct Math {
  using F = typename V::F;

  // e^x within 2 ulp; 0 below -87.3, the largest e^88 above 88. Cephes' reduction: x = n ln 2 + r
  // with ln 2 in two parts, and a polynomial for e^r on [-ln 2 / 2, ln 2 / 2].
  static F exp(F x) {
    const F limited = V::min(V::max(x, V::set1(-87.3f)), V::set1(88.0f));
    const F n = V::round(V::mul(limited, V::set1(1.44269504088896341f)));
    F r = V::fma(n, V::set1(-0.693359375f), limited);
    r = V::fma(n, V::set1(2.12194440e-4f), r);
    F p = V::set1(1.9875691500e-4f);
    p = V::fma(p, r, V::set1(1.3981999507e-3f));
    p = V::fma(p, r, V::set1(8.3334519073e-3f));
    p = V::fma(p, r, V::set1(4.1665795894e-2f));
    p = V::fma(p, r, V::set1(1.6666665459e-1f));
    p = V::fma(p, r, V::set1(5.0000001201e-1f));
    p = V::add(V::fma(V::mul(p, r), r, r), V::set1(1.0f));
    return V::where_less(V::set1(-87.3f), x, V::mul(p, V::exp2_integral(n)));
  }
  static F sigmoid(F x) {
    return V::div(V::set1(1.0f), V::add(V::set1(1.0f), exp(V::sub(V::zero(), x))));
  }
  // tanh(x) = 2 sigmoid(2x) - 1: absolute error of an ulp of 1, which is what its users add to.
  static F tanh(F x) { return V::fma(V::set1(2.0f), sigmoid(V::add(x, x)), V::set1(-1.0f)); }
};

template <class V>
struct Ops {
  using F = typename V::F;

  // Calls body(vector offset) over whole vectors; the tail goes through `tail(i)`.
  static float sum_of_squares(const float* x, int count) {
    F sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
    int i = 0;
    for (; i + 4 * V::kLanes <= count; i += 4 * V::kLanes) {
      for (int k = 0; k < 4; ++k) {
        const F v = V::load(x + i + k * V::kLanes);
        sums[k] = V::fma(v, v, sums[k]);
      }
    }
    float total = V::sum(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])));
    for (; i < count; ++i) total += x[i] * x[i];
    return total;
  }

  static void scale_by(const float* x, float factor, const float* weight, float* out, int count,
                       bool accumulate) {
    int i = 0;
    for (; i + V::kLanes <= count; i += V::kLanes) {
      F v = V::mul(V::mul(V::load(x + i), V::set1(factor)), V::load(weight + i));
      if (accumulate) v = V::add(V::load(out + i), v);
      V::store(out + i, v);
    }
    for (; i < count; ++i) {
      const float v = x[i] * factor * weight[i];
      out[i] = accumulate ? out[i] + v : v;
    }
  }

  // Applies f to vectors of a (and b), the last one through padded copies.
  template <class Function>
  static void map(const float* a, const float* b, float* out, int count, Function f) {
    int i = 0;
    for (; i + V::kLanes <= count; i += V::kLanes) {
      V::store(out + i, f(V::load(a + i), V::load(b + i)));
    }
    if (i == count) return;
    float tail[2][V::kLanes] = {};
    for (int k = 0; i + k < count; ++k) {
      tail[0][k] = a[i + k];
      tail[1][k] = b[i + k];
    }
    V::store(tail[0], f(V::load(tail[0]), V::load(tail[1])));
    for (int k = 0; i + k < count; ++k) out[i + k] = tail[0][k];
  }

  static void silu_times(const float* gate, const float* up, float* out, int count) {
    map(gate, up, out, count, [](F g, F u) { return V::mul(V::mul(g, Math<V>::sigmoid(g)), u); });
  }

  // 0.5 x (1 + tanh(y)) = x sigmoid(2 y), y = sqrt(2 / pi) (x + 0.044715 x^3).
  static void gelu_times(const float* gate, const float* up, float* out, int count) {
    map(gate, up, out, count, [](F g, F u) {
      const F cubic = V::fma(V::mul(V::mul(g, g), g), V::set1(0.044715f), g);
      const F y = V::mul(cubic, V::set1(2.0f * 0.79788456080286535588f));
      return V::mul(V::mul(g, Math<V>::sigmoid(y)), u);
    });
  }

  static void soft_cap(float* x, float cap, int count) {
    map(x, x, x, count, [cap](F v, F) {
      return V::mul(Math<V>::tanh(V::mul(v, V::set1(1.0f / cap))), V::set1(cap));
    });
  }

  static void rotate(float* x, const float* cosines, const float* sines, int num_pairs,
                     bool is_interleaved) {
    const int step = is_interleaved ? 2 : 1;
    const int partner = is_interleaved ? 1 : num_pairs;
    int i = 0;
    if (!is_interleaved) {
      for (; i + V::kLanes <= num_pairs; i += V::kLanes) {
        const F a = V::load(x + i), b = V::load(x + i + partner);
        const F c = V::load(cosines + i), s = V::load(sines + i);
        V::store(x + i, V::sub(V::mul(a, c), V::mul(b, s)));
        V::store(x + i + partner, V::fma(a, s, V::mul(b, c)));
      }
    }
    for (; i < num_pairs; ++i) {
      const float a = x[i * step], b = x[i * step + partner];
      x[i * step] = a * cosines[i] - b * sines[i];
      x[i * step + partner] = a * sines[i] + b * cosines[i];
    }
  }

  static void to_f16(const float* x, uint16_t* out, int count) {
    for (int i = 0; i < count; i += V::kLanes) V::store_f16(out + i, V::load(x + i));
  }

  // The number as f16, by the lanes' own conversion; limited to what is finite. NaN gives a limit,
  // as min and max return their second operand for it.
  static float round_to_f16(float x, uint16_t* half) {
    constexpr float kLargestF16 = 65504.0f;
    const F limited = V::min(V::max(V::set1(x), V::set1(-kLargestF16)), V::set1(kLargestF16));
    uint16_t halves[V::kLanes];
    V::store_f16(halves, limited);
    alignas(64) float back[V::kLanes];
    V::store(back, V::load_f16(halves));
    *half = halves[0];
    return back[0];
  }

  static void to_q8(const float* x, uint8_t* codes, uint16_t* scale, uint16_t* middle) {
    F low = V::load(x), high = low;
    for (int i = V::kLanes; i < kBlockColumns; i += V::kLanes) {
      low = V::min(low, V::load(x + i));
      high = V::max(high, V::load(x + i));
    }
    const float least = V::smallest(low), most = V::largest(high);
    // The scale reaches both ends from the rounded middle: rounding that costs nothing.
    const float center = round_to_f16(0.5f * (least + most), middle);
    const float reach = most - center > center - least ? most - center : center - least;
    const float step = round_to_f16(reach * (1.0f / 127.0f), scale);
    const float inverse = step > 0 ? 1.0f / step : 0.0f;
    for (int i = 0; i < kBlockColumns; i += V::kLanes) {
      F v = V::mul(V::sub(V::load(x + i), V::set1(center)), V::set1(inverse));
      v = V::min(V::max(v, V::set1(-127.0f)), V::set1(127.0f));
      V::store_u8(codes + i, V::to_int(v));
    }
  }
};

}  // namespace sluice::backend::cpu
