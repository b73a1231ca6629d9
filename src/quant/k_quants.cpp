// Super-blocks of 256 whose groups have small integer scales: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
// Decoding multiplies in the reference's order, so that results agree to the bit.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/target_clones.h"
#include "quant/codec.h"
#include "quant/families.h"
#include "quant/scale_search.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // vectors as arguments: all of them are inlined

namespace sluice::quant {
namespace {

// The 6-bit scale of `group` (0..15) of a Q3_K block, biased by 32.
int q3_scale(const uint8_t (&packed)[12], int group) {
  const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
  const int high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
  return low | high << 4;
}

constexpr float kMaxSixBits = 63.0f;

float largest(const Lanes& lanes) {
  float result = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) result = std::max(result, lanes[lane]);
  return result;
}

// What an error weighs, without knowing what the weights will be multiplied with: large weights
// count for more than small ones, but small ones are not given up.
template <int kSize>
SLUICE_INLINE void weigh_by_size(Groups<kSize>& groups) {
  Lanes squares = {};
  for (const Lanes& value : groups.value) squares += value * value;
  Lanes typical;
  for (int lane = 0; lane < kLanes; ++lane) typical[lane] = std::sqrt(squares[lane] / kSize);
  for (int i = 0; i < kSize; ++i) groups.weight[i] = typical + magnitude(groups.value[i]);
}

// A Q4_K or Q5_K block before its bits are packed.
struct AffineBlock {
  uint16_t d, dmin;
  uint8_t scales[kLanes];
  uint8_t mins[kLanes];
  uint8_t codes[kSuperBlock];
};

// Scales and mins must be multiples of d and dmin: of the three multiples around the best scale,
// each with the min that suits it, the one that leaves least. `scales` and `mins` are those
// numbers.
SLUICE_INLINE void settle_affine(const Groups<32>& groups, float d, float dmin, float last,
                                 Lanes& scales, Lanes& mins) {
  const Lanes first_scales = scales;
  const Lanes first_offset = mins * -dmin;
  const Lanes per_dmin = inverse(splat(dmin));
  Lanes best = grid_error(groups, {scales * d, first_offset}, 0.0f, last);
  for (float step = -1.0f; step <= 1.0f; step += 1.0f) {
    const Lanes tried_scales = smaller(larger(first_scales + step, Lanes{}), splat(kMaxSixBits));
    const Lanes scale = tried_scales * d;
    const Lanes per_unit = inverse(scale);
    Lanes w = {}, rests = {};
    for (int i = 0; i < 32; ++i) {
      const Lanes shifted = groups.value[i] - first_offset;
      const Lanes code = round_within(shifted * per_unit, 0.0f, last);
      w += groups.weight[i];
      rests += groups.weight[i] * (code * scale - groups.value[i]);
    }
    const Lanes tried_mins = round_within(rests * inverse(w) * per_dmin, 0.0f, kMaxSixBits);
    const Lanes error = grid_error(groups, {scale, tried_mins * -dmin}, 0.0f, last);
    const auto is_better = error < best;
    scales = is_better ? tried_scales : scales;
    mins = is_better ? tried_mins : mins;
    best = is_better ? error : best;
  }
}

SLUICE_INLINE void fit_affine_block(const float* values, float last, const Trials& trials,
                                    AffineBlock& block) {
  Groups<32> groups;
  load_groups(values, groups);
  weigh_by_size(groups);
  const Grid grid = search_affine(groups, last, trials);
  block.d = f32_to_f16(largest(grid.scale) / kMaxSixBits);
  block.dmin = f32_to_f16(largest(-grid.offset) / kMaxSixBits);
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  Lanes scales = round_within(grid.scale * inverse(splat(d)), 0.0f, kMaxSixBits);
  Lanes mins = round_within(-grid.offset * inverse(splat(dmin)), 0.0f, kMaxSixBits);
  settle_affine(groups, d, dmin, last, scales, mins);

  const Lanes per_unit = inverse(scales * d);
  for (int i = 0; i < 32; ++i) {
    const Lanes code = round_within((groups.value[i] + mins * dmin) * per_unit, 0.0f, last);
    for (int lane = 0; lane < kLanes; ++lane) {
      block.codes[lane * 32 + i] = static_cast<uint8_t>(code[lane]);
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    block.scales[lane] = static_cast<uint8_t>(scales[lane]);
    block.mins[lane] = static_cast<uint8_t>(mins[lane]);
  }
}

SLUICE_TARGET_CLONES void fit_q4_block(const float* values, AffineBlock& block) {
  fit_affine_block(values, 15.0f, {-1.0f, 21}, block);
}

SLUICE_TARGET_CLONES void fit_q5_block(const float* values, AffineBlock& block) {
  fit_affine_block(values, 31.0f, {-0.5f, 16}, block);
}

// The reverse of scale_and_min().
void pack_scales(const AffineBlock& block, uint8_t (&packed)[12]) {
  for (int group = 0; group < 4; ++group) {
    const int scale = block.scales[group + 4];
    const int min = block.mins[group + 4];
    packed[group] = static_cast<uint8_t>(block.scales[group] | scale >> 4 << 6);
    packed[group + 4] = static_cast<uint8_t>(block.mins[group] | min >> 4 << 6);
    packed[group + 8] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
  }
}

void pack_low_nibbles(const AffineBlock& block, uint8_t (&qs)[128]) {
  for (int i = 0; i < 128; ++i) {
    const uint8_t* codes = block.codes + i / 32 * 64 + i % 32;
    qs[i] = static_cast<uint8_t>((codes[0] & 15) | (codes[32] & 15) << 4);
  }
}

// A Q6_K block before its bits are packed.
struct SymmetricBlock {
  uint16_t d;
  int8_t scales[16];
  uint8_t codes[kSuperBlock];  // 0..63
};

// As settle_affine, for eight of the sixteen groups.
SLUICE_INLINE void settle_symmetric(const Groups<16>& groups, float d, Lanes& scales) {
  const Lanes first_scales = scales;
  Lanes best = grid_error(groups, Grid{scales * d}, -32.0f, 31.0f);
  for (const float step : {-1.0f, 1.0f}) {
    const Lanes tried = smaller(larger(first_scales + step, splat(-128.0f)), splat(127.0f));
    const Lanes error = grid_error(groups, Grid{tried * d}, -32.0f, 31.0f);
    const auto is_better = error < best;
    scales = is_better ? tried : scales;
    best = is_better ? error : best;
  }
}

SLUICE_TARGET_CLONES void fit_q6_block(const float* values, SymmetricBlock& block) {
  Groups<16> halves[2];
  Lanes fitted[2];
  float extreme = 0.0f;
  for (int half = 0; half < 2; ++half) {
    Groups<16>& groups = halves[half];
    load_groups(values + half * 128, groups);
    for (int i = 0; i < 16; ++i) groups.weight[i] = groups.value[i] * groups.value[i];
    fitted[half] = search_symmetric(groups, 32.0f, {-0.9f, 19}).scale;
    for (int lane = 0; lane < kLanes; ++lane) {
      if (std::fabs(fitted[half][lane]) > std::fabs(extreme)) extreme = fitted[half][lane];
    }
  }
  block.d = f32_to_f16(extreme / -128.0f);
  const float d = f16_to_f32(block.d);
  for (int half = 0; half < 2; ++half) {
    const Groups<16>& groups = halves[half];
    Lanes scales = round_within(fitted[half] * inverse(splat(d)), -128.0f, 127.0f);
    settle_symmetric(groups, d, scales);
    const Lanes per_unit = inverse(scales * d);
    for (int i = 0; i < 16; ++i) {
      const Lanes code = round_within(groups.value[i] * per_unit, -32.0f, 31.0f) + 32.0f;
      for (int lane = 0; lane < kLanes; ++lane) {
        block.codes[half * 128 + lane * 16 + i] = static_cast<uint8_t>(code[lane]);
      }
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      block.scales[half * kLanes + lane] = static_cast<int8_t>(scales[lane]);
    }
  }
}

}  // namespace

void decode_block(const BlockQ2_K& block, float* values) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(block.scales[group] & 15);
    const float min = dmin * static_cast<float>(block.scales[group] >> 4);
    const uint8_t* qs = block.qs + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) {
      values[group * 16 + i] = scale * static_cast<float>(qs[i] >> shift & 3) - min;
    }
  }
}

void decode_block(const BlockQ3_K& block, float* values) {
  const float d = f16_to_f32(block.d);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(q3_scale(block.scales, group) - 32);
    const uint8_t* qs = block.qs + group / 8 * 32 + group % 2 * 16;
    const uint8_t* hmask = block.hmask + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) {
      const int low = qs[i] >> shift & 3;
      const int high = hmask[i] >> (group / 2) & 1;
      values[group * 16 + i] = scale * static_cast<float>(low - (high ? 0 : 4));
    }
  }
}

void decode_block(const BlockQ4_K& block, float* values) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMin packed = scale_and_min(block.scales, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    const uint8_t* qs = block.qs + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      values[group * 32 + i] = scale * static_cast<float>(qs[i] >> shift & 15) - min;
    }
  }
}

void decode_block(const BlockQ5_K& block, float* values) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMin packed = scale_and_min(block.scales, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    const uint8_t* qs = block.qs + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int code = (qs[i] >> shift & 15) | (block.qh[i] >> group & 1) << 4;
      values[group * 32 + i] = scale * static_cast<float>(code) - min;
    }
  }
}

void decode_block(const BlockQ6_K& block, float* values) {
  const float d = f16_to_f32(block.d);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(block.scales[group]);
    // Within 128 elements, `row` counts runs of 32.
    const int row = group % 8 / 2;
    const int column = group % 2 * 16;
    const uint8_t* ql = block.ql + group / 8 * 64 + row % 2 * 32 + column;
    const uint8_t* qh = block.qh + group / 8 * 32 + column;
    for (int i = 0; i < 16; ++i) {
      const int code = (ql[i] >> (row / 2 * 4) & 15) | (qh[i] >> (row * 2) & 3) << 4;
      values[group * 16 + i] = scale * static_cast<float>(code - 32);
    }
  }
}

void encode_block(const float* values, BlockQ4_K& block) {
  AffineBlock fitted;
  fit_q4_block(values, fitted);
  block.d = fitted.d;
  block.dmin = fitted.dmin;
  pack_scales(fitted, block.scales);
  pack_low_nibbles(fitted, block.qs);
}

void encode_block(const float* values, BlockQ5_K& block) {
  AffineBlock fitted;
  fit_q5_block(values, fitted);
  block.d = fitted.d;
  block.dmin = fitted.dmin;
  pack_scales(fitted, block.scales);
  pack_low_nibbles(fitted, block.qs);
  for (int i = 0; i < 32; ++i) {
    int bits = 0;
    for (int group = 0; group < 8; ++group) bits |= fitted.codes[group * 32 + i] >> 4 << group;
    block.qh[i] = static_cast<uint8_t>(bits);
  }
}

void encode_block(const float* values, BlockQ6_K& block) {
  SymmetricBlock fitted;
  fit_q6_block(values, fitted);
  block.d = fitted.d;
  std::memcpy(block.scales, fitted.scales, sizeof(block.scales));
  for (int i = 0; i < 64; ++i) {
    const int half = i / 32 * 128;
    const uint8_t* codes = fitted.codes + half + i % 32;  // four runs of 32
    uint8_t* ql = block.ql + half / 2 + i % 32;
    ql[0] = static_cast<uint8_t>((codes[0] & 15) | (codes[64] & 15) << 4);
    ql[32] = static_cast<uint8_t>((codes[32] & 15) | (codes[96] & 15) << 4);
    block.qh[i] = static_cast<uint8_t>(codes[0] >> 4 | codes[32] >> 4 << 2 | codes[64] >> 4 << 4 |
                                       codes[96] >> 4 << 6);
  }
}

}  // namespace sluice::quant
