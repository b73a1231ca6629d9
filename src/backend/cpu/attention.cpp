#include "backend/cpu/attention.h"

#include <algorithm>
#include <string>

#include "backend/cpu/attention_kernels.h"

namespace sluice::backend::cpu {

static_assert(kCacheBlock == kBlockTokens);

namespace {

// With fewer tasks a member, steps are cut by keys too.
constexpr int kSplitTasksAMember = 4;

// Where an attend() call's results lie.
void set_results(AttentionArgs& args, float* results) {
  args.acc = results;
  args.largest = results + args.num_rows * args.padded_dim;
  args.sum = args.largest + args.num_rows;
}

size_t result_floats(int num_rows, int padded_dim) {
  return static_cast<size_t>(num_rows) * (static_cast<size_t>(padded_dim) + 2);
}

// Narrows the keys of a task to its `part`-th chunk; to none beyond the last.
void take_part(CacheRange& keys, int part) {
  const int chunk = keys.begin / kAttentionChunk + part;
  const int end = std::min(keys.end, (chunk + 1) * kAttentionChunk);
  keys.begin = std::max(keys.begin, chunk * kAttentionChunk);
  keys.end = std::max(keys.begin, end);
}

}  // namespace

KvCache::KvCache(int num_layers, int num_kv_heads, int head_dim, bool is_q8) noexcept
    : num_layers_(num_layers), num_kv_heads_(num_kv_heads), head_dim_(head_dim), is_q8_(is_q8) {
  const int unit = is_q8 ? kBlockColumns : 16;
  padded_dim_ = (head_dim + unit - 1) / unit * unit;
  half_bytes_ = cache_half_bytes(padded_dim_, is_q8);
}

void KvCache::allocate(int num_blocks) {
  memory_ = HugeBuffer();  // first, so that old and new need not fit together
  num_blocks_ = 0;
  memory_ = HugeBuffer(block_bytes() * static_cast<size_t>(num_blocks), "the KV cache");
  num_blocks_ = num_blocks;
}

std::byte* KvCache::head(int layer, int kv_head) const {
  const size_t index = static_cast<size_t>(layer) * static_cast<size_t>(num_kv_heads_) +
                       static_cast<size_t>(kv_head);
  return memory_.data() + index * 2 * half_bytes_;
}

void KvCache::store(const Kernels& kernels, int layer, int kv_head, int slot, int count,
                    const float* keys, const float* values, size_t stride) const {
  std::byte* block =
      head(layer, kv_head) + static_cast<size_t>(slot / kBlockTokens) * block_bytes();
  const int offset = slot % kBlockTokens;
  for (int t = 0; t < count; ++t, keys += stride, values += stride) {
    if (is_q8_) {
      store_q8(kernels, block, offset + t, keys, values);
    } else {
      store_f16(kernels, block, offset + t, keys, values);
    }
  }
}

void KvCache::store_f16(const Kernels& kernels, std::byte* block, int offset, const float* key,
                        const float* value) const {
  auto* keys = reinterpret_cast<uint16_t*>(block) + offset;
  auto* values = reinterpret_cast<uint16_t*>(block + half_bytes_) + offset * padded_dim_;
  for (int first = 0; first < head_dim_; first += 16) {
    const int count = std::min(16, head_dim_ - first);
    float rest[16] = {};
    const bool is_whole = count == 16;
    uint16_t halves[16];
    if (!is_whole) std::copy(key + first, key + head_dim_, rest);
    kernels.to_f16(is_whole ? key + first : rest, halves, 16);
    for (int d = 0; d < 16; ++d) keys[(first + d) * kBlockTokens] = halves[d];
    if (!is_whole) std::copy(value + first, value + head_dim_, rest);
    kernels.to_f16(is_whole ? value + first : rest, values + first, 16);
  }
}

void KvCache::store_q8(const Kernels& kernels, std::byte* block, int offset, const float* key,
                       const float* value) const {
  auto* keys = reinterpret_cast<uint8_t*>(block);
  uint8_t* values = keys + half_bytes_;
  const size_t codes_bytes = static_cast<size_t>(padded_dim_) * kBlockTokens;
  for (int first = 0; first < head_dim_; first += kBlockColumns) {
    const int count = std::min(kBlockColumns, head_dim_ - first);
    const auto part = static_cast<size_t>(first / kBlockColumns);
    uint8_t* unit = keys + part * FormatOfKeys::kUnitBytes;
    auto* key_scale = reinterpret_cast<uint16_t*>(unit) + offset;
    auto* value_scale =
        reinterpret_cast<uint16_t*>(values + codes_bytes + part * scale_bytes(Scales::kF16Min)) +
        offset;
    float rest[kBlockColumns] = {};
    const bool is_whole = count == kBlockColumns;
    uint8_t codes[kBlockColumns];
    if (!is_whole) std::copy(key + first, key + head_dim_, rest);
    kernels.to_q8(is_whole ? key + first : rest, codes, key_scale, key_scale + kBlockTokens);
    for (int d = 0; d < kBlockColumns; d += 4) {
      std::copy(codes + d, codes + d + 4,
                unit + scale_bytes(Scales::kF16Min) + d * kBlockTokens + offset * 4);
    }
    if (!is_whole) std::copy(value + first, value + head_dim_, rest);
    kernels.to_q8(is_whole ? value + first : rest, values + offset * padded_dim_ + first,
                  value_scale, value_scale + kBlockTokens);
  }
}

AttentionPlan::AttentionPlan(int num_heads, int num_kv_heads, int team_size, int max_batch_tokens,
                             int padded_dim)
    : num_heads_(num_heads),
      num_kv_heads_(num_kv_heads),
      team_size_(team_size),
      padded_dim_(padded_dim) {
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
  result_floats_ = result_floats(kAttentionRows, padded_dim);
  scratch_floats_ = attention_scratch_floats(padded_dim) + result_floats_ + 64;
  tiles_.reserve(static_cast<size_t>(max_batch_tokens));
}

size_t AttentionPlan::scratch_bytes() const {
  return scratch_floats_ * sizeof(float) * static_cast<size_t>(team_size_);
}

size_t AttentionPlan::partials_bytes(int64_t num_tokens) const {
  if (num_tokens == 0 || team_size_ == 1) return 0;
  // One decode step of so many tokens, or many rows of shorter ones; what does not fit is not cut.
  const auto parts = static_cast<size_t>(num_tokens / kAttentionChunk + 2);
  const auto tasks = static_cast<size_t>(num_kv_heads_ * head_parts_);
  const size_t one = parts * tasks * result_floats(heads_per_task_, padded_dim_);
  const size_t most =
      size_t{16} * static_cast<size_t>(kSplitTasksAMember * team_size_) * result_floats_;
  return std::max(one, most) * sizeof(float);
}

size_t AttentionPlan::workspace_bytes(int64_t num_tokens) const {
  return HugeBuffer::whole_pages(scratch_bytes()) +
         HugeBuffer::whole_pages(partials_bytes(num_tokens));
}

void AttentionPlan::reserve(int64_t num_tokens) {
  const std::string purpose = "attention's workspace";
  if (scratch_.size() == 0) scratch_ = HugeBuffer(scratch_bytes(), purpose);
  partials_ = HugeBuffer();  // first, so that old and new need not fit together
  partials_ = HugeBuffer(partials_bytes(num_tokens), purpose);
}

void AttentionPlan::begin(const Batch& batch, int num_members) {
  tiles_.clear();
  int longest = 0, most_tokens = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const BatchSequence& sequence = batch.sequences[s];
    longest = std::max(longest, sequence.num_cached + sequence.num_tokens);
    most_tokens = std::max(most_tokens, std::min(tokens_per_tile_, sequence.num_tokens));
    for (int first = 0; first < sequence.num_tokens; first += tokens_per_tile_) {
      tiles_.push_back(
          {static_cast<int>(s), first, std::min(tokens_per_tile_, sequence.num_tokens - first)});
    }
  }
  num_parts_ = 1;
  if (num_members == 1 || num_tasks() >= kSplitTasksAMember * num_members) return;
  const int parts = (longest + kAttentionChunk - 1) / kAttentionChunk;
  partial_floats_ = result_floats(most_tokens * heads_per_task_, padded_dim_);
  const size_t needed = static_cast<size_t>(num_tasks()) * static_cast<size_t>(parts) *
                        partial_floats_ * sizeof(float);
  if (needed <= partials_.size()) num_parts_ = parts;
}

// Parts that a task can have: a window spans fewer chunks than its sequence.
int AttentionPlan::parts_of(const Operation& op) const {
  if (op.window == 0) return num_parts_;
  return std::min(num_parts_, (op.window + tokens_per_tile_) / kAttentionChunk + 2);
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

float* AttentionPlan::partial(int task, int part, int num_parts) const {
  return reinterpret_cast<float*>(partials_.data()) +
         static_cast<size_t>(task * num_parts + part) * partial_floats_;
}

CacheRange AttentionPlan::keys(const Task& task, const Operation& op, const KvCache& cache,
                               const Batch& batch) const {
  const BatchSequence& sequence = batch.sequences[static_cast<size_t>(task.tile.sequence)];
  const int first_position = sequence.num_cached + task.tile.first;
  const int first_seen = op.window > 0 ? std::max(0, first_position - op.window + 1) : 0;
  return {cache.head(op.layer, task.kv_head), sequence.block_table.data(),
          first_seen / kBlockTokens * kBlockTokens, first_position + task.tile.count};
}

AttentionArgs AttentionPlan::arguments(const Task& task, const Operation& op, const KvCache& cache,
                                       const Batch& batch) const {
  const BatchSequence& sequence = batch.sequences[static_cast<size_t>(task.tile.sequence)];
  AttentionArgs args;
  args.num_rows = task.tile.count * task.num_heads;
  const int first_position = sequence.num_cached + task.tile.first;
  for (int i = 0, row = 0; i < task.tile.count; ++i) {
    const auto token = static_cast<size_t>(sequence.first_token + task.tile.first + i);
    for (int h = 0; h < task.num_heads; ++h, ++row) {
      args.q[row] =
          op.q + token * op.stride + static_cast<size_t>((task.first_head + h) * cache.head_dim());
      args.position[row] = first_position + i;
    }
  }
  args.window = op.window;
  args.keys = keys(task, op, cache, batch);
  args.next = {};
  args.block_stride = cache.block_bytes();
  args.head_dim = cache.head_dim();
  args.padded_dim = cache.padded_dim();
  args.is_q8 = cache.is_q8();
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

void AttentionPlan::fold_rows(int index, const Operation& op, const Kernels& kernels,
                              const KvCache& cache, const Batch& batch) const {
  const int num_parts = parts_of(op);
  AttentionArgs total = arguments(task(index), op, cache, batch);
  set_results(total, partial(index, 0, num_parts));
  for (int part = 1; part < num_parts; ++part) {
    AttentionArgs next = total;
    take_part(next.keys, part);
    if (next.keys.begin == next.keys.end) break;
    set_results(next, partial(index, part, num_parts));
    for (int row = 0; row < total.num_rows; ++row) {
      const int at = row * cache.padded_dim();
      kernels.fold({next.acc + at, next.largest + row, next.sum + row}, cache.padded_dim(),
                   {total.acc + at, total.largest + row, total.sum + row});
    }
  }
  write_rows(total, op, cache);
}

void AttentionPlan::attend(const Operation& op, const Kernels& kernels, const KvCache& cache,
                           const Batch& batch, Pieces& pieces) const {
  float* scratch = reinterpret_cast<float*>(scratch_.data()) +
                   static_cast<size_t>(pieces.member()) * scratch_floats_;
  float* own_results = scratch + attention_scratch_floats(cache.padded_dim());
  const int num_parts = parts_of(op), count = num_tasks() * num_parts;
  for (const int i : pieces) {
    const int index = i / num_parts, part = i % num_parts;
    AttentionArgs args = arguments(task(index), op, cache, batch);
    args.scratch = scratch;
    set_results(args, own_results);
    if (num_parts > 1) {
      set_results(args, partial(index, part, num_parts));
      take_part(args.keys, part);
    }
    if (i + 1 < count) {
      args.next = keys(task((i + 1) / num_parts), op, cache, batch);
      if (num_parts > 1) take_part(args.next, (i + 1) % num_parts);
    }
    kernels.attend(args);
    if (num_parts == 1) write_rows(args, op, cache);
  }
}

void AttentionPlan::fold(const Operation& op, const Kernels& kernels, const KvCache& cache,
                         const Batch& batch, Pieces& pieces) const {
  for (const int i : pieces) fold_rows(i, op, kernels, cache, batch);
}

}  // namespace sluice::backend::cpu
