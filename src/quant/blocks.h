#pragma once

#include <cstdint>

namespace sluice::quant {

// Layouts of the block formats as they lie in a file, little-endian, without padding. The one place
// that writes them down; kernels that repack start from these.
// d and m fields are IEEE halves. Source: the block_* structures of ggml-common.h.

constexpr int kSuperBlock = 256;  // elements of a K-quant or IQ4_XS block

struct BlockQ4_0 {  // value = d * (q - 8)
  uint16_t d;
  uint8_t qs[16];  // low nibbles: elements 0..15, high nibbles: elements 16..31
};
struct BlockQ4_1 {  // value = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];  // as Q4_0
};
struct BlockQ5_0 {  // value = d * (q - 16)
  uint16_t d;
  uint8_t qh[4];   // bit i of the 32: fifth bit of element i
  uint8_t qs[16];  // as Q4_0
};
struct BlockQ5_1 {  // value = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};
struct BlockQ8_0 {  // value = d * q
  uint16_t d;
  int8_t qs[32];
};

struct BlockQ2_K {     // 16 groups of 16; value = d * scale * q - dmin * min
  uint8_t scales[16];  // a group: scale in the low nibble, min in the high one
  uint8_t qs[64];      // 32 bytes hold 128 elements: bits 0-1 the first 32 of them, and so on
  uint16_t d;
  uint16_t dmin;
};
struct BlockQ3_K {     // 16 groups of 16; value = d * (scale - 32) * q, q in -4..3
  uint8_t hmask[32];   // bit k of byte j: third bit of element 32 k + j; clear means subtract 4
  uint8_t qs[64];      // as Q2_K
  uint8_t scales[12];  // 16 scales of 6 bits: low nibbles in bytes 0..7, high bits in bytes 8..11
  uint16_t d;
};
struct BlockQ4_K {  // 8 groups of 32; value = d * scale * q - dmin * min
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  // 8 scales and 8 mins of 6 bits; see scale_and_min()
  uint8_t qs[128];     // 32 bytes hold 64 elements: low nibbles the first 32 of them
};
struct BlockQ5_K {  // as Q4_K with a fifth bit
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];  // bit g of byte j: fifth bit of element 32 g + j
  uint8_t qs[128];
};
struct BlockQ6_K {  // 16 groups of 16; value = d * scale * (q - 32)
  uint8_t ql[128];  // low 4 bits; 64 bytes hold 128 elements
  uint8_t qh[64];   // high 2 bits; 32 bytes hold 128 elements
  int8_t scales[16];
  uint16_t d;
};

struct BlockIQ4_NL {  // value = d * kIQ4Values[q]
  uint16_t d;
  uint8_t qs[16];  // as Q4_0
};
struct BlockIQ4_XS {  // 8 groups of 32; value = d * (scale - 32) * kIQ4Values[q]
  uint16_t d;
  uint16_t scales_h;    // 2 high bits of each scale
  uint8_t scales_l[4];  // 4 low bits, two scales a byte
  uint8_t qs[128];      // 16 bytes a group, as Q4_0
};
struct BlockMXFP4 {  // value = 2^(e - 128) * kMXFP4Values[q]
  uint8_t e;
  uint8_t qs[16];  // as Q4_0
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);
static_assert(sizeof(BlockIQ4_NL) == 18 && sizeof(BlockIQ4_XS) == 136);
static_assert(sizeof(BlockMXFP4) == 17);

// Codebooks; MXFP4's are the sixteen E2M1 floats, doubled.
constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
constexpr int8_t kMXFP4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

struct ScaleAndMin {
  uint8_t scale;
  uint8_t min;
};

// The 6-bit scale and min of `group` (0..7) of a Q4_K or Q5_K block. Groups 0..3 lie in the low six
// bits of bytes 0..7; groups 4..7 have their low nibbles in bytes 8..11 and their high bits in the
// top of bytes 0..7.
constexpr ScaleAndMin scale_and_min(const uint8_t (&packed)[12], int group) {
  if (group < 4) {
    return {static_cast<uint8_t>(packed[group] & 63), static_cast<uint8_t>(packed[group + 4] & 63)};
  }
  const int low = packed[group + 4];
  return {static_cast<uint8_t>((low & 15) | (packed[group - 4] >> 6 << 4)),
          static_cast<uint8_t>((low >> 4) | (packed[group] >> 6 << 4))};
}

}  // namespace sluice::quant
