#include "quant/codec.h"

#include <bit>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/target_clones.h"
#include "quant/families.h"

namespace sluice::quant {
namespace {

static_assert(std::endian::native == std::endian::little, "block formats are little-endian");

// Blocks are copied out one at a time: they need no alignment then.
template <typename Block>
void decode_blocks(const std::byte* blocks, float* values, int64_t num_blocks, int elements) {
  for (int64_t i = 0; i < num_blocks; ++i) {
    Block block;
    std::memcpy(&block, blocks + i * static_cast<int64_t>(sizeof(Block)), sizeof(Block));
    decode_block(block, values + i * elements);
  }
}

template <typename Block>
void encode_blocks(const float* values, std::byte* blocks, int64_t num_blocks, int elements) {
  for (int64_t i = 0; i < num_blocks; ++i) {
    Block block;
    encode_block(values + i * elements, block);
    std::memcpy(blocks + i * static_cast<int64_t>(sizeof(Block)), &block, sizeof(Block));
  }
}

// `restrict`: compilers need not look at whether the two overlap.
SLUICE_TARGET_CLONES void decode_f16(const std::byte* blocks, float* __restrict values,
                                     int64_t num_elements) {
  for (int64_t i = 0; i < num_elements; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, blocks + 2 * i, sizeof(bits));
    values[i] = f16_to_f32(bits);
  }
}

SLUICE_TARGET_CLONES void decode_bf16(const std::byte* blocks, float* __restrict values,
                                      int64_t num_elements) {
  for (int64_t i = 0; i < num_elements; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, blocks + 2 * i, sizeof(bits));
    values[i] = bf16_to_f32(bits);
  }
}

SLUICE_TARGET_CLONES void encode_f16(const float* values, std::byte* __restrict blocks,
                                     int64_t num_elements) {
  for (int64_t i = 0; i < num_elements; ++i) {
    const uint16_t bits = f32_to_f16(values[i]);
    std::memcpy(blocks + 2 * i, &bits, sizeof(bits));
  }
}

SLUICE_TARGET_CLONES void encode_bf16(const float* values, std::byte* __restrict blocks,
                                      int64_t num_elements) {
  for (int64_t i = 0; i < num_elements; ++i) {
    const uint16_t bits = f32_to_bf16(values[i]);
    std::memcpy(blocks + 2 * i, &bits, sizeof(bits));
  }
}

}  // namespace

void dequantize(Type type, const std::byte* blocks, float* values, int64_t num_elements) {
  const size_t num_bytes = size_bytes(type, num_elements);  // refuses a part of a block
  const int elements = type_info(type).block_elements;
  const int64_t count = num_elements / elements;
  if (count == 0) return;
  switch (type) {
    case Type::kF32:
      std::memcpy(values, blocks, num_bytes);
      return;
    case Type::kF16:
      return decode_f16(blocks, values, count);
    case Type::kBF16:
      return decode_bf16(blocks, values, count);
    case Type::kQ4_0:
      return decode_blocks<BlockQ4_0>(blocks, values, count, elements);
    case Type::kQ4_1:
      return decode_blocks<BlockQ4_1>(blocks, values, count, elements);
    case Type::kQ5_0:
      return decode_blocks<BlockQ5_0>(blocks, values, count, elements);
    case Type::kQ5_1:
      return decode_blocks<BlockQ5_1>(blocks, values, count, elements);
    case Type::kQ8_0:
      return decode_blocks<BlockQ8_0>(blocks, values, count, elements);
    case Type::kQ2_K:
      return decode_blocks<BlockQ2_K>(blocks, values, count, elements);
    case Type::kQ3_K:
      return decode_blocks<BlockQ3_K>(blocks, values, count, elements);
    case Type::kQ4_K:
      return decode_blocks<BlockQ4_K>(blocks, values, count, elements);
    case Type::kQ5_K:
      return decode_blocks<BlockQ5_K>(blocks, values, count, elements);
    case Type::kQ6_K:
      return decode_blocks<BlockQ6_K>(blocks, values, count, elements);
    case Type::kIQ4_NL:
      return decode_blocks<BlockIQ4_NL>(blocks, values, count, elements);
    case Type::kIQ4_XS:
      return decode_blocks<BlockIQ4_XS>(blocks, values, count, elements);
    case Type::kMXFP4:
      return decode_blocks<BlockMXFP4>(blocks, values, count, elements);
  }
}

void quantize(Type type, const float* values, std::byte* blocks, int64_t num_elements) {
  const size_t num_bytes = size_bytes(type, num_elements);
  const int elements = type_info(type).block_elements;
  const int64_t count = num_elements / elements;
  switch (type) {
    case Type::kF32:
      if (num_bytes > 0) std::memcpy(blocks, values, num_bytes);
      return;
    case Type::kF16:
      return encode_f16(values, blocks, count);
    case Type::kBF16:
      return encode_bf16(values, blocks, count);
    case Type::kQ4_0:
      return encode_blocks<BlockQ4_0>(values, blocks, count, elements);
    case Type::kQ4_1:
      return encode_blocks<BlockQ4_1>(values, blocks, count, elements);
    case Type::kQ5_0:
      return encode_blocks<BlockQ5_0>(values, blocks, count, elements);
    case Type::kQ5_1:
      return encode_blocks<BlockQ5_1>(values, blocks, count, elements);
    case Type::kQ8_0:
      return encode_blocks<BlockQ8_0>(values, blocks, count, elements);
    case Type::kQ4_K:
      return encode_blocks<BlockQ4_K>(values, blocks, count, elements);
    case Type::kQ5_K:
      return encode_blocks<BlockQ5_K>(values, blocks, count, elements);
    case Type::kQ6_K:
      return encode_blocks<BlockQ6_K>(values, blocks, count, elements);
    default:
      throw Error(ErrorCode::kUnsupported,
                  "quantizing to " + std::string(type_info(type).name) +
                      " is not supported; use F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1 "
                      "or Q4_0");
  }
}

}  // namespace sluice::quant
