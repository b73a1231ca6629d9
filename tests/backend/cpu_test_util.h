#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "quant/codec.h"

namespace sluice::backend::cpu {

inline constexpr quant::Type kAllTypes[] = {
    quant::Type::kF32,  quant::Type::kF16,    quant::Type::kBF16,   quant::Type::kQ4_0,
    quant::Type::kQ4_1, quant::Type::kQ5_0,   quant::Type::kQ5_1,   quant::Type::kQ8_0,
    quant::Type::kQ2_K, quant::Type::kQ3_K,   quant::Type::kQ4_K,   quant::Type::kQ5_K,
    quant::Type::kQ6_K, quant::Type::kIQ4_NL, quant::Type::kIQ4_XS, quant::Type::kMXFP4};

inline bool is_float_type(quant::Type type) {
  return type == quant::Type::kF32 || type == quant::Type::kF16 || type == quant::Type::kBF16;
}

// Where a block's f16 fields lie.
inline std::vector<int> half_fields(quant::Type type) {
  switch (type) {
    case quant::Type::kQ4_1:
    case quant::Type::kQ5_1:
    case quant::Type::kQ4_K:
    case quant::Type::kQ5_K:
      return {0, 2};
    case quant::Type::kQ2_K:
      return {80, 82};
    case quant::Type::kQ3_K:
      return {108};
    case quant::Type::kQ6_K:
      return {208};
    case quant::Type::kMXFP4:
      return {};
    default:
      return {0};
  }
}

// The largest |w| / d of a type.
inline float largest_multiple(quant::Type type) {
  switch (type) {
    case quant::Type::kQ5_0:
    case quant::Type::kQ5_1:
      return 16.0f;
    case quant::Type::kQ8_0:
    case quant::Type::kIQ4_NL:
    case quant::Type::kQ3_K:
      return 128.0f;
    case quant::Type::kQ2_K:
      return 45.0f;
    case quant::Type::kQ4_K:
      return 945.0f;
    case quant::Type::kQ5_K:
      return 1953.0f;
    case quant::Type::kQ6_K:
    case quant::Type::kIQ4_XS:
      return 4096.0f;
    default:
      return 8.0f;
  }
}

// `count` elements of random valid blocks; |values| up to about `size`.
inline std::vector<std::byte> random_tensor(quant::Type type, int64_t count, std::mt19937& random,
                                            float size = 0.02f) {
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<std::byte> bytes(quant::size_bytes(type, count));
  if (is_float_type(type)) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = size * uniform(random);
    quant::quantize(type, values.data(), bytes.data(), count);
    return bytes;
  }
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  const quant::TypeInfo& info = quant::type_info(type);
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(info.block_bytes)) {
    for (int field : half_fields(type)) {
      const float d = size * (0.6f + 0.4f * uniform(random)) / largest_multiple(type);
      const uint16_t half = quant::f32_to_f16(d);
      std::memcpy(bytes.data() + at + static_cast<size_t>(field), &half, 2);
    }
    if (type == quant::Type::kMXFP4) bytes[at] = static_cast<std::byte>(118 + random() % 6);
  }
  return bytes;
}

inline std::vector<float> random_floats(size_t count, std::mt19937& random, float size = 1.0f) {
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// The instruction sets this processor can run, as CpuOptions::force_isa names them.
inline std::vector<std::string> isas_here() {
  std::vector<std::string> names = {"generic"};
  if (cpu_features().avx2) names.push_back("avx2");
  if (cpu_features().avx512_vnni) names.push_back("avx512");
  if (cpu_features().amx) names.push_back("amx");
  return names;
}

}  // namespace sluice::backend::cpu
