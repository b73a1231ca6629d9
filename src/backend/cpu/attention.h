#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/huge_buffer.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/team.h"

// The KV cache and attention over it: how the work of a step is cut up and shared by the team.
namespace sluice::backend::cpu {

// [block][layer][kv_head]: a block is one piece of memory, so that a few tokens touch few pages. A
// head's part is its keys, then its values (attention_kernels.h), in f16 or in q8_0: bytes with an
// f16 scale and middle for every 32 dimensions of a token's key or value: 9/16 of f16.
class KvCache {
 public:
  KvCache() = default;
  // Heads are padded to whole vectors of 16, or whole blocks of 32 in q8_0.
  KvCache(int num_layers, int num_kv_heads, int head_dim, bool is_q8) noexcept;

  // Throws Error(kOutOfMemory).
  void allocate(int num_blocks);

  int num_blocks() const { return num_blocks_; }
  int head_dim() const { return head_dim_; }
  int padded_dim() const { return padded_dim_; }
  bool is_q8() const { return is_q8_; }
  size_t size_bytes() const { return memory_.size(); }
  // Bytes of a block over all layers, and from one block to the next.
  size_t block_bytes() const {
    return static_cast<size_t>(num_layers_) * static_cast<size_t>(num_kv_heads_) * 2 * half_bytes_;
  }
  // A layer and kv head's part of block 0.
  std::byte* head(int layer, int kv_head) const;

  // Stores keys and values [count, head_dim], rows `stride` apart, of consecutive tokens of one
  // block from place `slot` (block * kBlockTokens + offset) on.
  void store(const Kernels& kernels, int layer, int kv_head, int slot, int count, const float* keys,
             const float* values, size_t stride) const;

 private:
  void store_f16(const Kernels& kernels, std::byte* block, int offset, const float* key,
                 const float* value) const;
  void store_q8(const Kernels& kernels, std::byte* block, int offset, const float* key,
                const float* value) const;

  int num_layers_ = 0;
  int num_kv_heads_ = 0;
  int head_dim_ = 0;
  int padded_dim_ = 0;
  bool is_q8_ = false;
  size_t half_bytes_ = 0;  // of a block of one head: its keys, or its values
  int num_blocks_ = 0;
  HugeBuffer memory_;
};

// How attention is cut: tiles of a few tokens of one sequence times the query heads of one kv head;
// where that gives too few tasks for the team, also by chunks of keys, folded together afterwards
// in order. No cut changes a row's result by a bit.
class AttentionPlan {
 public:
  AttentionPlan() = default;
  AttentionPlan(int num_heads, int num_kv_heads, int team_size, int max_batch_tokens,
                int padded_dim);

  // Makes room for steps, and to cut sequences of up to `num_tokens` tokens. Throws
  // Error(kOutOfMemory).
  void reserve(int64_t num_tokens);

  // Before a step of so many members, by one thread.
  void begin(const Batch& batch, int num_members);

  struct Operation {
    const float* q;
    float* out;
    size_t stride;  // of both
    int layer;
    float scale;
    int window;
  };
  // Two phases: attend() does num_attend_pieces(), then fold() num_fold_pieces(), which may be
  // none.
  int num_attend_pieces(const Operation& op) const { return num_tasks() * parts_of(op); }
  int num_fold_pieces(const Operation& op) const { return parts_of(op) > 1 ? num_tasks() : 0; }
  void attend(const Operation& op, const Kernels& kernels, const KvCache& cache, const Batch& batch,
              Pieces& pieces) const;
  void fold(const Operation& op, const Kernels& kernels, const KvCache& cache, const Batch& batch,
            Pieces& pieces) const;

  // What reserve() takes, once it is called and before.
  size_t workspace_bytes() const { return scratch_.size() + partials_.size(); }
  size_t workspace_bytes(int64_t num_tokens) const;

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
  int parts_of(const Operation& op) const;
  CacheRange keys(const Task& task, const Operation& op, const KvCache& cache,
                  const Batch& batch) const;
  AttentionArgs arguments(const Task& task, const Operation& op, const KvCache& cache,
                          const Batch& batch) const;
  void write_rows(const AttentionArgs& args, const Operation& op, const KvCache& cache) const;
  void fold_rows(int index, const Operation& op, const Kernels& kernels, const KvCache& cache,
                 const Batch& batch) const;
  float* partial(int task, int part, int num_parts) const;
  size_t scratch_bytes() const;
  size_t partials_bytes(int64_t num_tokens) const;

  int num_heads_ = 0;
  int num_kv_heads_ = 0;
  int heads_per_task_ = 0;
  int head_parts_ = 1;
  int tokens_per_tile_ = 1;
  int team_size_ = 1;
  int padded_dim_ = 0;
  int num_parts_ = 1;  // chunks of the longest sequence if this step is cut by keys, else 1
  std::vector<Tile> tiles_;
  HugeBuffer scratch_;   // a member: attend()'s own, and a tile's results
  HugeBuffer partials_;  // cut tasks' results: [task][part]
  size_t scratch_floats_ = 0;
  size_t result_floats_ = 0;   // of a tile
  size_t partial_floats_ = 0;  // of a tile of this step
};

}  // namespace sluice::backend::cpu
