// Blocks of 32 with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
#include <cmath>
#include <cstring>
#include <limits>

#include "quant/codec.h"
#include "quant/families.h"

namespace sluice::quant {
namespace {

constexpr int kBlock = 32;
constexpr int kHalfBlock = kBlock / 2;

uint32_t high_bits(const uint8_t (&qh)[4]) {
  uint32_t bits = 0;
  std::memcpy(&bits, qh, sizeof(bits));
  return bits;
}

// Truncates to 0..max_code; a NaN becomes 0.
uint8_t to_code(float shifted, int max_code) {
  if (!(shifted > 0.0f)) return 0;
  if (shifted >= static_cast<float>(max_code)) return static_cast<uint8_t>(max_code);
  return static_cast<uint8_t>(shifted);
}

// 1 / d, with 0 for blocks of zeros.
float inverse(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

// The value of largest magnitude, the first of equals.
float signed_extreme(const float* values) {
  float largest = 0.0f;
  float extreme = 0.0f;
  for (int i = 0; i < kBlock; ++i) {
    if (std::fabs(values[i]) > largest) {
      largest = std::fabs(values[i]);
      extreme = values[i];
    }
  }
  return extreme;
}

struct Range {
  float min = std::numeric_limits<float>::max();
  float max = std::numeric_limits<float>::lowest();
};

Range range_of(const float* values) {
  Range range;
  for (int i = 0; i < kBlock; ++i) {
    if (values[i] < range.min) range.min = values[i];
    if (values[i] > range.max) range.max = values[i];
  }
  return range;
}

void pack_nibbles(const uint8_t (&codes)[kBlock], uint8_t (&qs)[kHalfBlock]) {
  for (int i = 0; i < kHalfBlock; ++i) {
    qs[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + kHalfBlock] & 15) << 4);
  }
}

void pack_high_bits(const uint8_t (&codes)[kBlock], uint8_t (&qh)[4]) {
  uint32_t bits = 0;
  for (int i = 0; i < kBlock; ++i) bits |= static_cast<uint32_t>(codes[i] >> 4) << i;
  std::memcpy(qh, &bits, sizeof(bits));
}

// Codes of value = d * (code - max_code / 2 - 1/2): the extreme takes code 0.
float encode_symmetric(const float* values, int max_code, uint8_t (&codes)[kBlock]) {
  const int zero_code = (max_code + 1) / 2;
  const float d = signed_extreme(values) / static_cast<float>(-zero_code);
  const float scale = inverse(d);
  const float shift = static_cast<float>(zero_code) + 0.5f;
  for (int i = 0; i < kBlock; ++i) codes[i] = to_code(values[i] * scale + shift, max_code);
  return d;
}

// Codes of value = d * code + range.min.
float encode_with_min(const float* values, const Range& range, int max_code,
                      uint8_t (&codes)[kBlock]) {
  const float d = (range.max - range.min) / static_cast<float>(max_code);
  const float scale = inverse(d);
  for (int i = 0; i < kBlock; ++i) {
    codes[i] = to_code((values[i] - range.min) * scale + 0.5f, max_code);
  }
  return d;
}

}  // namespace

void decode_block(const BlockQ4_0& block, float* values) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < kHalfBlock; ++i) {
    values[i] = static_cast<float>((block.qs[i] & 15) - 8) * d;
    values[i + kHalfBlock] = static_cast<float>((block.qs[i] >> 4) - 8) * d;
  }
}

void decode_block(const BlockQ4_1& block, float* values) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  for (int i = 0; i < kHalfBlock; ++i) {
    values[i] = static_cast<float>(block.qs[i] & 15) * d + m;
    values[i + kHalfBlock] = static_cast<float>(block.qs[i] >> 4) * d + m;
  }
}

void decode_block(const BlockQ5_0& block, float* values) {
  const float d = f16_to_f32(block.d);
  const uint32_t high = high_bits(block.qh);
  for (int i = 0; i < kHalfBlock; ++i) {
    const int low_code = (block.qs[i] & 15) | static_cast<int>(high >> i & 1u) << 4;
    const int high_code = (block.qs[i] >> 4) | static_cast<int>(high >> (i + 16) & 1u) << 4;
    values[i] = static_cast<float>(low_code - 16) * d;
    values[i + kHalfBlock] = static_cast<float>(high_code - 16) * d;
  }
}

void decode_block(const BlockQ5_1& block, float* values) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  const uint32_t high = high_bits(block.qh);
  for (int i = 0; i < kHalfBlock; ++i) {
    const int low_code = (block.qs[i] & 15) | static_cast<int>(high >> i & 1u) << 4;
    const int high_code = (block.qs[i] >> 4) | static_cast<int>(high >> (i + 16) & 1u) << 4;
    values[i] = static_cast<float>(low_code) * d + m;
    values[i + kHalfBlock] = static_cast<float>(high_code) * d + m;
  }
}

void decode_block(const BlockQ8_0& block, float* values) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < kBlock; ++i) values[i] = static_cast<float>(block.qs[i]) * d;
}

void encode_block(const float* values, BlockQ4_0& block) {
  uint8_t codes[kBlock];
  block.d = f32_to_f16(encode_symmetric(values, 15, codes));
  pack_nibbles(codes, block.qs);
}

void encode_block(const float* values, BlockQ4_1& block) {
  uint8_t codes[kBlock];
  const Range range = range_of(values);
  block.d = f32_to_f16(encode_with_min(values, range, 15, codes));
  block.m = f32_to_f16(range.min);
  pack_nibbles(codes, block.qs);
}

void encode_block(const float* values, BlockQ5_0& block) {
  uint8_t codes[kBlock];
  block.d = f32_to_f16(encode_symmetric(values, 31, codes));
  pack_nibbles(codes, block.qs);
  pack_high_bits(codes, block.qh);
}

void encode_block(const float* values, BlockQ5_1& block) {
  uint8_t codes[kBlock];
  const Range range = range_of(values);
  block.d = f32_to_f16(encode_with_min(values, range, 31, codes));
  block.m = f32_to_f16(range.min);
  pack_nibbles(codes, block.qs);
  pack_high_bits(codes, block.qh);
}

void encode_block(const float* values, BlockQ8_0& block) {
  const float d = std::fabs(signed_extreme(values)) / 127.0f;
  const float scale = inverse(d);
  block.d = f32_to_f16(d);
  for (int i = 0; i < kBlock; ++i) {
    const float code = std::round(values[i] * scale);  // halves away from zero, as the reference
    const bool in_range = code >= -127.0f && code <= 127.0f;  // false for NaN
    block.qs[i] = static_cast<int8_t>(in_range ? code : 0.0f);
  }
}

}  // namespace sluice::quant
