#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/team.h"

// The KV cache and attention over it: how the work of a step is cut up and shared by the team.
namespace sluice::backend::cpu {

// Blocks of one layer and kv head lie one behind the other, keys then values (attention_kernels.h).
class KvCache {
 public:
  KvCache() = default;
  KvCache(int num_layers, int num_kv_heads, int head_dim) noexcept
      : num_layers_(num_layers),
        num_kv_heads_(num_kv_heads),
        head_dim_(head_dim),
        padded_dim_((head_dim + 15) / 16 * 16) {}

  // Throws Error(kOutOfMemory).
  void allocate(int num_blocks);

  int num_blocks() const { return num_blocks_; }
  int head_dim() const { return head_dim_; }
  int padded_dim() const { return padded_dim_; }
  size_t size_bytes() const { return memory_.size(); }
  // Bytes of a block over all layers.
  size_t block_bytes() const {
    return static_cast<size_t>(num_layers_) * static_cast<size_t>(num_kv_heads_) * block_stride() *
           2;
  }
  // f16 elements from one block of a layer and head to the next.
  size_t block_stride() const {
    return size_t{2} * kBlockTokens * static_cast<size_t>(padded_dim_);
  }
  // Block 0 of a layer and kv head.
  uint16_t* head(int layer, int kv_head) const;

  // Stores keys and values [count, head_dim], rows `stride` apart, of consecutive tokens of one
  // block from place `slot` (block * kBlockTokens + offset) on.
  void store(const Kernels& kernels, int layer, int kv_head, int slot, int count, const float* keys,
             const float* values, size_t stride) const;

 private:
  int num_layers_ = 0;
  int num_kv_heads_ = 0;
  int head_dim_ = 0;
  int padded_dim_ = 0;
  int num_blocks_ = 0;
  HugeBuffer memory_;
};

// How attention is cut: tiles of a few tokens of one sequence times the query heads of one kv head;
// where that gives too few tasks for the team, also by ranges of keys, merged afterwards.
class AttentionPlan {
 public:
  AttentionPlan() = default;
  AttentionPlan(int num_heads, int num_kv_heads, int team_size, int max_batch_tokens,
                int padded_dim);

  // Before a step, by one thread.
  void begin(const Batch& batch);

  struct Operation {
    const float* q;
    float* out;
    int layer;
    float scale;
    int window;
  };
  // Called by every member; ends with a barrier.
  void run(const Operation& op, const Kernels& kernels, const KvCache& cache, const Batch& batch,
           Team& team, int member);

  size_t workspace_bytes() const;

 private:
  struct Tile {
    int sequence;
    int first;  // token of the sequence's part of the batch
    int count;
  };
  // One tile and one range of query heads.
  struct Task {
    Tile tile;
    int kv_head;
    int first_head;
    int num_heads;
  };
  int num_tasks() const { return static_cast<int>(tiles_.size()) * num_kv_heads_ * head_parts_; }
  Task task(int index) const;
  AttentionArgs arguments(const Task& task, const Operation& op, const KvCache& cache,
                          const Batch& batch) const;
  void write_rows(const AttentionArgs& args, const Operation& op, const KvCache& cache) const;
  void merge_rows(int index, const Operation& op, const Kernels& kernels, const KvCache& cache,
                  const Batch& batch) const;
  float* partial(int task, int part) const;

  int num_heads_ = 0;
  int num_kv_heads_ = 0;
  int heads_per_task_ = 0;
  int head_parts_ = 1;
  int tokens_per_tile_ = 1;
  int team_size_ = 1;
  int max_split_tasks_ = 0;
  int num_parts_ = 1;  // of the keys, this step
  std::vector<Tile> tiles_;
  HugeBuffer scratch_;   // a member: attend()'s own, and a tile's results
  HugeBuffer partials_;  // split tasks' results
  size_t scratch_floats_ = 0;
  size_t result_floats_ = 0;
};

}  // namespace sluice::backend::cpu
