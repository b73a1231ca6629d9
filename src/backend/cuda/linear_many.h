#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cuda/linear_low.h"
#include "backend/cuda/packing_layout.h"

// What the products of many rows (linear_many.cuh) are told, and the shapes they have at compile
// time.
namespace sluice::backend::cuda {

inline constexpr int kManyWarps = 8;
inline constexpr int kMostManySlots = 12;

// Block shapes: warps stand side by side over rows of the matrix, kWarpTiles tiles each, and
// kTokenWarps deep over rows of activations, 8 * kTokenTiles of these each. A stage has kQuarters
// of a chunk's quarters: more of them share what a stage costs besides.
template <int kWarpTilesValue, int kTokenTilesValue, int kTokenWarpsValue, int kQuartersValue,
          bool kIsWarpgroupValue>
struct ManyShape {
  static constexpr int kWarpTiles = kWarpTilesValue;
  static constexpr int kTokenTiles = kTokenTilesValue;
  static constexpr int kTokenWarps = kTokenWarpsValue;
  static constexpr int kQuarters = kQuartersValue;
  static constexpr bool kIsWarpgroup = kIsWarpgroupValue;  // products by warpgroups (sm_90)
  static constexpr int kTiles = kManyWarps / kTokenWarps * kWarpTiles;  // of a block
  static constexpr int kTokens = kTokenWarps * kTokenTiles * 8;
};
using Many32 = ManyShape<2, 4, 1, 1, false>;   // 256 rows of the matrix, 32 of activations
using Many64 = ManyShape<2, 8, 1, 1, false>;   // 256, 64
using Many128 = ManyShape<2, 8, 2, 1, false>;  // 128, 128
using Wide32 = ManyShape<2, 4, 1, 2, true>;    // 256, 32
using Wide64 = ManyShape<2, 8, 1, 2, true>;    // 256, 64
using Wide128 = ManyShape<2, 16, 1, 1, true>;  // 256, 128

struct ManyPart {
  const uint8_t* tiles;
  const float* bias;  // null: none
  float* out;         // [rows of activations, out_stride]
  int32_t out_stride;
  int32_t rows;
  int32_t num_tiles;
  int32_t first_block;  // how many blocks of tiles the parts before have
  int32_t accumulates;
};

struct ManyArgs {
  ManyPart parts[kMostParts];
  int32_t num_parts;
  int32_t num_blocks;  // of tiles, of all parts
  int64_t tile_bytes;
  const uint16_t* x;  // [num_rows, x_stride], halves
  int32_t x_stride;
  int32_t num_rows;
  float x_scale;
  int32_t columns;
  int32_t num_slots;         // of the ring of stages
  int32_t num_token_blocks;  // 1 if the columns are split
  int32_t first_unit;        // (block of tiles, of activations) of this launch; 0 if split
  int32_t end_unit;
  int32_t is_split;    // the columns, so that all blocks have equal shares
  float* partials;     // [2 * blocks, sums of a block]
  uint32_t* counters;  // [num_blocks][2]: who has come, who has written; zero before and after
  GatedOut gated;
};

// A stage is some quarters of a chunk: activations [quarters][tokens][128 bytes], codes
// [tiles][quarters], and scales with a chunk's first one. Of types without scales it is one
// quarter.
template <quant::Type kType, class Shape>
struct ManyStage {
  using F = Format<kType>;
  static constexpr int kQuarters = F::kScales == Scales::kNone ? 1 : Shape::kQuarters;
  static constexpr int kPerChunk = kChunkQuarters / kQuarters;
  static constexpr int kInBytes = Shape::kTokens * kQuarterColumns * 2;  // of a quarter
  static constexpr int kTileBytes = kQuarters * F::kQuarterBytes;
  static constexpr int kCodes = kQuarters * kInBytes;  // where they begin
  static constexpr int kScales = kCodes + Shape::kTiles * kTileBytes;
  static constexpr int kEnd = kScales + Shape::kTiles * F::kScaleBytes;
  static constexpr int kAlignment = Shape::kIsWarpgroup ? 1024 : 128;
  static constexpr int kBytes = (kEnd + kAlignment - 1) / kAlignment * kAlignment;
};

// What a warp makes of its tiles' scales for a chunk, [8 row pairs][4 quarters][words of the
// groups], but four words at most, then the next four: a word {scale, low} of each row, halves;
// where there are no minima, a word {scale, scale} of both.
template <quant::Type kType>
struct ManyScales {
  using F = Format<kType>;
  static constexpr int kGroups = F::kScales == Scales::kNone ? 0 : kQuarterColumns / F::kGroup;
  static constexpr int kGroupWords = F::kHasMin ? 2 : 1;
  static constexpr int kQuarterWords = kGroups * kGroupWords;  // of a row pair
  static constexpr int kQuarterBytes = kQuarterWords * 4;
  static constexpr int kTileBytes = kChunkQuarters * 8 * kQuarterBytes;

  // Byte of a word of row pair g.
  SLUICE_ANYWHERE static constexpr int place(int g, int quarter, int word) {
    return word / 4 * 512 + (4 * g + quarter) * (kQuarterWords > 4 ? 16 : kQuarterBytes) +
           word % 4 * 4;
  }
};

// Of a block: the ring, and the scales that its warps make.
template <quant::Type kType, class Shape>
constexpr int many_shared_bytes(int num_slots) {
  return num_slots * ManyStage<kType, Shape>::kBytes +
         kManyWarps * Shape::kWarpTiles * ManyScales<kType>::kTileBytes;
}

// How deep the ring is where a block may have so much shared memory; and on the machines that the
// kernels are made for (A100, H100), which the compiler knows.
constexpr int many_slots(int shared_bytes, int without_ring, int slot_bytes) {
  const int slots = (shared_bytes - without_ring) / slot_bytes;
  return slots < kMostManySlots ? slots : kMostManySlots;
}
template <quant::Type kType, class Shape>
constexpr int usual_many_slots() {
  return many_slots((Shape::kIsWarpgroup ? 232448 : 166912) - kKeptShared,
                    many_shared_bytes<kType, Shape>(0), ManyStage<kType, Shape>::kBytes);
}

}  // namespace sluice::backend::cuda
