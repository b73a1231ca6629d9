// Attention of a prompt's tokens.
//
// A block has a tile of queries: some tokens of a sequence times all heads that read one kv head,
// 128 rows, 16 a warp; row r is token r / group, head r % group. Keys and values come into shared
// memory once for all of them, a stage of 64 tokens (4 units; 2 of large heads) at a time, three
// stages in a ring, as they lie in the cache: that is how the lanes want them, so that a warp reads
// them with 16 bytes a lane and no bank conflicts.
//
//   grid   x: kv head   y: tile (StepView::tiles)
//
// Stages begin at multiples of their size, whatever tokens the tile has; a warp leaves out those of
// which its rows see nothing. So a row's result is the same in a chunk of any size.
//
// Tested by tests/simt/attention_test.cpp against plain attention in double.

#include "backend/cuda/attention.cuh"
#include "backend/cuda/attention.h"
#include "backend/cuda/kernels.h"

namespace sluice::backend::cuda {
namespace {

constexpr int kWarps = kPrefillWarps;
constexpr int kThreads = kWarps * 32;
constexpr int kRows = kWarps * 16;
constexpr int kStages = kPrefillStages;
constexpr float kLog2E = 1.4426950408889634f;

struct Tile {
  StepSequence sequence;
  int first_token, num_tokens;  // of the sequence's tokens in the step
  int kv_head, group;
  int first_key, last_key;  // that some row sees
};

__device__ Tile find_tile(const AttentionArgs& args) {
  const StepTile place = args.step.tiles[blockIdx.y];
  Tile tile;
  tile.sequence = args.step.sequences[place.sequence];
  tile.group = args.num_heads / args.num_kv_heads;
  tile.kv_head = static_cast<int>(blockIdx.x);
  tile.first_token = place.first_token;
  tile.num_tokens = min(kRows / tile.group, tile.sequence.num_tokens - place.first_token);
  const int first_position = tile.sequence.num_cached + tile.first_token;
  tile.first_key = args.window > 0 ? max(0, first_position - args.window + 1) : 0;
  tile.last_key = first_position + tile.num_tokens - 1;
  return tile;
}

// A row of the tile; tokens beyond the last have the last one's position, and are not written.
struct RowPlace {
  int token, head;  // of the step, of the model
  int position;
  bool is_there;
};
__device__ RowPlace place_of_row(const Tile& tile, int row) {
  RowPlace place;
  const int token = row / tile.group;
  place.is_there = token < tile.num_tokens;
  const int within = tile.first_token + min(token, tile.num_tokens - 1);
  place.token = tile.sequence.first_token + within;
  place.position = tile.sequence.num_cached + within;
  place.head = tile.kv_head * tile.group + row % tile.group;
  return place;
}

template <int kGroups>
__device__ void load_queries(const AttentionArgs& args, const RowPlace (&rows)[2],
                             Queries<kGroups>& q) {
  const int t = ptx::lane() % 4;
  const bool is_aligned = args.head_dim % 8 == 0;
  SLUICE_UNROLL
  for (int i = 0; i < kGroups; ++i) {
    float values[2][8] = {};
    const int first = 32 * i + 8 * t;
    SLUICE_UNROLL
    for (int r = 0; r < 2; ++r) {
      if (!rows[r].is_there || first >= args.head_dim) continue;
      const float* const from =
          args.q + rows[r].token * args.q_stride + rows[r].head * args.head_dim + first;
      if (is_aligned) {
        const float4 low = ptx::load(reinterpret_cast<const float4*>(from));
        const float4 high = ptx::load(reinterpret_cast<const float4*>(from + 4));
        const float all[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        for (int d = 0; d < 8; ++d) values[r][d] = all[d];
        continue;
      }
      for (int d = 0; d < 8; ++d) {
        if (first + d < args.head_dim) values[r][d] = from[d];
      }
    }
    q.set(i, values[0], values[1], args.scale * kLog2E);
  }
}

// Sets a stage on its way into shared memory; units behind the last are zeros.
template <int kGroups, bool kIsQ8>
__device__ void copy_stage(const AttentionArgs& args, const Tile& tile, int stage, std::byte* to) {
  constexpr int kUnits = kPrefillStageUnits<kGroups>;
  constexpr int kUnitBytes = CacheLayout{1, 32 * kGroups, kIsQ8}.unit_bytes();
  const int32_t* const table = args.step.tables + tile.sequence.table;
  const int last_unit = tile.last_key / kTokensPerBlock;
  for (int u = 0; u < kUnits; ++u) {
    const int unit = stage * kUnits + u;
    const bool is_there = unit <= last_unit;
    const std::byte* const from =
        args.cache + (static_cast<int64_t>(table[is_there ? unit : last_unit]) * args.num_kv_heads +
                      tile.kv_head) *
                         kUnitBytes;
    for (int i = 16 * static_cast<int>(threadIdx.x); i < kUnitBytes; i += 16 * kThreads) {
      ptx::cp_async16(to + u * kUnitBytes + i, from + i, is_there);
    }
  }
}

template <int kGroups, bool kIsQ8>
__device__ void take_unit(const AttentionArgs& args, const RowPlace (&rows)[2],
                          const Queries<kGroups>& q, const std::byte* unit, int first_key,
                          Softmax<kGroups>& softmax) {
  constexpr CacheLayout kUnit = {1, 32 * kGroups, kIsQ8};
  float scores[2][4] = {};
  {
    Keys<kGroups, kIsQ8> keys;
    keys.load(unit);
    add_scores(scores, q, keys);
  }
  const int token = first_key + 4 * (ptx::lane() % 4);
  SLUICE_UNROLL
  for (int r = 0; r < 2; ++r) {
    SLUICE_UNROLL
    for (int k = 0; k < 4; ++k) {
      const int key = token + k;
      const bool is_seen =
          key <= rows[r].position && (args.window == 0 || key > rows[r].position - args.window);
      if (!is_seen) scores[k / 2][2 * r + k % 2] = SLUICE_NO_SCORE;
    }
  }
  uint32_t p[4];
  softmax.take(scores, p);
  Values<kGroups, kIsQ8> values;
  values.load(unit + kUnit.half_unit_bytes());
  softmax.add_values(p, values);
}

template <int kGroups>
__device__ void write_rows(const AttentionArgs& args, const RowPlace (&rows)[2],
                           Softmax<kGroups>& softmax) {
  softmax.finish();
  const int t = ptx::lane() % 4;
  SLUICE_UNROLL
  for (int r = 0; r < 2; ++r) {
    if (!rows[r].is_there) continue;
    const float factor = 1.0f / softmax.total[r];
    uint16_t* const out = args.out + rows[r].token * args.out_stride + rows[r].head * args.head_dim;
    SLUICE_UNROLL
    for (int n = 0; n < 4 * kGroups; ++n) {
      const int d = 8 * n + 2 * t;
      const uint32_t pair =
          ptx::pack_halves(softmax.sums[n][2 * r] * factor, softmax.sums[n][2 * r + 1] * factor);
      if (args.head_dim % 2 == 0) {
        if (d < args.head_dim) *reinterpret_cast<uint32_t*>(out + d) = pair;
        continue;
      }
      if (d < args.head_dim) out[d] = static_cast<uint16_t>(pair);
      if (d + 1 < args.head_dim) out[d + 1] = static_cast<uint16_t>(pair >> 16);
    }
  }
}

template <int kGroups, bool kIsQ8>
__device__ void prefill(const AttentionArgs& args) {
  constexpr int kUnits = kPrefillStageUnits<kGroups>;
  constexpr int kStageTokens = kUnits * kTokensPerBlock;
  constexpr int kUnitBytes = CacheLayout{1, 32 * kGroups, kIsQ8}.unit_bytes();
  constexpr int kStageBytes = kUnits * kUnitBytes;
  std::byte* const ring = ptx::dynamic_shared();
  const Tile tile = find_tile(args);
  const int first_row = 16 * ptx::warp() + ptx::lane() / 4;
  const RowPlace rows[2] = {place_of_row(tile, first_row), place_of_row(tile, first_row + 8)};

  const int first_stage = tile.first_key / kStageTokens, last_stage = tile.last_key / kStageTokens;
  for (int s = 0; s < kStages - 1; ++s) {
    if (first_stage + s <= last_stage) {
      copy_stage<kGroups, kIsQ8>(args, tile, first_stage + s, ring + s * kStageBytes);
    }
    ptx::cp_async_commit();
  }
  Queries<kGroups> q;
  if constexpr (!kQueriesInRegisters<kGroups>) {
    q.shared = reinterpret_cast<uint4*>(ring + kStages * kStageBytes) +
               ptx::warp() * (kQueryBytes<kGroups> / 16);
  }
  load_queries(args, rows, q);
  Softmax<kGroups> softmax;
  softmax.clear();
  // Of the warp's rows: the same for all its lanes.
  const int warp_row = 16 * ptx::warp();
  const bool is_idle = !place_of_row(tile, warp_row).is_there;
  const int highest = place_of_row(tile, warp_row + 15).position;
  const int lowest = args.window > 0 ? place_of_row(tile, warp_row).position - args.window + 1 : 0;

  for (int stage = first_stage; stage <= last_stage; ++stage) {
    ptx::cp_async_wait<kStages - 2>();
    ptx::sync_block();  // the stage is here, and all are done with the one before it
    const int next = stage + kStages - 1;
    if (next <= last_stage) {
      copy_stage<kGroups, kIsQ8>(args, tile, next,
                                 ring + (next - first_stage) % kStages * kStageBytes);
    }
    ptx::cp_async_commit();
    const std::byte* const units = ring + (stage - first_stage) % kStages * kStageBytes;
    for (int u = 0; u < kUnits; ++u) {
      const int first_key = stage * kStageTokens + u * kTokensPerBlock;
      if (is_idle || first_key > highest || first_key + kTokensPerBlock <= lowest) continue;
      take_unit<kGroups, kIsQ8>(args, rows, q, units + u * kUnitBytes, first_key, softmax);
    }
  }
  if (!is_idle) write_rows(args, rows, softmax);
}

}  // namespace

#define SLUICE_PREFILL(size)                                                  \
  SLUICE_KERNEL(attention_prefill_##size##_f16, AttentionArgs, kThreads, 1) { \
    prefill<size / 32, false>(args);                                          \
  }                                                                           \
  SLUICE_KERNEL(attention_prefill_##size##_q8, AttentionArgs, kThreads, 1) {  \
    prefill<size / 32, true>(args);                                           \
  }
SLUICE_PREFILL(64)
SLUICE_PREFILL(96)
SLUICE_PREFILL(128)
SLUICE_PREFILL(192)
SLUICE_PREFILL(256)

}  // namespace sluice::backend::cuda
