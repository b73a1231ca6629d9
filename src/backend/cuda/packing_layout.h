#pragma once

// How matrices lie in a GPU's memory. The one place that writes the layout down; packing.cpp
// (host) and kernels that pack and look rows up walk matrices with what stands here; the products
// have decoders of their own, which the tests hold against this.
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

// ---- packing ----------------------------------------------------------------------------------

SLUICE_ANYWHERE void store_word(uint8_t* to, uint32_t word) {  // `to` is aligned to 4 bytes
  *reinterpret_cast<uint32_t*>(to) = word;
}
SLUICE_ANYWHERE uint32_t load_word(const uint8_t* from) {
  return *reinterpret_cast<const uint32_t*>(from);
}
SLUICE_ANYWHERE uint32_t two_halves(uint32_t low, uint32_t high) { return low | high << 16; }

// Six-bit scales of 8 groups: low four bits in a word, nibble n of it of group n; so that
// (word & 0x0f0f0f0f) are those of groups 0, 2, 4, 6, a byte each, and (word >> 4 & 0x0f0f0f0f)
// those of groups 1, 3, 5, 7. The two high ones are in a word for both rows of a pair: byte j has,
// from bit 0 on, those of row g, group 2 j; row g, 2 j + 1; row g + 8, 2 j; row g + 8, 2 j + 1.
SLUICE_ANYWHERE void split_six_bits(const uint32_t (&scales)[2][8], uint32_t (&low)[2],
                                    uint32_t& high) {
  high = 0;
  for (int r = 0; r < 2; ++r) {
    low[r] = 0;
    for (int n = 0; n < 8; ++n) {
      low[r] |= (scales[r][n] & 15u) << (4 * n);
      high |= (scales[r][n] >> 4) << (8 * (n / 2) + 4 * r + 2 * (n % 2));
    }
  }
}

// In kSixMin the word of high bits lies in what lanes' words of minima leave free: of byte j, the
// low nibble with lane 2 (j % 2), the high one with the lane behind it, at bit 12 for j < 2, at 28
// above.
SLUICE_ANYWHERE constexpr int high_bits_lane(int nibble) { return nibble % 4; }  // of 8 nibbles
SLUICE_ANYWHERE constexpr int high_bits_at(int nibble) { return nibble < 4 ? 12 : 28; }

// Packs what row pair g (rows g and g + 8) has in a chunk. `blocks[r]` are the file's blocks of the
// chunk's columns; a null pointer, and columns from `num_columns` on (all 256 but in the last
// chunk), are zeros. Fills every byte of the chunk that is the row pair's.
template <quant::Type kType>
SLUICE_ANYWHERE void pack_row_pair(const typename Format<kType>::Block* const (&blocks)[2],
                                   int num_columns, uint8_t* chunk, int g) {
  using F = Format<kType>;
  const int num_quarters = (num_columns + kQuarterColumns - 1) / kQuarterColumns;
  for (int quarter = 0; quarter < num_quarters; ++quarter) {
    for (int t = 0; t < 4; ++t) {
      uint32_t words[code_words(F::kCodes)] = {};
      for (int r = 0; r < 2; ++r) {
        for (int k = 0; k < 16; ++k) {
          const int i = k / 8;
          const int column = kQuarterColumns * quarter + kBlockColumns * i + octet_column(t, k % 8);
          if (blocks[r] == nullptr || column >= num_columns) continue;
          const uint32_t code =
              F::code(blocks[r][column / F::kBlockElements], column % F::kBlockElements);
          const CodePlace place = code_place(F::kCodes, i, r, k % 8);
          for (const CodePiece& piece : place.pieces) {
            const uint32_t mask = piece.bits == 32 ? ~0u : (1u << piece.bits) - 1u;
            words[piece.word] |= (code >> piece.from & mask) << piece.at;
          }
        }
      }
      for (int w = 0; w < code_words(F::kCodes); ++w) {
        store_word(chunk + quarter * F::kQuarterBytes + word_offset(F::kCodes, 4 * g + t, w),
                   words[w]);
      }
    }
  }
  uint8_t* record = chunk + num_quarters * F::kQuarterBytes;
  if constexpr (F::kScales == Scales::kHalf || F::kScales == Scales::kHalfMin ||
                F::kScales == Scales::kExponent) {
    for (int r = 0; r < 2; ++r) {
      const int row = g + 8 * r;
      uint32_t d[8] = {}, m[8] = {};
      for (int n = 0; n < 8; ++n) {
        if (blocks[r] == nullptr || 32 * n >= num_columns) continue;
        const auto& block = blocks[r][n];
        if constexpr (F::kScales == Scales::kExponent) {
          d[n] = block.e;
        } else {
          d[n] = block.d;
          if constexpr (F::kScales == Scales::kHalfMin) m[n] = block.m;
        }
      }
      if constexpr (F::kScales == Scales::kExponent) {
        for (int w = 0; w < 2; ++w) {
          store_word(record + row * 8 + 4 * w,
                     d[4 * w] | d[4 * w + 1] << 8 | d[4 * w + 2] << 16 | d[4 * w + 3] << 24);
        }
      } else {
        for (int w = 0; w < 4; ++w) {
          store_word(record + row * 16 + 4 * w, two_halves(d[2 * w], d[2 * w + 1]));
          if constexpr (F::kScales == Scales::kHalfMin) {
            store_word(record + 256 + row * 16 + 4 * w, two_halves(m[2 * w], m[2 * w + 1]));
          }
        }
      }
    }
  }
  if constexpr (F::kScales == Scales::kSixMin) {
    uint32_t scales[2][8] = {}, minima[2][8] = {}, low[2], high;
    for (int r = 0; r < 2; ++r) {
      for (int n = 0; n < 8 && blocks[r] != nullptr; ++n) {
        const quant::ScaleAndMin pair = quant::scale_and_min(blocks[r]->scales, n);
        scales[r][n] = pair.scale;
        minima[r][n] = pair.min;
      }
    }
    split_six_bits(scales, low, high);
    for (int r = 0; r < 2; ++r) {
      const bool is_there = blocks[r] != nullptr;
      store_word(record + 16 * g + 4 * r,
                 is_there ? two_halves(blocks[r]->d, blocks[r]->dmin) : 0u);
      store_word(record + 16 * g + 8 + 4 * r, low[r]);
    }
    for (int t = 0; t < 4; ++t) {
      uint32_t word = two_halves(minima[0][2 * t] | minima[1][2 * t] << 6,
                                 minima[0][2 * t + 1] | minima[1][2 * t + 1] << 6);
      for (int nibble = 0; nibble < 8; ++nibble) {
        if (high_bits_lane(nibble) == t) {
          word |= (high >> (4 * nibble) & 15u) << high_bits_at(nibble);
        }
      }
      store_word(record + 128 + 4 * (4 * g + t), word);
    }
  }
  if constexpr (F::kScales == Scales::kSix) {
    uint32_t scales[2][8] = {}, low[2], high;
    for (int r = 0; r < 2; ++r) {
      for (int n = 0; n < 8 && blocks[r] != nullptr; ++n) scales[r][n] = F::scale(*blocks[r], n);
    }
    split_six_bits(scales, low, high);
    store_word(record + 8 * g, low[0]);
    store_word(record + 8 * g + 4, low[1]);
    store_word(record + 64 + 4 * g, high);
    store_word(record + 96 + 4 * g, two_halves(blocks[0] == nullptr ? 0 : blocks[0]->d,
                                               blocks[1] == nullptr ? 0 : blocks[1]->d));
  }
  if constexpr (F::kScales == Scales::kFourMin || F::kScales == Scales::kEightHalves ||
                F::kScales == Scales::kSixHalves) {
    for (int r = 0; r < 2; ++r) {
      const int row = g + 8 * r;
      uint32_t words[4] = {}, d = 0, dmin = 0;
      if (blocks[r] != nullptr) {
        d = blocks[r]->d;
        for (int n = 0; n < 16; ++n) {
          uint32_t byte = 0;
          if constexpr (F::kScales == Scales::kSixHalves) {
            // Word n / 8: low nibbles of bytes, groups 8 u .. 8 u + 3, high nibbles the next four.
            const uint32_t scale = F::scale(*blocks[r], n);
            words[n / 8] |= (scale & 15u) << (8 * (n % 4) + 4 * (n / 4 % 2));
            words[2] |= (scale >> 4) << (8 * (n % 4) + 2 * (n / 4));
            continue;
          } else if constexpr (F::kScales == Scales::kEightHalves) {
            byte = static_cast<uint8_t>(blocks[r]->scales[n]) ^ 128u;
          } else {
            byte = blocks[r]->scales[n];
            dmin = blocks[r]->dmin;
          }
          words[n / 4] |= byte << (8 * (n % 4));
        }
      }
      if constexpr (F::kScales == Scales::kSixHalves) {
        store_word(record + 8 * row, words[0]);
        store_word(record + 8 * row + 4, words[1]);
        store_word(record + 128 + 4 * row, words[2]);
        *reinterpret_cast<uint16_t*>(record + 192 + 2 * row) = static_cast<uint16_t>(d);
      } else {
        for (int w = 0; w < 4; ++w) store_word(record + 16 * row + 4 * w, words[w]);
        if constexpr (F::kScales == Scales::kFourMin) {
          store_word(record + 256 + 4 * row, two_halves(d, dmin));
        } else {
          *reinterpret_cast<uint16_t*>(record + 256 + 2 * row) = static_cast<uint16_t>(d);
        }
      }
    }
  }
}

// ---- and back ---------------------------------------------------------------------------------

// w = scale * (code - kOffset) + min, or scale * look_up(code).
struct GroupScale {
  float scale = 1.0f;
  float min = 0.0f;
};

SLUICE_ANYWHERE float half_at(const uint8_t* record, int index) {
  return quant::f16_to_f32(reinterpret_cast<const uint16_t*>(record)[index]);
}
SLUICE_ANYWHERE float low_half_value(uint32_t word) {
  return quant::f16_to_f32(static_cast<uint16_t>(word));
}
SLUICE_ANYWHERE float high_half_value(uint32_t word) {
  return quant::f16_to_f32(static_cast<uint16_t>(word >> 16));
}
SLUICE_ANYWHERE float number(uint32_t value) { return static_cast<float>(static_cast<int>(value)); }

SLUICE_ANYWHERE uint32_t join_six_bits(uint32_t low, uint32_t high, int r, int n) {
  return (low >> (4 * n) & 15u) | (high >> (8 * (n / 2) + 4 * r + 2 * (n % 2)) & 3u) << 4;
}

// Of a row of the tile (0..15) and a group of F::kGroup columns of the chunk.
template <quant::Type kType>
SLUICE_ANYWHERE GroupScale load_group_scale(const uint8_t* record, int row, int group) {
  using F = Format<kType>;
  const int g = row % 8, r = row / 8;
  if constexpr (F::kScales == Scales::kHalf) return {half_at(record, row * 8 + group), 0.0f};
  if constexpr (F::kScales == Scales::kHalfMin) {
    return {half_at(record, row * 8 + group), half_at(record + 256, row * 8 + group)};
  }
  if constexpr (F::kScales == Scales::kExponent) {  // half of it: the table is doubled
    const uint32_t e = record[row * 8 + group];
    return {std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23), 0.0f};
  }
  if constexpr (F::kScales == Scales::kSixMin) {
    uint32_t high = 0;
    for (int nibble = 0; nibble < 8; ++nibble) {
      const uint32_t word = load_word(record + 128 + 4 * (4 * g + high_bits_lane(nibble)));
      high |= (word >> high_bits_at(nibble) & 15u) << (4 * nibble);
    }
    const uint32_t halves = load_word(record + 16 * g + 4 * r);
    const uint32_t low = load_word(record + 16 * g + 8 + 4 * r);
    const uint32_t minima = load_word(record + 128 + 4 * (4 * g + group / 2));
    const uint32_t min = minima >> (16 * (group % 2) + 6 * r) & 63u;
    return {low_half_value(halves) * number(join_six_bits(low, high, r, group)),
            -(high_half_value(halves) * number(min))};
  }
  if constexpr (F::kScales == Scales::kSix) {
    const uint32_t scale =
        join_six_bits(load_word(record + 8 * g + 4 * r), load_word(record + 64 + 4 * g), r, group);
    return {half_at(record + 96, 2 * g + r) * number(scale - 32u), 0.0f};
  }
  if constexpr (F::kScales == Scales::kFourMin) {
    const uint32_t byte = record[16 * row + group], halves = load_word(record + 256 + 4 * row);
    return {low_half_value(halves) * number(byte & 15u),
            -(high_half_value(halves) * number(byte >> 4))};
  }
  if constexpr (F::kScales == Scales::kSixHalves) {
    const int byte = group % 4;
    const uint32_t low = load_word(record + 8 * row + 4 * (group / 8));
    const uint32_t high = load_word(record + 128 + 4 * row);
    const uint32_t scale = (low >> (8 * byte + 4 * (group / 4 % 2)) & 15u) |
                           (high >> (8 * byte + 2 * (group / 4)) & 3u) << 4;
    return {half_at(record + 192, row) * number(scale - 32u), 0.0f};
  }
  if constexpr (F::kScales == Scales::kEightHalves) {
    return {half_at(record + 256, row) * number(record[16 * row + group] - 128u), 0.0f};
  }
  return {};
}

// The eight values of row `row` (0..15) of a chunk from column 8 * `eighth` on.
template <quant::Type kType>
SLUICE_ANYWHERE void unpack_columns(const uint8_t* chunk, int num_quarters, int row, int eighth,
                                    float (&values)[8]) {
  using F = Format<kType>;
  const int i = eighth / 4 % 2;
  const uint8_t* codes = chunk + eighth / 8 * F::kQuarterBytes;
  const uint8_t* record = chunk + num_quarters * F::kQuarterBytes;
  const GroupScale scale = load_group_scale<kType>(record, row, 8 * eighth / F::kGroup);
  for (int column = 0; column < 8; ++column) {
    const int k = eighth % 4 * 8 + column;  // of the block
    const int lane = 4 * (row % 8) + lane_of_column(k);
    const CodePlace place = code_place(F::kCodes, i, row / 8, place_of_column(k));
    uint32_t code = 0;
    for (const CodePiece& piece : place.pieces) {
      const uint32_t mask = piece.bits == 32 ? ~0u : (1u << piece.bits) - 1u;
      const uint32_t word = load_word(codes + word_offset(F::kCodes, lane, piece.word));
      code |= (word >> piece.at & mask) << piece.from;
    }
    if constexpr (kType == quant::Type::kF32) {
      values[column] = std::bit_cast<float>(code);
    } else if constexpr (kType == quant::Type::kF16) {
      values[column] = quant::f16_to_f32(static_cast<uint16_t>(code));
    } else if constexpr (kType == quant::Type::kBF16) {
      values[column] = quant::bf16_to_f32(static_cast<uint16_t>(code));
    } else {
      float whole = 0.0f;
      if constexpr (F::kLooksUp) {
        whole = static_cast<float>(F::look_up(code));
      } else {
        whole = static_cast<float>(static_cast<int>(code) - F::kOffset);
      }
      const float value = scale.scale * whole;
      values[column] = F::kHasMin ? value + scale.min : value;
    }
  }
}

}  // namespace sluice::backend::cuda
