#pragma once

// Products of one to sixteen rows of activations: as fast as the matrix comes from memory.
//
// Idea. Every weight is read once and meets at most eight numbers, so nothing but the stream of
// weights may be waited for. Tensor cores multiply 16 rows of the matrix by 8 rows of activations
// at once, which costs the same for one as for eight (and twice that for up to sixteen); codes
// become their A operand with few instructions, scales are applied to the sums
// (linear_fragments.cuh).
//
// A block of 12 warps, one a multiprocessor, has its share of the tiles and takes four at a time;
// the warps split the columns. Each warp reads a stream of its own: chunk after chunk of 256
// columns, in each the chunks of the four tiles, then the next four tiles; it copies them into a
// ring in shared memory, `num_slots` deep, and never waits for another warp but where the sums of
// four tiles meet.
//
//            columns: warp 0      warp 1      ...  warp 11
//   tile 0  | 0  4 | 8 ..  |           the order in which warp 0 reads chunks: of all four tiles,
//   tile 1  | 1  5 | 9     |           as the activations of a chunk, in registers as B operands,
//   tile 2  | 2  6 |       |           serve them all
//   tile 3  | 3  7 |       |
//   tile 4  | then these, without a gap in the stream
//
// In flight: 12 warps * (num_slots - 1) chunks, 110 kB in 4 bits with 5 slots.
//
// Where blocks would have unequal shares the columns are split over blocks, too (num_splits): who
// comes last adds up, in order, so that a result never depends on who it was. No sum depends on how
// many rows of activations there are either.
//
// Where tiles of gate and up take turns (LowArgs::gated) a block has both of a pair, and who adds
// up applies the activation.
//
// Reference: tests/simt/linear_test.cpp and gated_linear_test.cpp hold it against quant::dequantize
// and sums in double.

#include "backend/cuda/gated.cuh"
#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/linear_low.h"
#include "backend/cuda/linear_mixed.cuh"

namespace sluice::backend::cuda {
namespace low {

// Tiles that a block computes together, of one part and one split of the columns.
struct Pass {
  int unit;       // the first tile, counted over all splits
  int num_tiles;  // of the block
  int part;
  int tile;  // of the part
  int split;
};

SLUICE_DEVICE int num_warps() { return static_cast<int>(blockDim.x) / ptx::kWarp; }

SLUICE_DEVICE Pass pass_at(const LowArgs& args, int unit, int end) {
  Pass pass = {unit, 0, 0, unit, 0};
  while (pass.tile >= args.num_tiles) {
    pass.tile -= args.num_tiles;
    ++pass.split;
  }
  int part_end = args.num_tiles;
  for (int i = 1; i < args.num_parts; ++i) {
    const int first = args.parts[i].first_tile;
    if (pass.tile >= first) {
      pass.part = i;
    } else {
      part_end = lesser(part_end, first);
    }
  }
  pass.num_tiles = lesser(lesser(kLowTiles * (num_warps() / args.column_warps), end - unit),
                          part_end - pass.tile);
  pass.tile -= args.parts[pass.part].first_tile;
  return pass;
}

// What a warp has of a pass.
struct WarpPass {
  const uint8_t* first;  // the first tile's first stage
  int num_tiles;
  int first_stage, end_stage;  // of the columns
};

template <quant::Type kType>
SLUICE_DEVICE WarpPass warp_pass(const LowArgs& args, const Pass& pass, int warp) {
  const int row_warp = warp / args.column_warps;
  const int column_warp = warp - row_warp * args.column_warps;
  const int begin = args.split_begin[pass.split];
  const int count = args.split_begin[pass.split + 1] - begin;
  WarpPass own;
  own.first_stage = begin + count * column_warp / args.column_warps;
  own.end_stage = begin + count * (column_warp + 1) / args.column_warps;
  own.num_tiles = greater(0, lesser(pass.num_tiles - kLowTiles * row_warp, kLowTiles));
  own.first = args.parts[pass.part].tiles +
              static_cast<int64_t>(pass.tile + kLowTiles * row_warp) * args.tile_bytes +
              own.first_stage * LowStage<kType>::kBytes;
  return own;
}

// A warp's stream of stages, over all passes of its block, ahead of what it computes.
template <quant::Type kType>
class Stream {
 public:
  using Stage = LowStage<kType>;

  SLUICE_DEVICE Stream(const LowArgs& args, int unit, int end, int warp)
      : args_(args), policy_(ptx::evict_first_policy()), next_unit_(unit), end_(end), warp_(warp) {
    next_pass();
  }

  // Copies the next stage to `slot`, if there is one; a group of copies in any case.
  SLUICE_DEVICE void copy_next(uint8_t* slot, int lane) {
    if (tiles_ > 0) {
      copy(slot, lane);
      advance();
    }
    ptx::cp_async_commit();
  }

 private:
  static constexpr bool kMayBeShort = !Stage::kIsFloat && Format<kType>::kBlockElements == 32;

  SLUICE_DEVICE void copy(uint8_t* slot, int lane) const {
    constexpr int kPieces = Stage::kBytes / 16;
    const uint8_t* from = first_ + tile_ * args_.tile_bytes + 16 * lane;
    uint8_t* to = slot + 16 * lane;
    int missing = 0;  // pieces of quarters that the last chunk does not have: zeros
    if constexpr (kMayBeShort) {
      const int quarters =
          (args_.columns - stage_ * kChunkColumns + kQuarterColumns - 1) / kQuarterColumns;
      missing = greater(0, kChunkQuarters - quarters) * (Format<kType>::kQuarterBytes / 16);
    }
#pragma unroll
    for (int first = 0; first < kPieces; first += 32) {
      const int piece = first + lane;
      if (first + 32 > kPieces && piece >= kPieces) break;
      if constexpr (kMayBeShort) {
        constexpr int kCodePieces = kChunkQuarters * Format<kType>::kQuarterBytes / 16;
        const bool is_there = piece < kCodePieces - missing || piece >= kCodePieces;
        const int skipped = piece < kCodePieces ? 0 : missing;
        ptx::cp_async_stream16(to + 16 * first, from + 16 * (is_there ? first - skipped : -lane),
                               policy_, is_there);
      } else {
        ptx::cp_async_stream16(to + 16 * first, from + 16 * first, policy_);
      }
    }
  }

  SLUICE_DEVICE void advance() {
    if (++tile_ < tiles_) return;
    tile_ = 0;
    first_ += Stage::kBytes;
    if (++stage_ == end_stage_) next_pass();
  }

  SLUICE_DEVICE void next_pass() {
    tiles_ = 0;
    while (next_unit_ < end_) {
      const Pass pass = pass_at(args_, next_unit_, end_);
      const WarpPass own = warp_pass<kType>(args_, pass, warp_);
      next_unit_ += pass.num_tiles;
      if (own.num_tiles == 0 || own.first_stage == own.end_stage) continue;
      tiles_ = own.num_tiles;
      tile_ = 0;
      stage_ = own.first_stage;
      end_stage_ = own.end_stage;
      first_ = own.first;
      return;
    }
  }

  const LowArgs& args_;
  uint64_t policy_;
  const uint8_t* first_ = nullptr;  // the first tile's stage
  int tiles_ = 0, tile_ = 0;        // 0 tiles: it is over
  int stage_ = 0, end_stage_ = 0;
  int next_unit_, end_, warp_;
};

// Activations of a stage as B operands: lane 4 g + t has those of row g. And their sums.
template <quant::Type kType>
struct Operands {
  using Stage = LowStage<kType>;
  static constexpr bool kIsSplit = kType == quant::Type::kBF16 || kType == quant::Type::kF32;
  static constexpr bool kIsFull = Format<kType>::kBlockElements == kChunkColumns;
  static constexpr float kSumUnit = 64.0f;  // sums are in it: of 32 halves they may exceed one

  uint32_t x[Stage::kBlocks][4];                    // pairs of an octet
  uint32_t rest[kIsSplit ? Stage::kBlocks : 1][4];  // x is bf16, and so is what it has lost
  uint32_t sums[2][2];

  // Of eight rows from `first_row` on; rows that are not there are as the last one.
  SLUICE_DEVICE void load(const LowArgs& args, int first_row, int stage, int g, int t) {
    const int own_row = lesser(first_row + g, args.num_rows - 1);
    const uint16_t* row = args.x + static_cast<int64_t>(own_row) * args.x_stride;
    const int num_columns = args.columns - stage * Stage::kColumns;  // from here on
    const auto* pairs = reinterpret_cast<const uint32_t*>(row + stage * Stage::kColumns) + t;
    if (kIsFull || num_columns >= Stage::kColumns) {
#pragma unroll
      for (int i = 0; i < 4 * Stage::kBlocks; ++i) x[i / 4][i % 4] = pairs[4 * i];
    } else {
#pragma unroll
      for (int i = 0; i < 4 * Stage::kBlocks; ++i) {
        x[i / 4][i % 4] = 8 * i < num_columns ? pairs[4 * i] : 0u;
      }
    }
    if constexpr (sum_group<kType>() > 0) sum(g);
    shift_pairs();
    if constexpr (kIsSplit) split();
  }

 private:
  // A block's pairs as A operand, times columns of ones: lane 4 g + t gets what it wants as B
  // operand of lows, two sums of row g, in two parts (of even and of odd pairs, the operand's rows
  // 8 to 15).
  SLUICE_DEVICE void sum(int g) {
    constexpr bool kHalved = sum_group<kType>() == 16;
    float s[2][4] = {};
#pragma unroll
    for (int n = 0; n < Stage::kBlocks; ++n) {
      // Groups of 16: lane t has 4 t and 4 t + 1 of the first product, the next two of the second.
      const int column = kHalved ? n / 2 * 2 : n;
      const uint32_t first = g == column ? 0x24002400u : 0u;  // a 64th
      const uint32_t second = kHalved ? (g == column + 1 ? 0x24002400u : 0u) : first;
      ptx::mma_f16(s[kHalved ? n % 2 : 0], x[n], {first, second});
    }
#pragma unroll
    for (int i = 0; i < (kHalved ? 2 : 1); ++i) {
      const float a = s[i][0] + s[i][2], b = s[i][1] + s[i][3];
      sums[0][i] = ptx::pack_halves(a, b);
      const uint32_t lost =
          ptx::pack_halves(a - ptx::low_half(sums[0][i]), b - ptx::high_half(sums[0][i]));
      if constexpr (kHalved) {
        sums[1][i] = lost;
      } else {
        sums[0][1] = lost;
      }
    }
  }

  SLUICE_DEVICE void shift_pairs() {
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const int shift = Format<kType>::kLooksUp ? 0 : pair_shift(Format<kType>::kCodes, p);
      if (shift == 0) continue;
      const uint32_t factor = 0x00010001u * static_cast<uint32_t>((15 - shift) << 10);  // 2^-shift
#pragma unroll
      for (int n = 0; n < Stage::kBlocks; ++n) x[n][p] = ptx::multiply_halves(x[n][p], factor);
    }
  }

  SLUICE_DEVICE void split() {
#pragma unroll
    for (int n = 0; n < Stage::kBlocks; ++n) {
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const float a = ptx::low_half(x[n][p]), b = ptx::high_half(x[n][p]);
        x[n][p] = ptx::pack_bf16(a, b);
        rest[n][p] = ptx::pack_bf16(a - ptx::bits_float(x[n][p] << 16),
                                    b - ptx::bits_float(x[n][p] & 0xffff0000u));
      }
    }
  }
};

SLUICE_DEVICE void add_scaled(const float (&c)[4], float top, float bottom, float (&sums)[4]) {
  sums[0] = fmaf(top, c[0], sums[0]);
  sums[1] = fmaf(top, c[1], sums[1]);
  sums[2] = fmaf(bottom, c[2], sums[2]);
  sums[3] = fmaf(bottom, c[3], sums[3]);
}

// sums [16 rows, 8 each] += a stage of a tile times activations, in code_unit().
template <quant::Type kType, int kTokenTiles>
SLUICE_DEVICE void add_product(const uint8_t* stage, const Operands<kType> (&in)[kTokenTiles],
                               int lane, uint32_t float_bits, float (&sums)[kTokenTiles][4]) {
  using F = Format<kType>;
  const int g = lane / 4, t = lane % 4;
  if constexpr (kType == quant::Type::kF32) {
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      uint32_t w[3][4];
#pragma unroll
      for (int p = 0; p < 2; ++p) {
        const uint4 four = shared16(stage + (2 * step + p) * 512 + lane * 16);
        const uint32_t bits[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float a = ptx::bits_float(bits[2 * r]), b = ptx::bits_float(bits[2 * r + 1]);
#pragma unroll
          for (int i = 0; i < 3; ++i) {  // 8 bits and sign at a time, cut off: exact
            const uint32_t high_a = ptx::float_bits(a) & 0xffff0000u;
            const uint32_t high_b = ptx::float_bits(b) & 0xffff0000u;
            w[i][r + 2 * p] = high_a >> 16 | high_b;
            a -= ptx::bits_float(high_a);
            b -= ptx::bits_float(high_b);
          }
        }
      }
#pragma unroll
      for (int tokens = 0; tokens < kTokenTiles; ++tokens) {
        const uint32_t(&x)[4] = in[tokens].x[step / 2];
        const uint32_t(&rest)[4] = in[tokens].rest[step / 2];
        const int p = step % 2 * 2;
        ptx::mma_bf16(sums[tokens], w[2], {x[p], x[p + 1]});
        ptx::mma_bf16(sums[tokens], w[1], {rest[p], rest[p + 1]});
        ptx::mma_bf16(sums[tokens], w[0], {rest[p], rest[p + 1]});
        ptx::mma_bf16(sums[tokens], w[1], {x[p], x[p + 1]});
        ptx::mma_bf16(sums[tokens], w[0], {x[p], x[p + 1]});
      }
    }
    return;
  }
  RowScales<kType> scales;
  const uint8_t* record = stage + kChunkQuarters * F::kQuarterBytes;
  if constexpr (F::kScales != Scales::kNone) scales.load(record, g, float_bits);
#pragma unroll
  for (int quarter = 0; quarter < LowStage<kType>::kBlocks / 2; ++quarter) {
    BlockCodes blocks[2];
    load_quarter<kType>(stage + quarter * F::kQuarterBytes, lane, blocks);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int n = 2 * quarter + i;
      if constexpr (F::kScales == Scales::kNone) {
#pragma unroll
        for (int step = 0; step < 2; ++step) {
#pragma unroll
          for (int tokens = 0; tokens < kTokenTiles; ++tokens) {
            const uint32_t(&x)[4] = in[tokens].x[n];
            if constexpr (kType == quant::Type::kF16) {
              ptx::mma_f16(sums[tokens], blocks[i].a[step], {x[2 * step], x[2 * step + 1]});
            } else {
              const uint32_t(&rest)[4] = in[tokens].rest[n];
              ptx::mma_bf16(sums[tokens], blocks[i].a[step], {rest[2 * step], rest[2 * step + 1]});
              ptx::mma_bf16(sums[tokens], blocks[i].a[step], {x[2 * step], x[2 * step + 1]});
            }
          }
        }
      } else {
        constexpr int kGroups = 32 / F::kGroup;  // of a block: one for both steps, or each its own
#pragma unroll
        for (int group = 0; group < kGroups; ++group) {
          const float top = scales.at(0, kGroups * n + group);
          const float bottom = scales.at(1, kGroups * n + group);
#pragma unroll
          for (int tokens = 0; tokens < kTokenTiles; ++tokens) {
            const uint32_t(&x)[4] = in[tokens].x[n];
            float c[4] = {};
            ptx::mma_f16(c, blocks[i].a[group], {x[2 * group], x[2 * group + 1]});
            if constexpr (kGroups == 1) ptx::mma_f16(c, blocks[i].a[1], {x[2], x[3]});
            add_scaled(c, top, bottom, sums[tokens]);
          }
        }
      }
    }
  }
  if constexpr (sum_group<kType>() > 0) {
    uint32_t lows[4];
    load_lows<kType>(record, g, t, lows);
    const float top = Operands<kType>::kSumUnit * low_factor<kType>(record, scales, g, 0);
    const float bottom = Operands<kType>::kSumUnit * low_factor<kType>(record, scales, g, 1);
#pragma unroll
    for (int tokens = 0; tokens < kTokenTiles; ++tokens) {
      float c[4] = {};
      ptx::mma_f16(c, lows, in[tokens].sums[0]);
      if constexpr (sum_group<kType>() == 16) ptx::mma_f16(c, lows, in[tokens].sums[1]);
      add_scaled(c, top, bottom, sums[tokens]);
    }
  }
}

// A lane's four sums of a tile and eight rows of activations stand together; where among the 128 is
// that of row `index` % 16 of the matrix and row `index` / 16 of activations.
SLUICE_DEVICE int place_of_sum(int index) {
  const int row = index % 16, token = index / 16 % 8;
  return index / 128 * 128 + (row % 8 * 4 + token / 2) * 4 + row / 8 * 2 + token % 2;
}

SLUICE_DEVICE void store_result(const LowArgs& args, const LowPart& part, int tile, int index,
                                float value) {
  const int row = tile * kTileRows + index % 16, token = index / 16;
  if (row >= part.rows || token >= args.num_rows) return;
  float* out = part.out + static_cast<int64_t>(token) * part.out_stride + row;
  if (part.bias != nullptr) value += part.bias[row];
  *out = part.accumulates != 0 ? *out + value : value;
}

// `pair`: of a tile of gate and one of up.
SLUICE_DEVICE void store_gated(const LowArgs& args, int pair, int index, float gate, float up) {
  const GatedOut& gated = args.gated;
  const int row = pair * kTileRows + index % 16, token = index / 16;
  if (row >= gated.rows || token >= args.num_rows) return;
  if (gated.gate_bias != nullptr) gate += gated.gate_bias[row];
  if (gated.up_bias != nullptr) up += gated.up_bias[row];
  gated.out[static_cast<int64_t>(token) * gated.stride + row] =
      ptx::float_to_half(gated_value(gate, up, gated.curve));
}

// Tiles whose results are wanted together.
SLUICE_DEVICE int tiles_together(const LowArgs& args) { return args.gated.out != nullptr ? 2 : 1; }

// Stores the results of a pass's tiles of which `is_wanted` (asked for the first of those that are
// wanted together); `sum_of` has their sums.
template <int kTileSums, class IsWanted, class SumOf>
SLUICE_DEVICE void store_pass(const LowArgs& args, const Pass& pass, float unit,
                              const IsWanted& is_wanted, const SumOf& sum_of) {
  const int thread = static_cast<int>(threadIdx.x), num_threads = static_cast<int>(blockDim.x);
  const int together = tiles_together(args);
  for (int i = thread; i < pass.num_tiles / together * kTileSums; i += num_threads) {
    const int tile = i / kTileSums * together, index = i % kTileSums;
    if (!is_wanted(tile)) continue;
    const float sum = sum_of(tile, index) * unit;
    if (together == 2) {
      store_gated(args, (pass.tile + tile) / 2, index, sum, sum_of(tile + 1, index) * unit);
    } else {
      store_result(args, args.parts[pass.part], pass.tile + tile, index, sum);
    }
  }
}

// Adds up what the warps have of a pass, and, when all blocks have come that share its columns,
// what they have. `sums` [row warps, column warps, kLowTiles, a tile's].
template <int kTokenTiles>
SLUICE_DEVICE void finish_pass(const LowArgs& args, const Pass& pass, const float* sums,
                               float unit) {
  constexpr int kTileSums = kTokenTiles * 128;
  __shared__ uint32_t is_last[kLowTiles * low_warps(kTokenTiles)];
  const int thread = static_cast<int>(threadIdx.x), num_threads = static_cast<int>(blockDim.x);
  const int first = pass.unit - pass.split * args.num_tiles;  // tile of all parts
  const auto own_sum = [&](int tile, int index) {
    const float* own =
        sums + (tile / kLowTiles * args.column_warps * kLowTiles + tile % kLowTiles) * kTileSums +
        place_of_sum(index);
    float sum = 0.0f;
#pragma unroll 4
    for (int w = 0; w < args.column_warps; ++w) sum += own[w * kLowTiles * kTileSums];
    return sum;
  };
  if (args.num_splits == 1) {
    store_pass<kTileSums>(
        args, pass, unit, [](int) { return true; }, own_sum);
    return;
  }
  const auto partial = [&](int split, int tile, int index) {
    return args.partials +
           (static_cast<int64_t>(split) * args.num_tiles + first + tile) * kTileSums + index;
  };
  for (int i = thread; i < pass.num_tiles * kTileSums; i += num_threads) {
    *partial(pass.split, i / kTileSums, i % kTileSums) = own_sum(i / kTileSums, i % kTileSums);
  }
  ptx::sync_block();
  if (thread < pass.num_tiles && thread % tiles_together(args) == 0) {
    ptx::fence();  // for all of the block: the barrier has shown what they wrote
    uint32_t* counter = args.counters + first + thread;
    const bool last = ptx::atomic_add(counter, 1u) == static_cast<uint32_t>(args.num_splits - 1);
    if (last) ptx::atomic_exchange(counter, 0u);
    is_last[thread] = last ? 1u : 0u;
    ptx::fence();
  }
  ptx::sync_block();
  const auto sum_of_all = [&](int tile, int index) {
    float sum = 0.0f;
#pragma unroll 8
    for (int split = 0; split < args.num_splits; ++split) sum += *partial(split, tile, index);
    return sum;
  };
  store_pass<kTileSums>(
      args, pass, unit, [&](int tile) { return is_last[tile] != 0; }, sum_of_all);
}

// As block `block` of `grid`.
template <quant::Type kType, int kTokenTiles>
SLUICE_DEVICE void run(const LowArgs& args, int block, int grid) {
  using Stage = LowStage<kType>;
  const int lane = ptx::lane(), warp = ptx::warp();
  const int num_units = args.num_tiles * args.num_splits;
  const int together = tiles_together(args);
  const int64_t num_shared = num_units / together;  // that blocks share out
  const int begin = static_cast<int>(num_shared * block / grid) * together;
  const int end = static_cast<int>(num_shared * (block + 1) / grid) * together;

  uint8_t* const shared = reinterpret_cast<uint8_t*>(ptx::dynamic_shared());
  const int ring_bytes = args.num_slots * Stage::kBytes;
  uint8_t* const ring = shared + warp * ring_bytes;
  float* const sums = reinterpret_cast<float*>(shared + num_warps() * ring_bytes);
  uint4* const own_sums =
      reinterpret_cast<uint4*>(sums) + warp * kLowTiles * kTokenTiles * 32 + lane;

  ptx::let_next_start();
  Stream<kType> stream(args, begin, end, warp);
  for (int i = 0; i + 1 < args.num_slots; ++i) stream.copy_next(ring + i * Stage::kBytes, lane);
  ptx::wait_for_previous();  // which writes activations; nobody writes weights

  int slot = 0, free_slot = ring_bytes - Stage::kBytes;  // to be read next, to be filled next
  for (int unit = begin; unit < end;) {
    const WarpPass own = warp_pass<kType>(args, pass_at(args, unit, end), warp);
    if (own.first_stage == own.end_stage) {
      for (int i = 0; i < own.num_tiles * kTokenTiles; ++i) {
        ptx::store(own_sums + 32 * i, uint4{0, 0, 0, 0});
      }
    }
    for (int stage = own.first_stage; stage < own.end_stage; ++stage) {
      Operands<kType> in[kTokenTiles];
#pragma unroll
      for (int i = 0; i < kTokenTiles; ++i) in[i].load(args, 8 * i, stage, lane / 4, lane % 4);
#pragma unroll 1
      for (int tile = 0; tile < own.num_tiles; ++tile) {
        wait_for_stage(args.num_slots);
        ptx::sync_warp();  // the stage is here for all lanes, and all have read the one before
        stream.copy_next(ring + free_slot, lane);
        float sum[kTokenTiles][4];
#pragma unroll
        for (int i = 0; i < kTokenTiles; ++i) {
          uint4 before = {0, 0, 0, 0};
          if (stage > own.first_stage) {
            before = ptx::load(own_sums + (tile * kTokenTiles + i) * 32);
          }
          sum[i][0] = ptx::bits_float(before.x);
          sum[i][1] = ptx::bits_float(before.y);
          sum[i][2] = ptx::bits_float(before.z);
          sum[i][3] = ptx::bits_float(before.w);
        }
        add_product<kType, kTokenTiles>(ring + slot, in, lane, args.float_bits, sum);
#pragma unroll
        for (int i = 0; i < kTokenTiles; ++i) {
          ptx::store(own_sums + (tile * kTokenTiles + i) * 32,
                     uint4{ptx::float_bits(sum[i][0]), ptx::float_bits(sum[i][1]),
                           ptx::float_bits(sum[i][2]), ptx::float_bits(sum[i][3])});
        }
        free_slot = slot;
        slot = slot + Stage::kBytes == ring_bytes ? 0 : slot + Stage::kBytes;
      }
    }
    ptx::forget(unit);
    const Pass pass = pass_at(args, unit, end);
    ptx::sync_block();
    finish_pass<kTokenTiles>(args, pass, sums, args.x_scale * code_unit<kType>());
    ptx::sync_block();
    unit += pass.num_tiles;
  }
}

template <quant::Type kType, int kTokenTiles>
SLUICE_DEVICE void run_alone(const LowArgs& args) {
  run<kType, kTokenTiles>(args, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
}

template <int kTokenTiles>
SLUICE_DEVICE void run_types(const MixedArgs<LowArgs>& args) {
  run_mixed(args, []<quant::Type kType>(const LowArgs& own, int block, int grid) {
    run<kType, kTokenTiles>(own, block, grid);
  });
}

}  // namespace low
}  // namespace sluice::backend::cuda

#define SLUICE_LOW_KERNELS(name, type)                             \
  SLUICE_KERNEL(linear_8_##name, LowArgs, low_warps(1) * 32, 1) {  \
    low::run_alone<quant::Type::type, 1>(args);                    \
  }                                                                \
  SLUICE_KERNEL(linear_16_##name, LowArgs, low_warps(2) * 32, 1) { \
    low::run_alone<quant::Type::type, 2>(args);                    \
  }
