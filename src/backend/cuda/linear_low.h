#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cuda/gated.h"
#include "backend/cuda/packing_layout.h"

// What the products of few rows (linear_low.cuh) are told, and the shapes they have at compile
// time.
namespace sluice::backend::cuda {

// Of activations, at most: a kernel for each, by the tiles of 8 that they are.
inline constexpr int kLowRows[] = {8, 16};
// Warps of a block, at most; one block a multiprocessor. As many as have the registers they want.
constexpr int low_warps(int token_tiles) { return token_tiles == 1 ? 12 : 8; }
inline constexpr int kLowTiles = 4;    // that a warp computes side by side
inline constexpr int kLowSplits = 16;  // of the columns over blocks, at most
inline constexpr int kMostParts = 4;
inline constexpr int kKeptShared = 1024;  // bytes that no launch asks for: what kernels declare
inline constexpr int kMostSlots = 8;

// A matrix of those that read the same rows.
struct LowPart {
  const uint8_t* tiles;
  const float* bias;  // null: none
  float* out;         // [rows of activations, out_stride]
  int32_t out_stride;
  int32_t rows;
  int32_t first_tile;  // how many tiles the parts before have
  int32_t accumulates;
};

struct LowArgs {
  LowPart parts[kMostParts];
  int32_t num_parts;
  int32_t num_tiles;   // of all parts
  int64_t tile_bytes;  // the same for all
  const uint16_t* x;   // [num_rows, x_stride], halves
  int32_t x_stride;
  int32_t num_rows;
  float x_scale;
  int32_t columns;
  int32_t num_splits;                   // of the columns over blocks; their sums meet in partials
  int16_t split_begin[kLowSplits + 1];  // first stage of each, and the end
  int16_t num_slots;                    // of a warp's ring
  int32_t column_warps;  // of a block, which split the columns; others take other tiles
  uint32_t float_bits;   // kFloatBits: not known to the compiler, so that it stays in a register
  float* partials;       // [num_splits, num_tiles, token tiles, 128]
  uint32_t* counters;    // [num_tiles], zero before and after
  GatedOut gated;        // tiles are pairs, which no block parts
};

// A byte in bits 8 to 15 of this is 2^15 plus the byte, as a float.
inline constexpr uint32_t kFloatBits = 0x47000000u;

// What a warp takes at a time: a chunk of a tile, or a quarter where there are no scales.
template <quant::Type kType>
struct LowStage {
  using F = Format<kType>;
  static constexpr bool kIsFloat = F::kScales == Scales::kNone;
  static constexpr int kColumns = kIsFloat ? kQuarterColumns : kChunkColumns;
  static constexpr int kBlocks = kColumns / kBlockColumns;
  static constexpr int kBytes = kIsFloat ? F::kQuarterBytes : F::kChunkBytes;
};

// Shared memory of a block: the warps' rings, then their sums, [warps][kLowTiles][token
// tiles][128].
constexpr int low_shared_bytes(int num_warps, int num_slots, int stage_bytes, int token_tiles) {
  return num_warps * (num_slots * stage_bytes + kLowTiles * token_tiles * 512);
}

}  // namespace sluice::backend::cuda
