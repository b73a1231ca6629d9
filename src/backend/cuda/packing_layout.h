#pragma once

// How matrices lie in a GPU's memory, and what the file's formats are beside that. The one place
// that writes the layout down: packing_tiles.h brings rows into it and back; the products have
// decoders of their own, which the tests hold against that.
//
// A matrix is cut into tiles of 16 rows, a tile into chunks of 256 columns, a chunk into quarters
// of 64, so that a warp reads a chunk with 16 bytes a lane, everything that it needs beside the
// codes, and nothing twice:
//
//   matrix   | tile 0 | tile 1 | ...                      rows 0..15, 16..31, ...
//   tile     | chunk 0 | chunk 1 | ... | last chunk       columns 0..255, 256..511, ...
//   chunk    | quarter 0 | ... | quarter 3 | scales       codes of 64 columns each
//
// No bytes are added to the file's, but for rows and columns that do not fill a tile or a quarter
// (the last chunk of a row may have fewer quarters, never fewer scales).
//
// Lanes hold codes where the A operand of mma.m16n8k16 wants them (ptx.cuh): lane = 4 g + t has
// rows g and g + 8 of the tile, and of a block of 32 columns an octet: four pairs, p = 0..3, of
// columns 2 t + 8 p and the next; that is two steps of 16:
//
//            a0             a1                 a2             a3
//   step 0   row g, pair 0  row g + 8, pair 0  row g, pair 1  row g + 8, pair 1
//   step 1   row g, pair 2  row g + 8, pair 2  row g, pair 3  row g + 8, pair 3
//
// A pair is two halves of a word: what stands at bit b of the first is at bit 16 + b of the second.
// The codes' bits are placed so that few masks and shifts make halves of them: as the bits of a
// half, a code of up to 10 bits is the (denormal, exact) number code * 2^-24, and code * 2^(s-24)
// if it stands s bits higher (pair_shift()), for which B makes up.

#include <bit>
#include <cstddef>
#include <cstdint>

#include "quant/blocks.h"
#include "quant/half.h"
#include "quant/types.h"

#ifdef __CUDACC__
#define SLUICE_ANYWHERE __host__ __device__ inline
#else
#define SLUICE_ANYWHERE inline
#endif

namespace sluice::backend::cuda {

inline constexpr int kTileRows = 16;
inline constexpr int kBlockColumns = 32;
inline constexpr int kQuarterColumns = 64;
inline constexpr int kChunkColumns = 256;
inline constexpr int kChunkQuarters = kChunkColumns / kQuarterColumns;

// How a quarter's codes lie: words (of 4 bytes) of a lane, and where they are.
//
//   word of 4-bit codes, one octet:         bits 4 p: pair p
//   word of 2-bit codes, both octets:       bits 2 p: row g, bits 8 + 2 p: row g + 8
//   fifth bits, four octets w = 2 i + r:    bit w + 4 p
//   third bits, four octets:                bit (0, 1, 8, 9)[w] + 2 p
//   words A, B, C of 6-bit codes, both octets (u, v: rows g, g + 8):
//
//     bits   0..3             4..9      10..15
//     A      u, pair 0, low   u pair 1  v pair 1
//     B      v, pair 0, low   u pair 3  v pair 3
//     C      u, v: pair 0     u pair 2  v pair 2
//            (2 high bits each)
//
//   word of 8-bit codes:                    four columns
//   words of 16 and 32 bits:                a pair, a column
enum class Codes { kBits2, kBits3, kBits4, kBits5, kBits6, kBits8, kHalves, kFloats };

// What follows a chunk's quarters. Numbers of rows g and g + 8 that belong together: "row pair".
// Two bits of scale for each of four groups, in a byte: see split_six_bits.
enum class Scales {
  kNone,
  kHalf,      // [16 rows][8 blocks] f16
  kHalfMin,   // as kHalf: scales, then minima
  kExponent,  // [16][8] bytes
  kSixMin,  // Q4_K, Q5_K: [8 row pairs] {d dmin, d dmin, low, low}, [32 lanes] minima and high bits
  kSix,     // IQ4_XS: [8 row pairs] {low, low}, [8] high bits, [8] {d, d}
  kFourMin,     // Q2_K: [16][16] bytes, [16] {d, dmin}
  kSixHalves,   // Q3_K: [16] {low, low}, [16] high bits, [16] d
  kEightHalves  // Q6_K: [16][16] bytes, [16] d
};

constexpr int code_words(Codes codes) {  // of a lane and quarter
  switch (codes) {
    case Codes::kBits2:
      return 2;
    case Codes::kBits3:
      return 3;
    case Codes::kBits4:
      return 4;
    case Codes::kBits5:
      return 5;
    case Codes::kBits6:
      return 6;
    case Codes::kBits8:
      return 8;
    case Codes::kHalves:
      return 16;
    case Codes::kFloats:
      return 32;
  }
  return 0;
}
constexpr int quarter_bytes(Codes codes) { return 128 * code_words(codes); }

constexpr int scale_bytes(Scales scales) {  // of a chunk
  switch (scales) {
    case Scales::kNone:
      return 0;
    case Scales::kHalf:
    case Scales::kSixMin:
      return 256;
    case Scales::kHalfMin:
      return 512;
    case Scales::kExponent:
    case Scales::kSix:
      return 128;
    case Scales::kFourMin:
      return 320;
    case Scales::kSixHalves:
      return 224;
    case Scales::kEightHalves:
      return 288;
  }
  return 0;
}

// In kSixMin the word of high bits lies in what lanes' words of minima leave free: of byte j, the
// low nibble with lane 2 (j % 2), the high one with the lane behind it, at bit 12 for j < 2, at 28
// above.
SLUICE_ANYWHERE constexpr int high_bits_lane(int nibble) { return nibble % 4; }  // of 8 nibbles
SLUICE_ANYWHERE constexpr int high_bits_at(int nibble) { return nibble < 4 ? 12 : 28; }

// Bits by which pair p stands above bit 0 of its half once masked: B's pair p is divided by 2^that.
constexpr int pair_shift(Codes codes, int pair) {
  switch (codes) {
    case Codes::kBits2:
    case Codes::kBits3:
      return 2 * pair;
    case Codes::kBits4:
    case Codes::kBits5:
      return 4 * (pair % 2);
    case Codes::kBits6:
      return pair == 0 ? 0 : 4;
    default:
      return 0;
  }
}

// Byte of a lane's word within the quarter.
SLUICE_ANYWHERE constexpr int word_offset(Codes codes, int lane, int word) {
  switch (codes) {
    case Codes::kBits2:
      return lane * 8 + word * 4;
    case Codes::kBits3:
      return word < 2 ? lane * 8 + word * 4 : 256 + lane * 4;
    case Codes::kBits4:
    case Codes::kBits5:
      return word < 4 ? lane * 16 + word * 4 : 512 + lane * 4;
    case Codes::kBits6:
      return word < 4 ? lane * 16 + word * 4 : 512 + lane * 8 + (word - 4) * 4;
    default:
      return word / 4 * 512 + lane * 16 + word % 4 * 4;
  }
}

// Part of a code: `bits` bits of it from `from` on are in a word from `at` on.
struct CodePiece {
  int word = 0;
  int at = 0;
  int bits = 0;
  int from = 0;
};
struct CodePlace {
  CodePiece pieces[2];  // the second may have no bits
};

// Column (0..31) of a block that is column `c` (0..7) of lane t's octet, and back.
SLUICE_ANYWHERE constexpr int octet_column(int t, int c) { return 8 * (c / 2) + 2 * t + c % 2; }
SLUICE_ANYWHERE constexpr int lane_of_column(int k) { return k % 8 / 2; }
SLUICE_ANYWHERE constexpr int place_of_column(int k) { return k / 8 * 2 + k % 2; }

// Where the code of column `column` (0..7) of an octet lies: block i (0, 1) of the quarter, row g +
// 8 r.
SLUICE_ANYWHERE constexpr CodePlace code_place(Codes codes, int i, int r, int column) {
  const int pair = column / 2, half = 16 * (column % 2), octet = 2 * i + r;
  switch (codes) {
    case Codes::kBits2:
      return {{{i, half + 8 * r + 2 * pair, 2, 0}, {}}};
    case Codes::kBits3:
      return {{{i, half + 8 * r + 2 * pair, 2, 0}, {2, half + 8 * i + r + 2 * pair, 1, 2}}};
    case Codes::kBits4:
      return {{{octet, half + 4 * pair, 4, 0}, {}}};
    case Codes::kBits5:
      return {{{octet, half + 4 * pair, 4, 0}, {4, half + octet + 4 * pair, 1, 4}}};
    case Codes::kBits6:
      if (pair == 0) return {{{3 * i + r, half, 4, 0}, {3 * i + 2, half + 2 * r, 2, 4}}};
      return {{{3 * i + (pair == 1 ? 0 : pair == 3 ? 1 : 2), half + 4 + 6 * r, 6, 0}, {}}};
    case Codes::kBits8:
      return {{{4 * i + 2 * r + column / 4, 8 * (column % 4), 8, 0}, {}}};
    case Codes::kHalves:
      return {{{8 * i + pair / 2 * 4 + r + 2 * (pair % 2), half, 16, 0}, {}}};
    case Codes::kFloats:
      return {{{16 * i + 4 * pair + 2 * r + column % 2, 0, 32, 0}, {}}};
  }
  return {};
}

// ---- the file's formats -----------------------------------------------------------------------

// One format: code(block, k) is the code of column k of a file's block, without the sign that the
// format gives it by subtracting kOffset; what it is scaled by comes from scale(block, group) and
// the like, of groups of kGroup columns.
template <quant::Type kType>
struct Format;

template <class BlockType, Codes kCodesValue, Scales kScalesValue, int kBlock, int kGroupValue,
          int kOffsetValue, bool kLooksUpValue = false>
struct FormatOf {
  using Block = BlockType;
  static constexpr Codes kCodes = kCodesValue;
  static constexpr Scales kScales = kScalesValue;
  static constexpr int kBlockElements = kBlock;  // columns of a block of the file
  static constexpr int kGroup = kGroupValue;     // columns that share a scale
  static constexpr int kOffset = kOffsetValue;
  static constexpr bool kLooksUp = kLooksUpValue;  // codes are indices for look_up()
  static constexpr bool kHasMin =
      kScales == Scales::kHalfMin || kScales == Scales::kSixMin || kScales == Scales::kFourMin;
  static constexpr int kQuarterBytes = quarter_bytes(kCodes);
  static constexpr int kScaleBytes = scale_bytes(kScales);
  static constexpr int kChunkBytes = kChunkQuarters * kQuarterBytes + kScaleBytes;
};

// Entry `code` of a table of sixteen, as numbers that instructions hold: device code cannot read
// the host's arrays.
constexpr uint64_t eight_bytes(const int8_t (&table)[16], int first) {
  uint64_t bytes = 0;
  for (int i = 0; i < 8; ++i) {
    bytes |= static_cast<uint64_t>(static_cast<uint8_t>(table[first + i])) << (8 * i);
  }
  return bytes;
}
SLUICE_ANYWHERE int byte_of_16(uint64_t low, uint64_t high, uint32_t code) {
  return static_cast<int8_t>((code < 8 ? low : high) >> (8 * (code & 7u)));
}

SLUICE_ANYWHERE float number(uint32_t value) { return static_cast<float>(static_cast<int>(value)); }

SLUICE_ANYWHERE uint32_t nibble_of_32(const uint8_t* qs, int k) {
  return qs[k % 16] >> (k / 16 * 4) & 15u;
}

template <>
struct Format<quant::Type::kF32> : FormatOf<float, Codes::kFloats, Scales::kNone, 1, 256, 0> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int) { return std::bit_cast<uint32_t>(b); }
};
template <>
struct Format<quant::Type::kF16> : FormatOf<uint16_t, Codes::kHalves, Scales::kNone, 1, 256, 0> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int) { return b; }
};
template <>
struct Format<quant::Type::kBF16> : FormatOf<uint16_t, Codes::kHalves, Scales::kNone, 1, 256, 0> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int) { return b; }
};
template <>
struct Format<quant::Type::kQ4_0>
    : FormatOf<quant::BlockQ4_0, Codes::kBits4, Scales::kHalf, 32, 32, 8> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) { return nibble_of_32(b.qs, k); }
};
template <>
struct Format<quant::Type::kQ4_1>
    : FormatOf<quant::BlockQ4_1, Codes::kBits4, Scales::kHalfMin, 32, 32, 0> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) { return nibble_of_32(b.qs, k); }
};
template <>
struct Format<quant::Type::kQ5_0>
    : FormatOf<quant::BlockQ5_0, Codes::kBits5, Scales::kHalf, 32, 32, 16> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) {
    return nibble_of_32(b.qs, k) | (b.qh[k / 8] >> (k % 8) & 1u) << 4;
  }
};
template <>
struct Format<quant::Type::kQ5_1>
    : FormatOf<quant::BlockQ5_1, Codes::kBits5, Scales::kHalfMin, 32, 32, 0> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) {
    return nibble_of_32(b.qs, k) | (b.qh[k / 8] >> (k % 8) & 1u) << 4;
  }
};
template <>
struct Format<quant::Type::kQ8_0>
    : FormatOf<quant::BlockQ8_0, Codes::kBits8, Scales::kHalf, 32, 32, 128> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) {
    return static_cast<uint8_t>(b.qs[k]) ^ 128u;
  }
};
template <>
struct Format<quant::Type::kIQ4_NL>
    : FormatOf<quant::BlockIQ4_NL, Codes::kBits4, Scales::kHalf, 32, 32, 0, true> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) { return nibble_of_32(b.qs, k); }
  SLUICE_ANYWHERE static int look_up(uint32_t code) {
    constexpr uint64_t kLow = eight_bytes(quant::kIQ4Values, 0),
                       kHigh = eight_bytes(quant::kIQ4Values, 8);
    return byte_of_16(kLow, kHigh, code);
  }
};
template <>
struct Format<quant::Type::kMXFP4>
    : FormatOf<quant::BlockMXFP4, Codes::kBits4, Scales::kExponent, 32, 32, 0, true> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) { return nibble_of_32(b.qs, k); }
  SLUICE_ANYWHERE static int look_up(uint32_t code) {
    constexpr uint64_t kLow = eight_bytes(quant::kMXFP4Values, 0),
                       kHigh = eight_bytes(quant::kMXFP4Values, 8);
    return byte_of_16(kLow, kHigh, code);
  }
};
template <>
struct Format<quant::Type::kIQ4_XS>
    : FormatOf<quant::BlockIQ4_XS, Codes::kBits4, Scales::kSix, 256, 32, 0, true> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) {
    return nibble_of_32(b.qs + k / 32 * 16, k % 32);
  }
  SLUICE_ANYWHERE static int look_up(uint32_t code) {
    constexpr uint64_t kLow = eight_bytes(quant::kIQ4Values, 0),
                       kHigh = eight_bytes(quant::kIQ4Values, 8);
    return byte_of_16(kLow, kHigh, code);
  }
  // 32 more than it stands for.
  SLUICE_ANYWHERE static uint32_t scale(const Block& b, int group) {
    return (b.scales_l[group / 2] >> (group % 2 * 4) & 15u) | (b.scales_h >> (2 * group) & 3u) << 4;
  }
};
template <>
struct Format<quant::Type::kQ2_K>
    : FormatOf<quant::BlockQ2_K, Codes::kBits2, Scales::kFourMin, 256, 16, 0> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) {
    return b.qs[k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3u;
  }
};
template <>
struct Format<quant::Type::kQ3_K>
    : FormatOf<quant::BlockQ3_K, Codes::kBits3, Scales::kSixHalves, 256, 16, 4> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) {
    return (b.qs[k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3u) |
           (b.hmask[k % 32] >> (k / 32) & 1u) << 2;
  }
  // 32 more than it stands for.
  SLUICE_ANYWHERE static uint32_t scale(const Block& b, int group) {
    return (b.scales[group % 8] >> (group / 8 * 4) & 15u) |
           (b.scales[8 + group % 4] >> (group / 4 * 2) & 3u) << 4;
  }
};
template <>
struct Format<quant::Type::kQ4_K>
    : FormatOf<quant::BlockQ4_K, Codes::kBits4, Scales::kSixMin, 256, 32, 0> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) {
    return b.qs[k / 64 * 32 + k % 32] >> (k % 64 / 32 * 4) & 15u;
  }
};
template <>
struct Format<quant::Type::kQ5_K>
    : FormatOf<quant::BlockQ5_K, Codes::kBits5, Scales::kSixMin, 256, 32, 0> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) {
    return (b.qs[k / 64 * 32 + k % 32] >> (k % 64 / 32 * 4) & 15u) | (b.qh[k % 32] >> (k / 32) & 1u)
                                                                         << 4;
  }
};
template <>
struct Format<quant::Type::kQ6_K>
    : FormatOf<quant::BlockQ6_K, Codes::kBits6, Scales::kEightHalves, 256, 16, 32> {
  SLUICE_ANYWHERE static uint32_t code(const Block& b, int k) {
    return (b.ql[k / 128 * 64 + k % 64] >> (k % 128 / 64 * 4) & 15u) |
           (b.qh[k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3u) << 4;
  }
};

}  // namespace sluice::backend::cuda
