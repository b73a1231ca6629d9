// Four-bit codes that look values up: IQ4_NL, IQ4_XS, MXFP4.
#include <bit>

#include "quant/codec.h"
#include "quant/families.h"

namespace sluice::quant {
namespace {

// 32 values from 16 bytes: low nibbles first.
void look_up(const int8_t (&codebook)[16], const uint8_t* qs, float scale, float* values) {
  for (int i = 0; i < 16; ++i) {
    values[i] = scale * static_cast<float>(codebook[qs[i] & 15]);
    values[i + 16] = scale * static_cast<float>(codebook[qs[i] >> 4]);
  }
}

// 2^(exponent - 128): the codebook is doubled, so this is half of the E8M0 scale.
float mxfp4_scale(uint8_t exponent) {
  if (exponent < 2) return std::bit_cast<float>(uint32_t{0x00200000} << exponent);  // denormal
  return std::bit_cast<float>(static_cast<uint32_t>(exponent - 1) << 23);
}

}  // namespace

void decode_block(const BlockIQ4_NL& block, float* values) {
  look_up(kIQ4Values, block.qs, f16_to_f32(block.d), values);
}

void decode_block(const BlockIQ4_XS& block, float* values) {
  const float d = f16_to_f32(block.d);
  for (int group = 0; group < 8; ++group) {
    const int low = block.scales_l[group / 2] >> (group % 2 * 4) & 15;
    const int high = block.scales_h >> (group * 2) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    look_up(kIQ4Values, block.qs + group * 16, scale, values + group * 32);
  }
}

void decode_block(const BlockMXFP4& block, float* values) {
  look_up(kMXFP4Values, block.qs, mxfp4_scale(block.e), values);
}

}  // namespace sluice::quant
