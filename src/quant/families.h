#pragma once

#include <cstdint>

#include "quant/blocks.h"

namespace sluice::quant {

// One block each way; `values` holds the block's elements. The families' files implement these for
// the block structures; codec.cpp walks the rows.
void decode_block(const BlockQ4_0& block, float* values);
void decode_block(const BlockQ4_1& block, float* values);
void decode_block(const BlockQ5_0& block, float* values);
void decode_block(const BlockQ5_1& block, float* values);
void decode_block(const BlockQ8_0& block, float* values);
void decode_block(const BlockQ2_K& block, float* values);
void decode_block(const BlockQ3_K& block, float* values);
void decode_block(const BlockQ4_K& block, float* values);
void decode_block(const BlockQ5_K& block, float* values);
void decode_block(const BlockQ6_K& block, float* values);
void decode_block(const BlockIQ4_NL& block, float* values);
void decode_block(const BlockIQ4_XS& block, float* values);
void decode_block(const BlockMXFP4& block, float* values);

void encode_block(const float* values, BlockQ4_0& block);
void encode_block(const float* values, BlockQ4_1& block);
void encode_block(const float* values, BlockQ5_0& block);
void encode_block(const float* values, BlockQ5_1& block);
void encode_block(const float* values, BlockQ8_0& block);
void encode_block(const float* values, BlockQ4_K& block);
void encode_block(const float* values, BlockQ5_K& block);
void encode_block(const float* values, BlockQ6_K& block);

}  // namespace sluice::quant
