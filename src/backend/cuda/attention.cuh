#pragma once

// What both attention kernels are made of: a warp, its 16 rows of queries, and units of the cache
// (cache_layout.h), 16 tokens of one kv head each.
//
//   scores [16 rows, 16 tokens] = Q K^T      A: Q, in registers   B: keys, 16 bytes a lane
//   sums   [16 rows, head size] += P V       A: P = 2^(scores - maximum), as the scores' registers
//                                               lie already       B: values, 16 bytes a lane
//
// A lane's four scores of a row (g and g + 8) are those of tokens 4 t .. 4 t + 3.

#include "backend/cuda/cache_layout.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {

// No score at all: what a row starts from. exp2 of it is zero, and of it and itself no NaN arises.
#define SLUICE_NO_SCORE (-1.0e30f)

// 32 * kGroups is the (padded) head size. Large heads leave no registers for the queries: they lie
// in shared memory then, [32 dimensions][k16 step][lane] 16 bytes.
template <int kGroups>
inline constexpr bool kQueriesInRegisters = kGroups <= 4;
template <int kGroups>
inline constexpr int kQueryBytes = kQueriesInRegisters<kGroups> ? 0 : kGroups * 2 * 32 * 16;

template <int kGroups>
struct Queries {
  uint32_t a[kQueriesInRegisters<kGroups> ? kGroups : 1][2][4];
  uint4* shared = nullptr;

  // Eight dimensions from 32 i + 8 t on of rows g and g + 8, as the two steps' operands.
  SLUICE_DEVICE void set(int i, const float (&low)[8], const float (&high)[8], float factor) {
    SLUICE_UNROLL
    for (int step = 0; step < 2; ++step) {
      uint32_t words[4];
      SLUICE_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int d = 4 * step + 2 * half;
        words[2 * half] = ptx::pack_halves(low[d] * factor, low[d + 1] * factor);
        words[2 * half + 1] = ptx::pack_halves(high[d] * factor, high[d + 1] * factor);
      }
      if constexpr (kQueriesInRegisters<kGroups>) {
        SLUICE_UNROLL
        for (int k = 0; k < 4; ++k) a[i][step][k] = words[k];
      } else {
        ptx::store(shared + (2 * i + step) * 32 + ptx::lane(),
                   uint4{words[0], words[1], words[2], words[3]});
      }
    }
  }
  SLUICE_DEVICE void operand(int i, int step, uint32_t (&words)[4]) const {
    if constexpr (kQueriesInRegisters<kGroups>) {
      SLUICE_UNROLL
      for (int k = 0; k < 4; ++k) words[k] = a[i][step][k];
    } else {
      const uint4 v = ptx::load(shared + (2 * i + step) * 32 + ptx::lane());
      words[0] = v.x;
      words[1] = v.y;
      words[2] = v.z;
      words[3] = v.w;
    }
  }
};

// Two halves from bytes 2 `pair` and one more, of which each stands 128 above what it is.
SLUICE_DEVICE uint32_t halves_of_bytes(uint32_t word, int pair) {
  const uint32_t bits = ptx::permute_bytes(word ^ 0x80808080u, 0x64646464u, pair ? 0x4342 : 0x4140);
  return ptx::subtract_halves(bits, 0x64806480u);  // 1024 + 128
}

SLUICE_DEVICE uint32_t twice(uint16_t half) { return half | static_cast<uint32_t>(half) << 16; }

// A lane's part of the keys of a unit.
template <int kGroups, bool kIsQ8>
struct Keys;
template <int kGroups>
struct Keys<kGroups, false> {
  uint4 words[kGroups][2];

  SLUICE_DEVICE void load(const std::byte* unit) {
    SLUICE_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      SLUICE_UNROLL
      for (int j = 0; j < 2; ++j) {
        words[i][j] =
            ptx::load(reinterpret_cast<const uint4*>(unit + ((2 * i + j) * 32 + ptx::lane()) * 16));
      }
    }
  }
  SLUICE_DEVICE void operands(int i, int j, uint32_t (&b)[2][2]) const {
    b[0][0] = words[i][j].x;
    b[0][1] = words[i][j].y;
    b[1][0] = words[i][j].z;
    b[1][1] = words[i][j].w;
  }
};
template <int kGroups>
struct Keys<kGroups, true> {
  uint4 words[kGroups];
  uint16_t scales[2][kGroups];

  SLUICE_DEVICE void load(const std::byte* unit) {
    SLUICE_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      words[i] = ptx::load(reinterpret_cast<const uint4*>(unit + (i * 32 + ptx::lane()) * 16));
    }
    const auto* const all = reinterpret_cast<const uint16_t*>(unit + 16 * 32 * kGroups);
    SLUICE_UNROLL
    for (int j = 0; j < 2; ++j) {
      const uint16_t* const mine = all + (j * 8 + ptx::lane() / 4) * kGroups;
      if constexpr (kGroups == 8) {
        const uint4 v = ptx::load(reinterpret_cast<const uint4*>(mine));
        set_scales(j, 0, v.x, v.y);
        set_scales(j, 4, v.z, v.w);
      } else if constexpr (kGroups == 4) {
        const uint2 v = ptx::load(reinterpret_cast<const uint2*>(mine));
        set_scales(j, 0, v.x, v.y);
      } else {
        SLUICE_UNROLL
        for (int i = 0; i < kGroups; ++i) scales[j][i] = mine[i];
      }
    }
  }
  SLUICE_DEVICE void set_scales(int j, int i, uint32_t low, uint32_t high) {
    scales[j][i] = static_cast<uint16_t>(low);
    scales[j][i + 1] = static_cast<uint16_t>(low >> 16);
    scales[j][i + 2] = static_cast<uint16_t>(high);
    scales[j][i + 3] = static_cast<uint16_t>(high >> 16);
  }
  SLUICE_DEVICE void operands(int i, int j, uint32_t (&b)[2][2]) const {
    const uint32_t scale = twice(scales[j][i]);
    SLUICE_UNROLL
    for (int step = 0; step < 2; ++step) {
      const uint32_t word =
          j == 0 ? (step == 0 ? words[i].x : words[i].y) : (step == 0 ? words[i].z : words[i].w);
      b[step][0] = ptx::multiply_halves(halves_of_bytes(word, 0), scale);
      b[step][1] = ptx::multiply_halves(halves_of_bytes(word, 1), scale);
    }
  }
};

// A lane's part of the values of a unit; `unit` is where its values start.
template <int kGroups, bool kIsQ8>
struct Values;
template <int kGroups>
struct Values<kGroups, false> {
  uint4 words[2 * kGroups];

  SLUICE_DEVICE void load(const std::byte* values) {
    SLUICE_UNROLL
    for (int m = 0; m < 2 * kGroups; ++m) {
      words[m] = ptx::load(reinterpret_cast<const uint4*>(values + (m * 32 + ptx::lane()) * 16));
    }
  }
};
template <int kGroups>
struct Values<kGroups, true> {
  uint4 words[kGroups];
  uint2 scales[kGroups];  // of tokens 4 t .. 4 t + 3

  SLUICE_DEVICE void load(const std::byte* values) {
    SLUICE_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      words[i] = ptx::load(reinterpret_cast<const uint4*>(values + (i * 32 + ptx::lane()) * 16));
    }
    const std::byte* const all = values + 16 * 32 * kGroups;
    SLUICE_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      scales[i] = ptx::load(reinterpret_cast<const uint2*>(all + i * 32 + ptx::lane() % 4 * 8));
    }
  }
};

// c[j]: scores of tokens 4 t + 2 j, + 1 of row g, then of row g + 8.
template <int kGroups, bool kIsQ8>
SLUICE_DEVICE void add_scores(float (&c)[2][4], const Queries<kGroups>& q,
                              const Keys<kGroups, kIsQ8>& keys) {
  SLUICE_UNROLL
  for (int i = 0; i < kGroups; ++i) {
    uint32_t a[2][4];
    SLUICE_UNROLL
    for (int step = 0; step < 2; ++step) q.operand(i, step, a[step]);
    SLUICE_UNROLL
    for (int j = 0; j < 2; ++j) {
      uint32_t b[2][2];
      keys.operands(i, j, b);
      SLUICE_UNROLL
      for (int step = 0; step < 2; ++step) ptx::mma_f16(c[j], a[step], b[step]);
    }
  }
}

// What a row has seen so far: its largest score, the sum of 2^(score - maximum) (of this lane's
// tokens), and the same of values: sums[n] is of dimensions 8 n + 2 t, + 1, row g, then g + 8.
template <int kGroups>
struct Softmax {
  float maximum[2], total[2];
  float sums[4 * kGroups][4];

  SLUICE_DEVICE void clear() {
    SLUICE_UNROLL
    for (int r = 0; r < 2; ++r) {
      maximum[r] = SLUICE_NO_SCORE;
      total[r] = 0.0f;
    }
    SLUICE_UNROLL
    for (int n = 0; n < 4 * kGroups; ++n) {
      SLUICE_UNROLL
      for (int k = 0; k < 4; ++k) sums[n][k] = 0.0f;
    }
  }

  // Takes the scores of a unit in, which become probabilities p, the A operand of P V.
  SLUICE_DEVICE void take(const float (&scores)[2][4], uint32_t (&p)[4]) {
    float factor[2];
    SLUICE_UNROLL
    for (int r = 0; r < 2; ++r) {
      float most = fmaxf(fmaxf(scores[0][2 * r], scores[0][2 * r + 1]),
                         fmaxf(scores[1][2 * r], scores[1][2 * r + 1]));
      most = fmaxf(most, ptx::shuffle_xor(most, 1));
      most = fmaxf(most, ptx::shuffle_xor(most, 2));
      const float old = maximum[r];
      maximum[r] = fmaxf(old, most);
      factor[r] = ptx::fast_exp2(old - maximum[r]);
      // Of a row that has seen nothing yet every score is SLUICE_NO_SCORE, and none may count.
      const float base = maximum[r] > SLUICE_NO_SCORE ? maximum[r] : 0.0f;
      float values[4];
      SLUICE_UNROLL
      for (int k = 0; k < 4; ++k) values[k] = ptx::fast_exp2(scores[k / 2][2 * r + k % 2] - base);
      total[r] = total[r] * factor[r] + ((values[0] + values[1]) + (values[2] + values[3]));
      p[r] = ptx::pack_halves(values[0], values[1]);
      p[2 + r] = ptx::pack_halves(values[2], values[3]);
    }
    SLUICE_UNROLL
    for (int n = 0; n < 4 * kGroups; ++n) {
      SLUICE_UNROLL
      for (int k = 0; k < 4; ++k) sums[n][k] *= factor[k / 2];
    }
  }

  SLUICE_DEVICE void add_values(const uint32_t (&p)[4], const Values<kGroups, false>& values) {
    SLUICE_UNROLL
    for (int m = 0; m < 2 * kGroups; ++m) {
      const uint32_t low[2] = {values.words[m].x, values.words[m].y};
      const uint32_t high[2] = {values.words[m].z, values.words[m].w};
      ptx::mma_f16(sums[2 * m], p, low);
      ptx::mma_f16(sums[2 * m + 1], p, high);
    }
  }
  SLUICE_DEVICE void add_values(const uint32_t (&p)[4], const Values<kGroups, true>& values) {
    SLUICE_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      const uint32_t scaled[4] = {ptx::multiply_halves(p[0], values.scales[i].x),
                                  ptx::multiply_halves(p[1], values.scales[i].x),
                                  ptx::multiply_halves(p[2], values.scales[i].y),
                                  ptx::multiply_halves(p[3], values.scales[i].y)};
      const uint32_t words[4] = {values.words[i].x, values.words[i].y, values.words[i].z,
                                 values.words[i].w};
      for (int n = 0; n < 4; ++n) {
        const uint32_t b[2] = {halves_of_bytes(words[n], 0), halves_of_bytes(words[n], 1)};
        ptx::mma_f16(sums[4 * i + n], scaled, b);
      }
    }
  }

  // The totals of whole rows.
  SLUICE_DEVICE void finish() {
    SLUICE_UNROLL
    for (int r = 0; r < 2; ++r) {
      total[r] += ptx::shuffle_xor(total[r], 1);
      total[r] += ptx::shuffle_xor(total[r], 2);
    }
  }
};

}  // namespace sluice::backend::cuda
