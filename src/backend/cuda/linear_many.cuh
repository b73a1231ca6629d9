#pragma once

// Products of more than eight rows of activations.
//
// Idea. Weights become halves in registers, as A operands of mma, each once for all the rows of
// activations that a warp has; these stand in shared memory, as B operands for all warps. A block
// has 256 rows of the matrix by 32, 64 or (sm_90) 128 of activations, or 128 by 128, so that
// activations, which each block reads from the second-level cache, are few beside the matrix; a
// warp has 32 rows of it:
//
//                    activations (columns of a stage)
//                   | row 0 .. 31 or 63      |
//   matrix  warp 0  | 2 tiles: 32 rows       |     stage: 64 or 128 columns of all of it, in a ring
//           warp 1  | 2 tiles                |     of `num_slots`, copied asynchronously: the codes
//           ..      |                        |     of 16 tiles, their scales with a chunk's first
//           warp 7  | 2 tiles                |     stage, and the activations, a row's 128 bytes in
//                                                  pieces of 16 that change places by row (piece ^
//                                                  row % 8), so that ldmatrix meets all banks
//
// When a chunk of 256 columns begins each warp makes halves of its tiles' scales (make_scales), as
// all lanes want them: w = p * scale + low with p the whole number that the code stands for.
// Weights are rounded to halves, once (scales of K-quants, too).
//
// On sm_90 a warpgroup multiplies, with B read by the tensor cores themselves, and the products of
// a tile's quarter run while the weights of the next one are made, in registers of their own
// (Shape::kIsWarpgroup).
//
// A decode step must read the matrix at the memory's speed, so all blocks get equal shares of
// (block of tiles, chunk); where the columns of a tile are split over blocks, who comes last adds
// their sums to its own, in the order of the columns, and the others leave theirs. Prompts'
// products are not split: a row's result must be the same in whatever company.
//
// Where tiles of gate and up take turns (ManyArgs::gated) a warp has one of each: a lane has both
// numbers that make one of the gated activation's, and halves are all that is written.
//
// Reference: tests/simt/linear_test.cpp, gated_linear_test.cpp.

#include "backend/cuda/gated.cuh"
#include "backend/cuda/linear_many.h"
#include "backend/cuda/linear_many_stages.cuh"
#include "backend/cuda/linear_many_weights.cuh"
#include "backend/cuda/linear_mixed.cuh"

namespace sluice::backend::cuda {
namespace many {

template <class Shape>
using Sums = float[Shape::kWarpTiles][4 * Shape::kTokenTiles];

// sums += the warp's tiles times its activations, in a stage. `in`: those of the warp.
template <quant::Type kType, class Shape>
SLUICE_DEVICE void add_stage(const uint8_t* codes, const uint8_t* in, const uint8_t* scales,
                             int quarter, int lane, Sums<Shape>& sums) {
  using F = Format<kType>;
  using Made = ManyScales<kType>;
  BlockCodes blocks[Shape::kWarpTiles][2];
#pragma unroll
  for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
    if constexpr (kType == quant::Type::kF32) {
      load_float_quarter(codes + tile * F::kQuarterBytes, lane, blocks[tile]);
    } else {
      load_quarter<kType>(codes + tile * F::kQuarterBytes, lane, blocks[tile]);
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
      constexpr int kWords = Made::kQuarterWords / 2;
      uint32_t words[kWords > 0 ? kWords : 1] = {};
      if constexpr (kWords > 0) {
        load_scales<kType>(scales + tile * Made::kTileBytes, lane / 4, quarter, kWords * i, words);
      }
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        make_weights<kType>(blocks[tile][i].a[step], step,
                            words + (F::kGroup == 16 ? step * Made::kGroupWords : 0));
      }
    }
#pragma unroll
    for (int token = 0; token < Shape::kTokenTiles; ++token) {
      uint32_t x[4];
      ptx::load_matrix(x, in + (8 * token + lane % 8) * 128 + 16 * ((4 * i + lane / 8) ^ lane % 8));
#pragma unroll
      for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
        float(&four)[4] = *reinterpret_cast<float(*)[4]>(&sums[tile][4 * token]);
        ptx::mma_f16(four, blocks[tile][i].a[0], {x[0], x[1]});
        ptx::mma_f16(four, blocks[tile][i].a[1], {x[2], x[3]});
      }
    }
  }
}

// A segment's sums to where they belong.
template <class Shape>
SLUICE_DEVICE void store_sums(const ManyArgs& args, const Segment& segment,
                              const Sums<Shape>& sums) {
  const ManyPart& part = args.parts[part_of(args, segment.block)];
  const int warp = ptx::warp(), g = ptx::lane() / 4, t = ptx::lane() % 4;
  const int first_row = ((segment.block - part.first_block) * Shape::kTiles +
                         warp / Shape::kTokenWarps * Shape::kWarpTiles) *
                        kTileRows;
  const int token = segment.token_block * Shape::kTokens +
                    warp % Shape::kTokenWarps * Shape::kTokenTiles * 8 + 2 * t;
  const int tokens_left = args.num_rows - token;
  const int64_t stride = part.out_stride;
#pragma unroll
  for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = first_row + tile * kTileRows + g + 8 * r;
      if (row >= part.rows) continue;
      const float bias = part.bias != nullptr ? part.bias[row] : 0.0f;
      float* out = part.out + token * stride + row;
#pragma unroll
      for (int i = 0; i < 2 * Shape::kTokenTiles; ++i) {
        if (i / 2 * 8 + i % 2 < tokens_left) {
          const float value = sums[tile][i / 2 * 4 + 2 * r + i % 2] * args.x_scale + bias;
          *out = part.accumulates != 0 ? *out + value : value;
        }
        out += i % 2 == 0 ? stride : 7 * stride;
      }
    }
  }
}

// The same of pairs of tiles of gate and up. Lanes of rows g and g + 1 swap, so that a row of
// activations gets whole sectors from eight lanes: even ones store rows g and g + 1, odd ones
// g + 7 and g + 8.
template <class Shape>
SLUICE_DEVICE void store_gated(const ManyArgs& args, const Segment& segment,
                               const Sums<Shape>& sums) {
  static_assert(Shape::kWarpTiles == 2);
  const GatedOut& gated = args.gated;
  int thread = static_cast<int>(threadIdx.x);
  ptx::forget(thread);  // or what follows from it takes registers from the main loop
  const int warp = thread / ptx::kWarp, g = thread % ptx::kWarp / 4, t = thread % 4;
  const int first_row = (segment.block * Shape::kTiles / 2 + warp / Shape::kTokenWarps) * kTileRows;
  const int token =
      segment.token_block * Shape::kTokens + warp % Shape::kTokenWarps * Shape::kTokenTiles * 8;
  const int tokens_left = args.num_rows - token;
  const bool is_odd = g % 2 != 0;
  const int own_row = first_row + (is_odd ? g + 7 : g);
  float gate_bias[2] = {}, up_bias[2] = {};
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + g + 8 * r;
    if (row >= gated.rows) continue;
    if (gated.gate_bias != nullptr) gate_bias[r] = gated.gate_bias[row];
    if (gated.up_bias != nullptr) up_bias[r] = gated.up_bias[row];
  }
  uint16_t* out = gated.out + static_cast<int64_t>(token + 2 * t) * gated.stride + own_row;
#pragma unroll
  for (int i = 0; i < Shape::kTokenTiles; ++i) {
    if (8 * i >= tokens_left) return;
    uint32_t two[2];  // tokens, of rows g and g + 8
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float v[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int at = 4 * i + 2 * r + j;
        v[j] = gated_value(sums[0][at] * args.x_scale + gate_bias[r],
                           sums[1][at] * args.x_scale + up_bias[r], gated.curve);
      }
      two[r] = ptx::pack_halves(v[0], v[1]);
    }
    const uint32_t others = ptx::shuffle_xor(is_odd ? two[0] : two[1], 4);
    const uint32_t first = is_odd ? others : two[0], second = is_odd ? two[1] : others;
    if (own_row < gated.rows) {  // rows are padded
      auto* to = reinterpret_cast<uint32_t*>(out);
      if (8 * i + 2 * t < tokens_left) *to = ptx::permute_bytes(first, second, 0x5410);
      if (8 * i + 2 * t + 1 < tokens_left) {
        to[gated.stride / 2] = ptx::permute_bytes(first, second, 0x7632);
      }
    }
    out += 8 * gated.stride;
  }
}

// Which block has a unit (a block of tiles and a chunk), when `units` are split over `grid`.
SLUICE_DEVICE int owner_of(int64_t unit, int64_t units, int grid) {
  return static_cast<int>(((unit + 1) * grid - 1) / units);
}

// Where several blocks have a part of a segment's columns: who is not the last to come leaves its
// sums. The last one adds all up, in order, and gets true; it waits for others only while they
// write.
template <class Shape>
SLUICE_DEVICE bool add_up(const ManyArgs& args, const Segment& segment, int own, int grid,
                          Sums<Shape>& sums) {
  __shared__ bool is_last;
  const int chunks = (args.columns + kChunkColumns - 1) / kChunkColumns;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t units = static_cast<int64_t>(args.num_blocks) * chunks;
  const int64_t begin = static_cast<int64_t>(segment.block) * chunks;
  const int first = owner_of(begin, units, grid), last = owner_of(begin + chunks - 1, units, grid);
  if (first == last) return true;
  constexpr int kCount = Shape::kWarpTiles * Shape::kTokenTiles;
  constexpr int kThreads = kManyWarps * 32;
  const uint32_t others = static_cast<uint32_t>(last - first);
  uint32_t* const counters = args.counters + 2 * segment.block;
  // A block's first segment has the first place, its last one the second.
  const auto place = [&](int block) {
    return reinterpret_cast<uint4*>(args.partials) +
           static_cast<int64_t>(2 * block + (block == first ? 1 : 0)) * kCount * kThreads + thread;
  };
  if (thread == 0) {
    is_last = ptx::atomic_add(counters, 1u) == others;
    if (is_last) {
      while (ptx::load_acquire(counters + 1) != others) ptx::spin_pause();
      ptx::atomic_exchange(counters, 0u);
      ptx::atomic_exchange(counters + 1, 0u);
      ptx::fence();  // for all of the block, behind the barrier
    }
  }
  ptx::sync_block();
  constexpr bool kHasRoom = kCount <= 16;  // registers for its sums beside those of all
  if (!is_last || !kHasRoom) {
    uint4* to = place(own);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float* four = &sums[i / Shape::kTokenTiles][i % Shape::kTokenTiles * 4];
      ptx::store(to + i * kThreads, uint4{ptx::float_bits(four[0]), ptx::float_bits(four[1]),
                                          ptx::float_bits(four[2]), ptx::float_bits(four[3])});
    }
  }
  if (!is_last) {
    ptx::sync_block();
    if (thread == 0) {
      ptx::fence();  // for all of the block: the barrier has shown what they wrote
      ptx::atomic_add(counters + 1, 1u);
    }
    return false;
  }
  float kept[kHasRoom ? kCount : 1][4];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float* four = &sums[i / Shape::kTokenTiles][i % Shape::kTokenTiles * 4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if constexpr (kHasRoom) kept[i][j] = four[j];
      four[j] = 0.0f;
    }
  }
#pragma unroll 1
  for (int block = first; block <= last; ++block) {
    const uint4* from = place(block);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      float v[4];
      if (kHasRoom && block == own) {
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = kept[kHasRoom ? i : 0][j];
      } else {
        const uint4 words = ptx::load(from + i * kThreads);
        v[0] = ptx::bits_float(words.x);
        v[1] = ptx::bits_float(words.y);
        v[2] = ptx::bits_float(words.z);
        v[3] = ptx::bits_float(words.w);
      }
      float* four = &sums[i / Shape::kTokenTiles][i % Shape::kTokenTiles * 4];
#pragma unroll
      for (int j = 0; j < 4; ++j) four[j] += v[j];
    }
  }
  return true;
}

// Codes of this warp's tile in a stage to weights, the A operands of its four steps.
template <quant::Type kType>
SLUICE_DEVICE void make_quarter(const uint8_t* codes, const uint8_t* scales, int quarter, int lane,
                                uint32_t (&a)[4][4]) {
  using F = Format<kType>;
  BlockCodes blocks[2];
  if constexpr (kType == quant::Type::kF32) {
    load_float_quarter(codes, lane, blocks);
  } else {
    load_quarter<kType>(codes, lane, blocks);
  }
  using Made = ManyScales<kType>;
  uint32_t words[Made::kQuarterWords > 0 ? Made::kQuarterWords : 1] = {};
  if constexpr (Made::kQuarterWords > 0) {
    load_scales<kType>(scales, lane / 4, quarter, 0, words);
  }
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    uint32_t(&own)[4] = blocks[step / 2].a[step % 2];
    make_weights<kType>(own, step % 2,
                        words + (F::kGroup == 16 ? step : step / 2) * Made::kGroupWords);
#pragma unroll
    for (int i = 0; i < 4; ++i) a[step][i] = own[i];
  }
}

// The same by a warpgroup, in pieces: a tile's quarter is multiplied while the weights of the next
// one are made. `a`: what pieces have, in turns; its last product is under way at the end.
template <quant::Type kType, class Shape>
SLUICE_DEVICE void begin_stage(const uint8_t* stage, int warp_tile, const uint8_t* scales,
                               int quarter, int lane, uint32_t (&a)[2][4][4], Sums<Shape>& sums) {
  using Stage = ManyStage<kType, Shape>;
  constexpr bool kTakesTurns = Stage::kQuarters * Shape::kWarpTiles % 2 == 0;
#pragma unroll
  for (int q = 0; q < Stage::kQuarters; ++q) {
    const uint64_t in = ptx::warpgroup_operand(stage + q * Stage::kInBytes);
#pragma unroll
    for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
      uint32_t(&own)[4][4] = a[(q * Shape::kWarpTiles + tile) % 2];
      if constexpr (!kTakesTurns) ptx::warpgroup_wait();
      make_quarter<kType>(stage + Stage::kCodes + (warp_tile + tile) * Stage::kTileBytes +
                              q * Format<kType>::kQuarterBytes,
                          scales + tile * ManyScales<kType>::kTileBytes, quarter + q, lane, own);
      ptx::warpgroup_wait();
      ptx::warpgroup_begin();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        ptx::warpgroup_mma(sums[tile], own[step], ptx::warpgroup_step(in, step));
      }
      ptx::warpgroup_commit();
    }
  }
}

// As block `block` of `grid`.
template <quant::Type kType, class Shape>
SLUICE_DEVICE void run(const ManyArgs& args, int block, int grid) {
  using F = Format<kType>;
  using Stage = ManyStage<kType, Shape>;
  using Made = ManyScales<kType>;
  const int warp = ptx::warp(), lane = ptx::lane();
  const int warp_tile = warp / Shape::kTokenWarps * Shape::kWarpTiles;
  const int warp_token = warp % Shape::kTokenWarps * Shape::kTokenTiles * 8;
  uint8_t* const shared = reinterpret_cast<uint8_t*>(Shape::kIsWarpgroup ? ptx::aligned_shared()
                                                                         : ptx::dynamic_shared());
  const int ring_bytes = args.num_slots * Stage::kBytes;
  uint8_t* const scales = shared + ring_bytes + warp * Shape::kWarpTiles * Made::kTileBytes;
  // Of slots that have been read some may still be in use by products: one more.
  constexpr int kBusySlots = Shape::kIsWarpgroup ? 2 : 1;
  constexpr int kUsualSlots = usual_many_slots<kType, Shape>() - kBusySlots + 1;

  // Tiles whose scales are made side by side: Q3_K's have no registers beside so many sums.
  [[maybe_unused]] constexpr int kScalesTogether =
      Shape::kTokenTiles == 16 && F::kCodes == Codes::kBits3 ? 1 : Shape::kWarpTiles;

  ptx::let_next_start();
  Stages<kType, Shape> stages(args, block, grid);
  int slot = 0, free_slot = ring_bytes - kBusySlots * Stage::kBytes;
  Stages<kType, Shape> stages_in = stages;
  for (int at = 0; at < free_slot; at += Stage::kBytes) stages.copy_next_weights(shared + at);
  ptx::wait_for_previous();  // which writes activations; nobody writes weights
  for (int at = 0; at < free_slot; at += Stage::kBytes) stages_in.copy_next_in(shared + at);

  Segments segments(args, block, grid);
  uint32_t a[2][4][4];  // of products that are under way
  while (!segments.is_over()) {
    const Segment segment = segments.next();
    Sums<Shape> sums = {};
    // All quarters but the last chunk's are there.
    const int count =
        (segment.end_chunk - 1 - segment.chunk) * Stage::kPerChunk +
        (quarters_of_chunk(args, segment.end_chunk - 1) + Stage::kQuarters - 1) / Stage::kQuarters;
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
      const int quarter = i % Stage::kPerChunk * Stage::kQuarters;
      wait_for_stage<kUsualSlots>(args.num_slots - kBusySlots + 1);
      if constexpr (Shape::kIsWarpgroup) ptx::fence_for_warpgroup_reads();
      ptx::sync_block();  // the stage is here for all, and all have done with one before
      stages.copy_next(shared + free_slot);
      const uint8_t* stage = shared + slot;
      if constexpr (F::kScales != Scales::kNone) {
        if (quarter == 0) {
          ptx::sync_warp();
#pragma unroll kScalesTogether
          for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
            make_scales<kType>(stage + Stage::kScales + (warp_tile + tile) * F::kScaleBytes,
                               lane / 4, lane % 4, scales + tile * Made::kTileBytes);
          }
          ptx::sync_warp();
        }
      }
      if constexpr (Shape::kIsWarpgroup) {
        begin_stage<kType, Shape>(stage, warp_tile, scales, quarter, lane, a, sums);
      } else {
        add_stage<kType, Shape>(stage + Stage::kCodes + warp_tile * F::kQuarterBytes,
                                stage + warp_token * 128, scales, quarter, lane, sums);
      }
      free_slot = free_slot + Stage::kBytes == ring_bytes ? 0 : free_slot + Stage::kBytes;
      slot = slot + Stage::kBytes == ring_bytes ? 0 : slot + Stage::kBytes;
    }
    if constexpr (Shape::kIsWarpgroup) {
      ptx::warpgroup_wait();
#pragma unroll
      for (int tile = 0; tile < Shape::kWarpTiles; ++tile) ptx::warpgroup_sums(sums[tile]);
    }
    if (args.is_split == 0 || add_up<Shape>(args, segment, block, grid, sums)) {
      if (args.gated.out != nullptr) {
        store_gated<Shape>(args, segment, sums);
      } else {
        store_sums<Shape>(args, segment, sums);
      }
    }
  }
}

template <bool kIsThere, quant::Type kType, class Shape>
SLUICE_DEVICE void run_if(const ManyArgs& args) {
  if constexpr (kIsThere) {
    run<kType, Shape>(args, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
  }
}

template <bool kIsThere, class Shape>
SLUICE_DEVICE void run_types_if(const MixedArgs<ManyArgs>& args) {
  if constexpr (kIsThere) {
    run_mixed(args, []<quant::Type kType>(const ManyArgs& own, int block, int grid) {
      run<kType, Shape>(own, block, grid);
    });
  }
}

}  // namespace many
}  // namespace sluice::backend::cuda

// Each kind of kernel for the machines that use it: empty elsewhere. The host has both.
#ifdef __CUDA_ARCH__
#define SLUICE_HAS_MANY (!SLUICE_HAS_WARPGROUPS)
#else
#define SLUICE_HAS_MANY 1
#endif

#define SLUICE_MANY_KERNEL(name, type, is_there, Shape)       \
  SLUICE_KERNEL(name, ManyArgs, kManyWarps * 32, 1) {         \
    many::run_if<(is_there), quant::Type::type, Shape>(args); \
  }
#define SLUICE_MIXED_KERNEL(name, is_there, Shape)               \
  SLUICE_KERNEL(name, MixedArgs<ManyArgs>, kManyWarps * 32, 1) { \
    many::run_types_if<(is_there), Shape>(args);                 \
  }
#define SLUICE_MANY_KERNELS(name, type)                               \
  SLUICE_MANY_KERNEL(linear_32_##name, type, SLUICE_HAS_MANY, Many32) \
  SLUICE_MANY_KERNEL(linear_64_##name, type, SLUICE_HAS_MANY, Many64) \
  SLUICE_MANY_KERNEL(linear_128_##name, type, SLUICE_HAS_MANY, Many128)
#define SLUICE_WIDE_KERNELS(name, type)                                         \
  SLUICE_MANY_KERNEL(linear_wide32_##name, type, SLUICE_HAS_WARPGROUPS, Wide32) \
  SLUICE_MANY_KERNEL(linear_wide64_##name, type, SLUICE_HAS_WARPGROUPS, Wide64) \
  SLUICE_MANY_KERNEL(linear_wide128_##name, type, SLUICE_HAS_WARPGROUPS, Wide128)
