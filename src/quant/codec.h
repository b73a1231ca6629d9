#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "quant/half.h"
#include "quant/types.h"

namespace sluice::quant {

// Decodes `num_elements` values (a multiple of the type's block size) from `blocks` into `values`,
// bit for bit as the reference (ggml, and PyPI's gguf) does.
void dequantize(Type type, const std::byte* blocks, float* values, int64_t num_elements);

// Encodes; the same size rules. Throws Error(kUnsupported) for types we only read.
void quantize(Type type, const float* values, std::byte* blocks, int64_t num_elements);

}  // namespace sluice::quant
