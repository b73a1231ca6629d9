#include "quant/types.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "quant/blocks.h"

namespace sluice::quant {
namespace {

constexpr std::array kTypes = {
    TypeInfo{Type::kF32, "F32", 1, 4},
    TypeInfo{Type::kF16, "F16", 1, 2},
    TypeInfo{Type::kQ4_0, "Q4_0", 32, sizeof(BlockQ4_0)},
    TypeInfo{Type::kQ4_1, "Q4_1", 32, sizeof(BlockQ4_1)},
    TypeInfo{Type::kQ5_0, "Q5_0", 32, sizeof(BlockQ5_0)},
    TypeInfo{Type::kQ5_1, "Q5_1", 32, sizeof(BlockQ5_1)},
    TypeInfo{Type::kQ8_0, "Q8_0", 32, sizeof(BlockQ8_0)},
    TypeInfo{Type::kQ2_K, "Q2_K", 256, sizeof(BlockQ2_K)},
    TypeInfo{Type::kQ3_K, "Q3_K", 256, sizeof(BlockQ3_K)},
    TypeInfo{Type::kQ4_K, "Q4_K", 256, sizeof(BlockQ4_K)},
    TypeInfo{Type::kQ5_K, "Q5_K", 256, sizeof(BlockQ5_K)},
    TypeInfo{Type::kQ6_K, "Q6_K", 256, sizeof(BlockQ6_K)},
    TypeInfo{Type::kIQ4_NL, "IQ4_NL", 32, sizeof(BlockIQ4_NL)},
    TypeInfo{Type::kIQ4_XS, "IQ4_XS", 256, sizeof(BlockIQ4_XS)},
    TypeInfo{Type::kBF16, "BF16", 1, 2},
    TypeInfo{Type::kMXFP4, "MXFP4", 32, sizeof(BlockMXFP4)},
};

// Every number the format has given out, indexed by it; those of removed types too.
constexpr std::array<std::string_view, 43> kNames = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",    "NVFP4",    "Q1_0",
    "Q2_0",
};

}  // namespace

const TypeInfo* find_type(uint32_t raw_type) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(), [raw_type](const TypeInfo& info) {
    return static_cast<uint32_t>(info.type) == raw_type;
  });
  return found == kTypes.end() ? nullptr : &*found;
}

const TypeInfo* find_type(std::string_view name) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(),
                                  [name](const TypeInfo& info) { return info.name == name; });
  return found == kTypes.end() ? nullptr : &*found;
}

std::string_view type_name_or_empty(uint32_t raw_type) {
  return raw_type < kNames.size() ? kNames[raw_type] : std::string_view();
}

const TypeInfo& type_info(Type type) {
  const TypeInfo* info = find_type(static_cast<uint32_t>(type));
  if (info == nullptr) {
    throw Error(ErrorCode::kInternal,
                "tensor type " + std::to_string(static_cast<uint32_t>(type)) + " has no layout");
  }
  return *info;
}

size_t size_bytes(Type type, int64_t num_elements) {
  const TypeInfo& info = type_info(type);
  if (num_elements < 0 || num_elements % info.block_elements != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                std::to_string(num_elements) + " values of type " + std::string(info.name) +
                    " are not whole blocks of " + std::to_string(info.block_elements));
  }
  return static_cast<size_t>(num_elements / info.block_elements) *
         static_cast<size_t>(info.block_bytes);
}

}  // namespace sluice::quant
