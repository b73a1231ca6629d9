#pragma once

// Products of many rows (linear_many.cuh): from a stage's codes and scales to weights as halves, in
// registers as A operands of mma.

#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/linear_many.h"

namespace sluice::backend::cuda {
namespace many {

// Codes are lifted by this much, so that their products with scales are no denormals.
inline constexpr float kLift = 0x1p-9f;  // of code 1

constexpr uint32_t both_halves(float value) { return 0x00010001u * quant::f32_to_f16(value); }

template <quant::Type kType>
constexpr int whole_offset() {
  return Format<kType>::kLooksUp ? 128 : Format<kType>::kOffset;
}

// The scales of a tile in this lane's groups (linear_fragments.cuh, load_lows), as halves for all
// (ManyScales).
template <quant::Type kType>
SLUICE_DEVICE void make_scales(const uint8_t* record, int g, int t, uint8_t* to) {
  using F = Format<kType>;
  using Made = ManyScales<kType>;
  constexpr int kOwn = Made::kGroups;  // those of quarter t
  float scale[2][kOwn], low[2][kOwn] = {};
  constexpr float kUp = F::kScales == Scales::kExponent ? 1.0f : 1.0f / kLift;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = g + 8 * r;
    if constexpr (F::kScales == Scales::kHalf || F::kScales == Scales::kHalfMin) {
      const uint32_t word = shared4(record + 16 * row + 4 * t);
      scale[r][0] = ptx::low_half(word);
      scale[r][1] = ptx::high_half(word);
      if constexpr (F::kHasMin) {
        const uint32_t min = shared4(record + 256 + 16 * row + 4 * t);
        low[r][0] = ptx::low_half(min);
        low[r][1] = ptx::high_half(min);
      }
    }
    if constexpr (F::kScales == Scales::kExponent) {
      const uint32_t two = shared2(record + 8 * row + 2 * t);
      scale[r][0] = ptx::bits_float((two & 0xffu) << 23);
      scale[r][1] = ptx::bits_float((two >> 8) << 23);
    }
    if constexpr (F::kScales == Scales::kSixMin) {
      const uint32_t halves = shared4(record + 16 * g + 4 * r);
      const uint32_t byte = record[16 * g + 8 + 4 * r + t];  // of groups 2 t and 2 t + 1
      // Byte t of the high bits: nibbles of two lanes' words (split_six_bits).
      const uint8_t* words = record + 128 + 16 * g + 8 * (t % 2);
      const uint32_t high = (shared4(words) >> high_bits_at(t < 2 ? 0 : 4) & 15u) |
                            (shared4(words + 4) >> high_bits_at(t < 2 ? 0 : 4) & 15u) << 4;
      const uint32_t minima = shared4(record + 128 + 16 * g + 4 * t) >> (6 * r);
      const float d = ptx::low_half(halves), dmin = ptx::high_half(halves);
      scale[r][0] = d * number((byte & 15u) | (high >> (4 * r) & 3u) << 4);
      scale[r][1] = d * number(byte >> 4 | (high >> (4 * r + 2) & 3u) << 4);
      low[r][0] = -dmin * number(minima & 63u);
      low[r][1] = -dmin * number(minima >> 16 & 63u);
    }
    if constexpr (F::kScales == Scales::kSix) {
      const uint32_t byte = record[8 * g + 4 * r + t], high = record[64 + 4 * g + t];
      const float d = half_of(record + 96 + 4 * g + 2 * r);
      scale[r][0] = d * number(((byte & 15u) | (high >> (4 * r) & 3u) << 4) - 32u);
      scale[r][1] = d * number((byte >> 4 | (high >> (4 * r + 2) & 3u) << 4) - 32u);
    }
    if constexpr (F::kScales == Scales::kFourMin) {
      const uint32_t word = shared4(record + 16 * row + 4 * t),
                     halves = shared4(record + 256 + 4 * row);
      const float d = ptx::low_half(halves), dmin = ptx::high_half(halves);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scale[r][i] = d * number(word >> (8 * i) & 15u);
        low[r][i] = -dmin * number(word >> (8 * i + 4) & 15u);
      }
    }
    if constexpr (F::kScales == Scales::kSixHalves) {
      const uint32_t low_bits = shared4(record + 8 * row + t / 2 * 4) >> (4 * (t % 2));
      const uint32_t high = shared4(record + 128 + 4 * row) >> (2 * t);
      const float d = half_of(record + 192 + 2 * row);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scale[r][i] = d * number(((low_bits >> (8 * i) & 15u) | (high >> (8 * i) & 3u) << 4) - 32u);
      }
    }
    if constexpr (F::kScales == Scales::kEightHalves) {
      const uint32_t word = shared4(record + 16 * row + 4 * t);
      const float d = half_of(record + 256 + 2 * row);
#pragma unroll
      for (int i = 0; i < 4; ++i) scale[r][i] = d * number((word >> (8 * i) & 255u) - 128u);
    }
  }
  uint32_t words[Made::kQuarterWords];
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if constexpr (F::kHasMin) {
      words[2 * i] = ptx::pack_halves(scale[0][i] * kUp, low[0][i]);
      words[2 * i + 1] = ptx::pack_halves(scale[1][i] * kUp, low[1][i]);
    } else {
      words[i] = ptx::pack_halves(scale[0][i] * kUp, scale[1][i] * kUp);
    }
  }
  if constexpr (Made::kQuarterWords == 2) {
    ptx::store(reinterpret_cast<uint2*>(to + Made::place(g, t, 0)), uint2{words[0], words[1]});
  } else {
#pragma unroll
    for (int i = 0; i < Made::kQuarterWords; i += 4) {
      ptx::store(reinterpret_cast<uint4*>(to + Made::place(g, t, i)),
                 uint4{words[i], words[i + 1], words[i + 2], words[i + 3]});
    }
  }
}

// Words that make_scales has left, from word `first` of a quarter on.
template <quant::Type kType, int kCount>
SLUICE_DEVICE void load_scales(const uint8_t* scales, int g, int quarter, int first,
                               uint32_t (&words)[kCount]) {
  using Made = ManyScales<kType>;
  if constexpr (kCount == 1) words[0] = shared4(scales + Made::place(g, quarter, first));
  if constexpr (kCount == 2) {
    const uint2 two = shared8(scales + Made::place(g, quarter, first));
    words[0] = two.x;
    words[1] = two.y;
  }
#pragma unroll
  for (int i = 0; i + 4 <= kCount; i += 4) {
    const uint4 four = shared16(scales + Made::place(g, quarter, first + i));
    words[i] = four.x;
    words[i + 1] = four.y;
    words[i + 2] = four.z;
    words[i + 3] = four.w;
  }
}

// Codes of a step's A operand to weights. `scales`: the words of the group.
template <quant::Type kType>
SLUICE_DEVICE void make_weights(uint32_t (&a)[4], int step, const uint32_t* scales) {
  using F = Format<kType>;
  if constexpr (kType == quant::Type::kBF16) {
#pragma unroll
    for (uint32_t& pair : a) {
      pair = ptx::pack_halves(ptx::bits_float(pair << 16), ptx::bits_float(pair & 0xffff0000u));
    }
  }
  if constexpr (F::kScales == Scales::kNone) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = i % 2, pair = 2 * step + i / 2;
    const int shift = F::kLooksUp ? 0 : pair_shift(F::kCodes, pair);
    // From code * 2^(shift - 24) to (code - offset) * kLift.
    const uint32_t lift = 0x00010001u * static_cast<uint32_t>((15 + 15 - shift) << 10);
    if constexpr (F::kHasMin) {
      a[i] = ptx::fma_halves(ptx::multiply_halves(a[i], lift), ptx::low_twice(scales[r]),
                             ptx::high_twice(scales[r]));
    } else {
      const uint32_t scale = r == 0 ? ptx::low_twice(scales[0]) : ptx::high_twice(scales[0]);
      if constexpr (F::kScales != Scales::kExponent) {
        constexpr uint32_t kLess = both_halves(-static_cast<float>(whole_offset<kType>()) * kLift);
        a[i] = ptx::fma_halves(a[i], lift, kLess);
      }
      a[i] = ptx::multiply_halves(a[i], scale);
    }
  }
}

// A quarter of F32 weights as halves.
SLUICE_DEVICE void load_float_quarter(const uint8_t* quarter, int lane, BlockCodes (&blocks)[2]) {
#pragma unroll
  for (int step = 0; step < 4; ++step) {
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      const uint4 four = shared16(quarter + (2 * step + p) * 512 + lane * 16);
      uint32_t(&a)[4] = blocks[step / 2].a[step % 2];
      a[2 * p] = ptx::pack_halves(ptx::bits_float(four.x), ptx::bits_float(four.y));
      a[2 * p + 1] = ptx::pack_halves(ptx::bits_float(four.z), ptx::bits_float(four.w));
    }
  }
}

}  // namespace many
}  // namespace sluice::backend::cuda
