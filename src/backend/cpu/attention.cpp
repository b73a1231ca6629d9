#include "backend/cpu/attention.h"

#include <algorithm>

#include "backend/cpu/attention_kernels.h"

namespace sluice::backend::cpu {

static_assert(kCacheBlock == kBlockTokens);

namespace {

constexpr int kFewestKeys = 256;  // in a part of a split task; less is not worth the merge
constexpr int kMostParts = 64;

}  // namespace

void KvCache::allocate(int num_blocks) {
  memory_ = HugeBuffer();  // first, so that old and new need not fit together
  num_blocks_ = 0;
  memory_ = HugeBuffer(block_bytes() * static_cast<size_t>(num_blocks), "the KV cache");
  num_blocks_ = num_blocks;
}

uint16_t* KvCache::head(int layer, int kv_head) const {
  const size_t index = static_cast<size_t>(layer) * static_cast<size_t>(num_kv_heads_) +
                       static_cast<size_t>(kv_head);
  return reinterpret_cast<uint16_t*>(memory_.data()) +
         index * static_cast<size_t>(num_blocks_) * block_stride();
}

void KvCache::store(const Kernels& kernels, int layer, int kv_head, int slot, int count,
                    const float* keys, const float* values, size_t stride) const {
  const int block = slot / kBlockTokens, offset = slot % kBlockTokens;
  uint16_t* key_block = head(layer, kv_head) + static_cast<size_t>(block) * block_stride();
  uint16_t* value_rows = key_block + kBlockTokens * padded_dim_ + offset * padded_dim_;
  for (int d = 0; d < padded_dim_; ++d) {
    float column[kBlockTokens] = {};
    uint16_t halves[kBlockTokens];
    if (d < head_dim_) {
      for (int t = 0; t < count; ++t)
        column[t] = keys[static_cast<size_t>(t) * stride + static_cast<size_t>(d)];
    }
    kernels.to_f16(column, halves, kBlockTokens);
    std::copy(halves, halves + count, key_block + d * kBlockTokens + offset);
  }
  const int whole = head_dim_ / 16 * 16;
  for (int t = 0; t < count; ++t) {
    const float* from = values + static_cast<size_t>(t) * stride;
    uint16_t* to = value_rows + t * padded_dim_;
    kernels.to_f16(from, to, whole);
    if (whole == padded_dim_) continue;
    float tail[16] = {};
    std::copy(from + whole, from + head_dim_, tail);
    kernels.to_f16(tail, to + whole, 16);
  }
}

AttentionPlan::AttentionPlan(int num_heads, int num_kv_heads, int team_size, int max_batch_tokens,
                             int padded_dim)
    : num_heads_(num_heads), num_kv_heads_(num_kv_heads), team_size_(team_size) {
  const int shared = num_heads / num_kv_heads;  // query heads a kv head
  heads_per_task_ = std::min(shared, kAttentionRows);
  head_parts_ = (shared + heads_per_task_ - 1) / heads_per_task_;
  // As many tokens as fill the rows, preferably a multiple of 4 rows, as the kernels like it.
  tokens_per_tile_ = kAttentionRows / heads_per_task_;
  for (int tokens = tokens_per_tile_; tokens > tokens_per_tile_ / 2; --tokens) {
    if (tokens * heads_per_task_ % 4 == 0) {
      tokens_per_tile_ = tokens;
      break;
    }
  }
  // Only steps with few tasks are split, into about 4 parts for each member.
  max_split_tasks_ = 4 * team_size;
  result_floats_ = static_cast<size_t>(kAttentionRows) * (static_cast<size_t>(padded_dim) + 2);
  scratch_floats_ = attention_scratch_floats(padded_dim) + result_floats_ + 64;
  scratch_ = HugeBuffer(scratch_floats_ * sizeof(float) * static_cast<size_t>(team_size),
                        "attention's workspace");
  partials_ = HugeBuffer(result_floats_ * sizeof(float) * static_cast<size_t>(2 * max_split_tasks_),
                         "attention's workspace");
  tiles_.reserve(static_cast<size_t>(max_batch_tokens));
}

size_t AttentionPlan::workspace_bytes() const { return scratch_.size() + partials_.size(); }

void AttentionPlan::begin(const Batch& batch) {
  tiles_.clear();
  int longest = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const BatchSequence& sequence = batch.sequences[s];
    longest = std::max(longest, sequence.num_cached + sequence.num_tokens);
    for (int first = 0; first < sequence.num_tokens; first += tokens_per_tile_) {
      tiles_.push_back(
          {static_cast<int>(s), first, std::min(tokens_per_tile_, sequence.num_tokens - first)});
    }
  }
  num_parts_ = 1;
  if (team_size_ > 1 && num_tasks() < max_split_tasks_) {
    const int wanted = (max_split_tasks_ + num_tasks() - 1) / num_tasks();
    num_parts_ = std::clamp(longest / kFewestKeys, 1, std::min(wanted, kMostParts));
  }
}

AttentionPlan::Task AttentionPlan::task(int index) const {
  const int num_tiles = static_cast<int>(tiles_.size());
  // Late tokens see most and take longest: they come first, so that the end is even.
  const Tile& tile = tiles_[static_cast<size_t>(num_tiles - 1 - index % num_tiles)];
  const int heads = index / num_tiles;
  const int kv_head = heads / head_parts_;
  const int shared = num_heads_ / num_kv_heads_;
  const int first = heads % head_parts_ * heads_per_task_;
  return {tile, kv_head, kv_head * shared + first, std::min(heads_per_task_, shared - first)};
}

float* AttentionPlan::partial(int task, int part) const {
  return reinterpret_cast<float*>(partials_.data()) +
         static_cast<size_t>(task * num_parts_ + part) * result_floats_;
}

AttentionArgs AttentionPlan::arguments(const Task& task, const Operation& op, const KvCache& cache,
                                       const Batch& batch) const {
  const BatchSequence& sequence = batch.sequences[static_cast<size_t>(task.tile.sequence)];
  AttentionArgs args;
  args.num_rows = task.tile.count * task.num_heads;
  const int first_position = sequence.num_cached + task.tile.first;
  const auto row_width = static_cast<size_t>(num_heads_ * cache.head_dim());
  for (int i = 0, row = 0; i < task.tile.count; ++i) {
    const auto token = static_cast<size_t>(sequence.first_token + task.tile.first + i);
    for (int h = 0; h < task.num_heads; ++h, ++row) {
      args.q[row] =
          op.q + token * row_width + static_cast<size_t>((task.first_head + h) * cache.head_dim());
      args.position[row] = first_position + i;
    }
  }
  args.window = op.window;
  args.cache = cache.head(op.layer, task.kv_head);
  args.block_stride = cache.block_stride();
  args.block_table = sequence.block_table.data();
  const int first_seen = op.window > 0 ? std::max(0, first_position - op.window + 1) : 0;
  args.begin = first_seen / kBlockTokens * kBlockTokens;
  args.end = first_position + task.tile.count;
  args.head_dim = cache.head_dim();
  args.padded_dim = cache.padded_dim();
  args.scale = op.scale;
  return args;
}

void AttentionPlan::write_rows(const AttentionArgs& args, const Operation& op,
                               const KvCache& cache) const {
  for (int row = 0; row < args.num_rows; ++row) {
    float* out = op.out + (args.q[row] - op.q);
    const float* acc = args.acc + row * cache.padded_dim();
    const float inverse = 1.0f / args.sum[row];
    for (int d = 0; d < cache.head_dim(); ++d) out[d] = acc[d] * inverse;
  }
}

void AttentionPlan::merge_rows(int index, const Operation& op, const Kernels& kernels,
                               const KvCache& cache, const Batch& batch) const {
  const AttentionArgs args = arguments(task(index), op, cache, batch);
  const int rows_floats = kAttentionRows * cache.padded_dim();
  for (int row = 0; row < args.num_rows; ++row) {
    const float* acc[kMostParts];
    float largest[kMostParts], sum[kMostParts];
    for (int part = 0; part < num_parts_; ++part) {
      const float* results = partial(index, part);
      acc[part] = results + row * cache.padded_dim();
      largest[part] = results[rows_floats + row];
      sum[part] = results[rows_floats + kAttentionRows + row];
    }
    kernels.merge(acc, largest, sum, num_parts_, op.out + (args.q[row] - op.q), cache.head_dim());
  }
}

void AttentionPlan::run(const Operation& op, const Kernels& kernels, const KvCache& cache,
                        const Batch& batch, Team& team, int member) {
  float* scratch =
      reinterpret_cast<float*>(scratch_.data()) + static_cast<size_t>(member) * scratch_floats_;
  float* own_results = scratch + attention_scratch_floats(cache.padded_dim());
  const int rows_floats = kAttentionRows * cache.padded_dim();
  const int tasks = num_tasks();
  for (int i = team.take_chunk(); i < tasks * num_parts_; i = team.take_chunk()) {
    const int index = i / num_parts_, part = i % num_parts_;
    AttentionArgs args = arguments(task(index), op, cache, batch);
    float* results = num_parts_ > 1 ? partial(index, part) : own_results;
    args.acc = results;
    args.largest = results + rows_floats;
    args.sum = args.largest + kAttentionRows;
    args.scratch = scratch;
    if (num_parts_ > 1) {
      const int keys = args.end - args.begin;
      const int step =
          (keys + num_parts_ * kBlockTokens - 1) / (num_parts_ * kBlockTokens) * kBlockTokens;
      const int first = args.begin + part * step;
      args.end = std::min(args.end, first + step);
      args.begin = std::min(first, args.end);
    }
    kernels.attend(args);
    if (num_parts_ == 1) write_rows(args, op, cache);
  }
  team.barrier();
  if (num_parts_ == 1) return;
  for (int i = team.take_chunk(); i < tasks; i = team.take_chunk()) {
    merge_rows(i, op, kernels, cache, batch);
  }
  team.barrier();
}

}  // namespace sluice::backend::cpu
