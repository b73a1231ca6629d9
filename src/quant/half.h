#pragma once

#include <bit>
#include <cstdint>

namespace sluice::quant {

// IEEE half and bfloat16, round to nearest even. Without branches, so that loops over them become
// vectors; always inlined, as files compiled for newer processors may not share code with others.

namespace half_detail {
// Half and float differ by this much in exponent bias, in the place of a float's exponent.
constexpr uint32_t kBiasDifference = (127u - 15u) << 23;
}  // namespace half_detail

[[gnu::always_inline]] constexpr float f16_to_f32(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = half & 0x7c00u;
  const uint32_t mantissa = half & 0x3ffu;
  const uint32_t denormal =
      std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(mantissa)) * 0x1p-24f);
  const uint32_t normal = ((exponent | mantissa) << 13) + half_detail::kBiasDifference;
  // Infinity and NaN stay so.
  const uint32_t finite_or_not =
      exponent == 0x7c00u ? normal + half_detail::kBiasDifference : normal;
  return std::bit_cast<float>(sign | (exponent == 0 ? denormal : finite_or_not));
}

[[gnu::always_inline]] constexpr uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Below 2^-14 halves are denormal. The unit in the last place of 0.5 is theirs, so the addition
  // rounds. (A NaN need not be added.)
  const uint32_t small = magnitude < 0x38800000u ? magnitude : 0u;
  const uint32_t denormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(small) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  const uint32_t odd = magnitude >> 13 & 1u;
  const uint32_t normal = (magnitude + 0xfffu + odd - half_detail::kBiasDifference) >> 13;
  const uint32_t finite = magnitude < 0x38800000u ? denormal : normal;
  const uint32_t bounded = magnitude >= 0x477ff000u ? 0x7c00u : finite;  // 65520 rounds beyond
  return static_cast<uint16_t>(sign | (magnitude > 0x7f800000u ? 0x7e00u : bounded));
}

[[gnu::always_inline]] constexpr float bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

[[gnu::always_inline]] constexpr uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>(is_nan ? bits >> 16 | 0x40u : rounded);
}

}  // namespace sluice::quant
