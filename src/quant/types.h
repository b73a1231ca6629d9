#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::quant {

// Element types of GGUF tensors, with the numbers the format gives them.
// Source: the GGUF specification (ggml/docs/gguf.md), enum ggml_type.
enum class Type : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
  kMXFP4 = 39,
};

// Elements are stored in blocks of `block_elements` consecutive values of one row.
struct TypeInfo {
  Type type;
  std::string_view name;  // as GGUF tools spell it: "Q4_K"
  int block_elements;
  int block_bytes;
};

// Null when the number, or the name, means no type we can decode.
const TypeInfo* find_type(uint32_t raw_type);
const TypeInfo* find_type(std::string_view name);

// Name of any type number the format has ever defined, also of those we cannot decode ("IQ2_XXS");
// empty otherwise. For error messages.
std::string_view type_name_or_empty(uint32_t raw_type);

// `type` must be one of the enumerators.
const TypeInfo& type_info(Type type);

// Bytes of `num_elements` values; num_elements must be a multiple of the block size.
size_t size_bytes(Type type, int64_t num_elements);

}  // namespace sluice::quant
