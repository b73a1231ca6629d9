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
// kTokenWarps deep over rows of activations, 8 * kTokenTiles of these each.
template <int kWarpTilesValue, int kTokenTilesValue, int kTokenWarpsValue, bool kIsWarpgroupValue>
struct ManyShape {
  static constexpr int kWarpTiles = kWarpTilesValue;
  static constexpr int kTokenTiles = kTokenTilesValue;
  static constexpr int kTokenWarps = kTokenWarpsValue;
  static constexpr bool kIsWarpgroup = kIsWarpgroupValue;  // products by warpgroups (sm_90)
  static constexpr int kTiles = kManyWarps / kTokenWarps * kWarpTiles;  // of a block
  static constexpr int kTokens = kTokenWarps * kTokenTiles * 8;
};
using Many32 = ManyShape<2, 4, 1, false>;   // 256 rows of the matrix, 32 of activations
using Many64 = ManyShape<2, 8, 1, false>;   // 256, 64
using Many128 = ManyShape<2, 8, 2, false>;  // 128, 128
using Wide32 = ManyShape<2, 4, 1, true>;    // 256, 32
using Wide64 = ManyShape<2, 8, 1, true>;    // 256, 64
using Wide128 = ManyShape<2, 16, 1, true>;  // 256, 128

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
  int32_t is_split;          // the columns, so that all blocks have equal shares
  float* partials;           // [2 * blocks, sums of a block]
  uint32_t* counters;        // [num_blocks], zero before and after
};

// A stage is a quarter of a chunk: activations, codes, and scales with a chunk's first one.
template <quant::Type kType, class Shape>
struct ManyStage {
  using F = Format<kType>;
  static constexpr int kCodes = Shape::kTokens * kQuarterColumns * 2;  // where they begin
  static constexpr int kScales = kCodes + Shape::kTiles * F::kQuarterBytes;
  static constexpr int kEnd = kScales + Shape::kTiles * F::kScaleBytes;
  static constexpr int kAlignment = Shape::kIsWarpgroup ? 1024 : 128;
  static constexpr int kBytes = (kEnd + kAlignment - 1) / kAlignment * kAlignment;
};

// What a warp makes of its tiles' scales for a chunk: for each group and row pair, halves that
// multiply and, where there are minima, that are added.
template <quant::Type kType>
struct ManyScales {
  using F = Format<kType>;
  static constexpr int kGroups = F::kScales == Scales::kNone ? 0 : kChunkColumns / F::kGroup;
  static constexpr int kPairBytes = F::kHasMin ? 16 : 8;
  static constexpr int kTileBytes = kGroups * 8 * kPairBytes;
};

// Of a block: the ring, the scales that its warps make, and what aligning the ring takes.
template <quant::Type kType, class Shape>
constexpr int many_shared_bytes(int num_slots) {
  return num_slots * ManyStage<kType, Shape>::kBytes +
         kManyWarps * Shape::kWarpTiles * ManyScales<kType>::kTileBytes +
         (Shape::kIsWarpgroup ? 1024 : 0);
}

}  // namespace sluice::backend::cuda
