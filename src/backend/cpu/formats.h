#pragma once

#include <cstddef>
#include <cstdint>

// How matrices lie in memory once packed. Rows are taken in groups of 16, one a vector lane. A
// group is one unit behind the other: a record of scales, then the codes of the blocks (of 32
// columns) that it belongs to, so that a product reads one stream of memory: with the scales in a
// place of their own the processor's prefetchers lost a quarter of the bandwidth (Zen 4).
//
//   codes of a block:  vector j = 0..7, lane r: columns 4j .. 4j+3 of row r
//     4 bits:   256 bytes; byte of vector j < 4 holds column 4j + b low and column 16 + 4j + b high
//     + 1 bit:  64 bytes more; bit j of a byte belongs to vector j
//     + 2 bits: 128 bytes more; 64 for vectors 0..3, 64 for 4..7, two bits a vector
//     8 bits:   512 bytes
//   Codes are signed (two's complement) or indices into a table of 16 signed bytes.
//
//   scales: see Scales. A scale is a row of 16 numbers, one a lane.
namespace sluice::backend::cpu {

inline constexpr int kGroupRows = 16;
inline constexpr int kBlockColumns = 32;
inline constexpr int kSuperColumns = 256;
inline constexpr int kSuperBlocks = kSuperColumns / kBlockColumns;

enum class Codes { k4, k4Plus1, k4Plus2, k8, kTable };

// w = d * code (+ m). d and m are f16, or f16 of a super block times an 8-bit integer.
enum class Scales {
  kF16,          // a block: d
  kF16Min,       // a block: d, m
  kE8M0,         // a block: d = 2^(byte - 128)
  kSuper,        // 8 blocks: d; a block: i8 scale
  kSuperMin,     // 8 blocks: d, dmin; a block: u8 scale, u8 min; m = -dmin * min
  kSuperHalf,    // 8 blocks: d; a block: i8 scales of columns 0..15 and of 16..31
  kSuperHalfMin  // 8 blocks: d, dmin; a block: two u8 scales, two u8 mins
};

constexpr size_t code_bytes(Codes codes) {
  switch (codes) {
    case Codes::k4Plus1:
      return 320;
    case Codes::k4Plus2:
      return 384;
    case Codes::k8:
      return 512;
    default:
      return 256;
  }
}

// Blocks that share one record of scales, and the bytes of the record.
constexpr int scale_blocks(Scales scales) {
  return scales == Scales::kF16 || scales == Scales::kF16Min || scales == Scales::kE8M0
             ? 1
             : kSuperBlocks;
}
constexpr size_t scale_bytes(Scales scales) {
  switch (scales) {
    case Scales::kF16:
      return 32;
    case Scales::kF16Min:
      return 64;
    case Scales::kE8M0:
      return 16;
    case Scales::kSuper:
      return 32 + kSuperBlocks * 16;
    case Scales::kSuperMin:
      return 64 + kSuperBlocks * 32;
    case Scales::kSuperHalf:
      return 32 + kSuperBlocks * 32;
    case Scales::kSuperHalfMin:
      return 64 + kSuperBlocks * 64;
  }
  return 0;
}

// One packed format. kOffset was subtracted from the file's codes to make them signed, which the
// minimum gives back (formats without a minimum are symmetric: their offset is part of the format).
template <Codes kCodesValue, Scales kScalesValue, int kOffsetValue = 0>
struct Format {
  static constexpr Codes kCodes = kCodesValue;
  static constexpr Scales kScales = kScalesValue;
  static constexpr int kOffset = kOffsetValue;
  static constexpr size_t kCodeBytes = code_bytes(kCodes);
  static constexpr int kUnitBlocks = scale_blocks(kScales);
  static constexpr size_t kUnitBytes = scale_bytes(kScales) + kUnitBlocks * kCodeBytes;
  static constexpr bool kHasMin = kScales == Scales::kF16Min || kScales == Scales::kSuperMin ||
                                  kScales == Scales::kSuperHalfMin;
  static constexpr bool kIsHalved =
      kScales == Scales::kSuperHalf || kScales == Scales::kSuperHalfMin;
};

using FormatQ4_0 = Format<Codes::k4, Scales::kF16>;
using FormatQ4_1 = Format<Codes::k4, Scales::kF16Min, 8>;
using FormatQ5_0 = Format<Codes::k4Plus1, Scales::kF16>;
using FormatQ5_1 = Format<Codes::k4Plus1, Scales::kF16Min, 16>;
using FormatQ8_0 = Format<Codes::k8, Scales::kF16>;
using FormatQ2_K = Format<Codes::k4, Scales::kSuperHalfMin>;
using FormatQ3_K = Format<Codes::k4, Scales::kSuperHalf>;
using FormatQ4_K = Format<Codes::k4, Scales::kSuperMin, 8>;
using FormatQ5_K = Format<Codes::k4Plus1, Scales::kSuperMin, 16>;
using FormatQ6_K = Format<Codes::k4Plus2, Scales::kSuperHalf>;
using FormatIQ4_NL = Format<Codes::kTable, Scales::kF16>;
using FormatIQ4_XS = Format<Codes::kTable, Scales::kSuper>;
using FormatMXFP4 = Format<Codes::kTable, Scales::kE8M0>;

}  // namespace sluice::backend::cpu
