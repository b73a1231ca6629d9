// Blocks of 32 with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/target_clones.h"
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

// Loops here have no branches and compare integers, so that compilers can turn them into vectors.

// Truncates to 0..max_code; a NaN becomes 0.
inline uint8_t to_code(float shifted, int max_code) {
  const float most = static_cast<float>(max_code);
  const float bounded = shifted > 0.0f ? shifted : 0.0f;
  return static_cast<uint8_t>(static_cast<int>(bounded < most ? bounded : most));
}

constexpr int32_t kInfinityBits = 0x7f800000;

// 1 / d, with 0 for blocks of zeros.
inline float inverse(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

// The value of largest magnitude, the first of equals; NaNs do not count.
inline float signed_extreme(const float* values) {
  int32_t magnitudes[kBlock];  // as bits, which are ordered as what they mean
  int32_t largest = 0;
  for (int i = 0; i < kBlock; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(values[i]) & 0x7fffffff;
    magnitudes[i] = bits <= kInfinityBits ? bits : 0;
    largest = std::max(largest, magnitudes[i]);
  }
  int first = kBlock - 1;
  for (int i = 0; i < kBlock; ++i) first = std::min(first, magnitudes[i] == largest ? i : kBlock);
  return largest != 0 ? values[first] : 0.0f;
}

struct Range {
  float min, max;
};

// Of what is no NaN; the largest and the lowest float when nothing is.
inline Range range_of(const float* values) {
  // Bits of negative numbers are turned round to be ordered as the numbers are.
  const auto turned = [](int32_t bits) { return bits ^ (bits >> 31 & 0x7fffffff); };
  int32_t min = std::bit_cast<int32_t>(std::numeric_limits<float>::max());
  int32_t max = turned(std::bit_cast<int32_t>(std::numeric_limits<float>::lowest()));
  for (int i = 0; i < kBlock; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(values[i]);
    const bool is_number = (bits & 0x7fffffff) <= kInfinityBits;
    const int32_t key = turned(bits);
    min = std::min(min, is_number ? key : min);
    max = std::max(max, is_number ? key : max);
  }
  return {std::bit_cast<float>(turned(min)), std::bit_cast<float>(turned(max))};
}

inline void pack_nibbles(const uint8_t (&codes)[kBlock], uint8_t (&qs)[kHalfBlock]) {
  for (int i = 0; i < kHalfBlock; ++i) {
    qs[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + kHalfBlock] & 15) << 4);
  }
}

inline void pack_high_bits(const uint8_t (&codes)[kBlock], uint8_t (&qh)[4]) {
  uint32_t bits = 0;
  for (int i = 0; i < kBlock; ++i) bits |= static_cast<uint32_t>(codes[i] >> 4) << i;
  std::memcpy(qh, &bits, sizeof(bits));
}

// Codes of value = d * (code - max_code / 2 - 1/2): the extreme takes code 0.
inline float encode_symmetric(const float* values, int max_code, uint8_t (&codes)[kBlock]) {
  const int zero_code = (max_code + 1) / 2;
  const float d = signed_extreme(values) / static_cast<float>(-zero_code);
  const float scale = inverse(d);
  const float shift = static_cast<float>(zero_code) + 0.5f;
  for (int i = 0; i < kBlock; ++i) codes[i] = to_code(values[i] * scale + shift, max_code);
  return d;
}

// Codes of value = d * code + range.min.
inline float encode_with_min(const float* values, const Range& range, int max_code,
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

SLUICE_TARGET_CLONES void encode_block(const float* values, BlockQ4_0& block) {
  uint8_t codes[kBlock];
  block.d = f32_to_f16(encode_symmetric(values, 15, codes));
  pack_nibbles(codes, block.qs);
}

SLUICE_TARGET_CLONES void encode_block(const float* values, BlockQ4_1& block) {
  uint8_t codes[kBlock];
  const Range range = range_of(values);
  block.d = f32_to_f16(encode_with_min(values, range, 15, codes));
  block.m = f32_to_f16(range.min);
  pack_nibbles(codes, block.qs);
}

SLUICE_TARGET_CLONES void encode_block(const float* values, BlockQ5_0& block) {
  uint8_t codes[kBlock];
  block.d = f32_to_f16(encode_symmetric(values, 31, codes));
  pack_nibbles(codes, block.qs);
  pack_high_bits(codes, block.qh);
}

SLUICE_TARGET_CLONES void encode_block(const float* values, BlockQ5_1& block) {
  uint8_t codes[kBlock];
  const Range range = range_of(values);
  block.d = f32_to_f16(encode_with_min(values, range, 31, codes));
  block.m = f32_to_f16(range.min);
  pack_nibbles(codes, block.qs);
  pack_high_bits(codes, block.qh);
}

SLUICE_TARGET_CLONES void encode_block(const float* values, BlockQ8_0& block) {
  const float d = std::fabs(signed_extreme(values)) / 127.0f;
  const float scale = inverse(d);
  block.d = f32_to_f16(d);
  // Halves go away from zero, as the reference has it. What is added is a half, less its last bit:
  // the sum of it and the float before a half must stay below 1.
  constexpr float kHalf = 0x1.fffffep-2f;
  for (int i = 0; i < kBlock; ++i) {
    const float code = values[i] * scale;
    const float shifted = code + (code < 0.0f ? -kHalf : kHalf);
    const bool in_range = shifted > -128.0f && shifted < 128.0f;  // false for NaN
    block.qs[i] = static_cast<int8_t>(static_cast<int>(in_range ? shifted : 0.0f));
  }
}

}  // namespace sluice::quant
