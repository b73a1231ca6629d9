// Super-blocks of 256 whose groups have small integer scales: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
// The order of the multiplications is the reference's, so that results agree to the bit.
#include "quant/codec.h"
#include "quant/families.h"

namespace sluice::quant {
namespace {

// The 6-bit scale of `group` (0..15) of a Q3_K block, biased by 32.
int q3_scale(const uint8_t (&packed)[12], int group) {
  const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
  const int high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
  return low | high << 4;
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

}  // namespace sluice::quant
