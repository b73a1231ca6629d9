// Attention of single tokens: decode steps, and the few tokens of a checked guess.
//
// A block has one token and up to 16 of the query heads that read one kv head (the rows of its
// matrices), and a split of the keys; each of its four warps takes every fourth unit (16 tokens) of
// it, straight from global memory into the operands of mma, the next unit's keys and values already
// on their way while one is computed. So every key and value is read once for all heads of its
// group, and a multiprocessor has 8 KB in flight a warp.
//
//   grid   x: kv head, row group   y: token (StepView::single_tokens)   z: split
//
//   split  | unit 0: warp 0 | unit 1: warp 1 | 2: warp 2 | 3: warp 3 | 4: warp 0 | ...
//
// The warps' sums meet in shared memory, the splits' in global memory: the block that finds that it
// is the last of its token and heads adds them up. How keys are split depends on the token's own
// position (and most_splits) alone, so that a row's result does not depend on its neighbours.
//
// Tested by tests/simt/attention_test.cpp against plain attention in double.

#include "backend/cuda/attention.cuh"
#include "backend/cuda/kernels.h"

namespace sluice::backend::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kRows = 16;
constexpr float kLog2E = 1.4426950408889634f;

struct Job {
  int token, position;
  int kv_head, first_head, num_rows;  // query heads first_head .. + num_rows
  int first_key;
  int first_unit, end_unit;  // of the split
  int split, num_splits;
};

__device__ Job find_job(const AttentionArgs& args) {
  Job job;
  job.token = args.step.single_tokens[blockIdx.y];
  job.position = args.step.positions[job.token];
  const int group = args.num_heads / args.num_kv_heads;
  const int row_groups = (group + kRows - 1) / kRows;
  job.kv_head = static_cast<int>(blockIdx.x) / row_groups;
  const int first_row = static_cast<int>(blockIdx.x) % row_groups * kRows;
  job.first_head = job.kv_head * group + first_row;
  job.num_rows = min(kRows, group - first_row);
  job.first_key = args.window > 0 ? max(0, job.position - args.window + 1) : 0;
  const int first_unit = job.first_key / kTokensPerBlock;
  const int num_units = job.position / kTokensPerBlock + 1 - first_unit;
  // At least a unit for each warp, and whole rounds of them.
  const int wanted = min(args.most_splits, (num_units + kWarps - 1) / kWarps);
  const int each = ((num_units + wanted - 1) / wanted + kWarps - 1) / kWarps * kWarps;
  job.num_splits = (num_units + each - 1) / each;
  job.split = static_cast<int>(blockIdx.z);
  job.first_unit = first_unit + job.split * each;
  job.end_unit = min(job.first_unit + each, first_unit + num_units);
  return job;
}

// Rows g and g + 8: query heads; what is beyond is zero.
template <int kGroups>
__device__ void load_queries(const AttentionArgs& args, const Job& job, Queries<kGroups>& q) {
  const int g = ptx::lane() / 4, t = ptx::lane() % 4;
  const float* const token = args.q + job.token * args.q_stride + job.first_head * args.head_dim;
  const bool is_aligned = args.head_dim % 8 == 0;  // and the rows' strides are
  SLUICE_UNROLL
  for (int i = 0; i < kGroups; ++i) {
    float rows[2][8] = {};
    const int first = 32 * i + 8 * t;
    SLUICE_UNROLL
    for (int r = 0; r < 2; ++r) {
      if (g + 8 * r >= job.num_rows || first >= args.head_dim) continue;
      const float* const row = token + (g + 8 * r) * args.head_dim + first;
      if (is_aligned) {
        const float4 low = ptx::load(reinterpret_cast<const float4*>(row));
        const float4 high = ptx::load(reinterpret_cast<const float4*>(row + 4));
        const float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        for (int d = 0; d < 8; ++d) rows[r][d] = values[d];
        continue;
      }
      for (int d = 0; d < 8; ++d) {
        if (first + d < args.head_dim) rows[r][d] = row[d];
      }
    }
    q.set(i, rows[0], rows[1], args.scale * kLog2E);
  }
}

template <int kGroups, bool kIsQ8>
__device__ void attend(const AttentionArgs& args, const Job& job, Softmax<kGroups>& softmax) {
  constexpr int kHeadSize = 32 * kGroups;
  constexpr CacheLayout kUnit = {1, kHeadSize, kIsQ8};
  const int32_t* const table =
      args.step.tables + args.step.sequences[args.step.sequence_of[job.token]].table;
  const auto unit_of = [&](int block) {
    return args.cache +
           (static_cast<int64_t>(block) * args.num_kv_heads + job.kv_head) * kUnit.unit_bytes();
  };
  // Each warp has its own copy, so that no barrier is needed.
  Queries<kGroups> q;
  if constexpr (!kQueriesInRegisters<kGroups>) {
    q.shared = reinterpret_cast<uint4*>(ptx::dynamic_shared()) + ptx::warp() * kGroups * 64;
  }
  load_queries(args, job, q);
  softmax.clear();
  int unit = job.first_unit + ptx::warp();
  if (unit >= job.end_unit) return;
  // Of large heads nothing is read ahead: other warps fill the time.
  constexpr bool kReadsAhead = kGroups <= 4;
  Keys<kGroups, kIsQ8> keys;
  Values<kGroups, kIsQ8> values;
  const std::byte* place = unit_of(table[unit]);
  if constexpr (kReadsAhead) {
    keys.load(place);
    values.load(place + kUnit.half_unit_bytes());
  }
  for (; unit < job.end_unit; unit += kWarps) {
    const bool has_next = unit + kWarps < job.end_unit;
    const std::byte* const next = has_next ? unit_of(table[unit + kWarps]) : place;
    if constexpr (!kReadsAhead) keys.load(place);
    float scores[2][4] = {};
    add_scores(scores, q, keys);
    if (kReadsAhead && has_next) keys.load(next);
    const int token = unit * kTokensPerBlock + 4 * (ptx::lane() % 4);
    SLUICE_UNROLL
    for (int k = 0; k < 4; ++k) {
      const int key = token + k;
      if (key > job.position || key < job.first_key) {
        scores[k / 2][k % 2] = scores[k / 2][2 + k % 2] = SLUICE_NO_SCORE;
      }
    }
    uint32_t p[4];
    softmax.take(scores, p);
    if constexpr (!kReadsAhead) values.load(place + kUnit.half_unit_bytes());
    softmax.add_values(p, values);
    if (kReadsAhead && has_next) values.load(next + kUnit.half_unit_bytes());
    place = next;
  }
  softmax.finish();
}

// Of several parts of a row: maximum and total, and the factor of each part's sums.
struct RowPart {
  float maximum, total;
};
__device__ void merge(RowPart& a, const RowPart& b) {
  const float most = fmaxf(a.maximum, b.maximum);
  a.total = a.total * ptx::fast_exp2(a.maximum - most) + b.total * ptx::fast_exp2(b.maximum - most);
  a.maximum = most;
}

// Shared memory: each warp's sums [kWarps][rows][head size + padding against bank conflicts], then
// their RowParts [kWarps][rows].
template <int kGroups>
__device__ void add_up_warps(const AttentionArgs& args, const Job& job,
                             const Softmax<kGroups>& softmax) {
  constexpr int kHeadSize = 32 * kGroups;
  auto* const sums = reinterpret_cast<float*>(ptx::dynamic_shared());
  constexpr int kStride = kHeadSize + 8;
  auto* const parts = reinterpret_cast<RowPart*>(sums + kWarps * kRows * kStride);
  const int g = ptx::lane() / 4, t = ptx::lane() % 4;
  SLUICE_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int row = g + 8 * r;
    if (row >= job.num_rows) continue;
    float* const mine = sums + (ptx::warp() * kRows + row) * kStride;
    SLUICE_UNROLL
    for (int n = 0; n < 4 * kGroups; ++n) {
      ptx::store(reinterpret_cast<float2*>(mine + 8 * n + 2 * t),
                 float2{softmax.sums[n][2 * r], softmax.sums[n][2 * r + 1]});
    }
    if (t == 0) parts[ptx::warp() * kRows + row] = {softmax.maximum[r], softmax.total[r]};
  }
  ptx::sync_block();
  // Now a warp has a row.
  for (int row = ptx::warp(); row < job.num_rows; row += kWarps) {
    RowPart whole = parts[row];
    for (int w = 1; w < kWarps; ++w) merge(whole, parts[w * kRows + row]);
    float factors[kWarps];
    for (int w = 0; w < kWarps; ++w) {
      factors[w] = ptx::fast_exp2(parts[w * kRows + row].maximum - whole.maximum);
    }
    const float scale = job.num_splits == 1 ? 1.0f / whole.total : 1.0f;
    const int head = job.first_head + row;
    uint16_t* const out = args.out + job.token * args.out_stride + head * args.head_dim;
    float* const partial =
        args.partials +
        ((static_cast<int64_t>(blockIdx.y) * args.num_heads + head) * args.most_splits +
         job.split) *
            (kHeadSize + 2);
    for (int d = ptx::lane(); d < kHeadSize; d += ptx::kWarp) {
      float sum = 0.0f;
      for (int w = 0; w < kWarps; ++w) sum += factors[w] * sums[(w * kRows + row) * kStride + d];
      if (job.num_splits > 1) {
        partial[d] = sum;
      } else if (d < args.head_dim) {
        out[d] = ptx::float_to_half(sum * scale);
      }
    }
    if (job.num_splits > 1 && ptx::lane() == 0) {
      partial[kHeadSize] = whole.maximum;
      partial[kHeadSize + 1] = whole.total;
    }
  }
}

// True for the last block of a token and its heads; all others have written their partials then.
__device__ bool is_last_split(const AttentionArgs& args, const Job& job) {
  __shared__ bool is_last;
  ptx::fence();
  ptx::sync_block();
  if (threadIdx.x == 0) {
    uint32_t* const counter = args.counters + blockIdx.y * gridDim.x + blockIdx.x;
    ptx::fence();
    is_last = ptx::atomic_add(counter, 1u) + 1 == static_cast<uint32_t>(job.num_splits);
    if (is_last) ptx::atomic_exchange(counter, 0u);
    ptx::fence();
  }
  ptx::sync_block();
  return is_last;
}

template <int kHeadSize>
__device__ void add_up_splits(const AttentionArgs& args, const Job& job) {
  for (int row = ptx::warp(); row < job.num_rows; row += kWarps) {
    const int head = job.first_head + row;
    const float* const partials =
        args.partials + (static_cast<int64_t>(blockIdx.y) * args.num_heads + head) *
                            args.most_splits * (kHeadSize + 2);
    RowPart whole = {partials[kHeadSize], partials[kHeadSize + 1]};
    for (int s = 1; s < job.num_splits; ++s) {
      const float* const part = partials + s * (kHeadSize + 2) + kHeadSize;
      merge(whole, {part[0], part[1]});
    }
    float sums[kHeadSize / ptx::kWarp] = {};
    for (int s = 0; s < job.num_splits; ++s) {
      const float* const part = partials + s * (kHeadSize + 2);
      const float factor = ptx::fast_exp2(part[kHeadSize] - whole.maximum);
      for (int k = 0; k < kHeadSize / ptx::kWarp; ++k) {
        sums[k] += factor * part[ptx::lane() + ptx::kWarp * k];
      }
    }
    uint16_t* const out = args.out + job.token * args.out_stride + head * args.head_dim;
    for (int k = 0; k < kHeadSize / ptx::kWarp; ++k) {
      const int d = ptx::lane() + ptx::kWarp * k;
      if (d < args.head_dim) out[d] = ptx::float_to_half(sums[k] / whole.total);
    }
  }
}

template <int kGroups, bool kIsQ8>
__device__ void decode(const AttentionArgs& args) {
  const Job job = find_job(args);
  if (job.split >= job.num_splits) return;
  Softmax<kGroups> softmax;
  attend<kGroups, kIsQ8>(args, job, softmax);
  if constexpr (!kQueriesInRegisters<kGroups>) ptx::sync_block();  // the sums take their place
  add_up_warps(args, job, softmax);
  if (job.num_splits > 1 && is_last_split(args, job)) add_up_splits<32 * kGroups>(args, job);
}

}  // namespace

#define SLUICE_DECODE(size)                                                     \
  SLUICE_KERNEL(attention_decode_##size##_f16, AttentionArgs, kWarps * 32, 2) { \
    decode<size / 32, false>(args);                                             \
  }                                                                             \
  SLUICE_KERNEL(attention_decode_##size##_q8, AttentionArgs, kWarps * 32, 2) {  \
    decode<size / 32, true>(args);                                              \
  }
SLUICE_DECODE(64)
SLUICE_DECODE(96)
SLUICE_DECODE(128)
SLUICE_DECODE(192)
SLUICE_DECODE(256)

}  // namespace sluice::backend::cuda
