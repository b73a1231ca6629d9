#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "text/tokenizer.h"

namespace sluice::engine {

using BlockId = int32_t;

// Names one exact sequence of tokens that ends at a block border; 0 is the empty one. A name is
// given to (name of the tokens before, the block's own tokens) and never used again, so equal names
// mean equal tokens from the very start, whatever the hash function does.
using PrefixName = uint64_t;
inline constexpr PrefixName kEmptyPrefix = 0;

// The tokens of one full block.
using BlockTokens = std::span<const text::TokenId, backend::kBlockTokens>;

struct NamedBlock {
  BlockId block;
  PrefixName name;
};

// The cache blocks of a model: reference counted, and found again by the tokens they hold.
//
//   used     referenced by one sequence or more; named once it is full and published
//   cached   no references, but named: can be acquired again, evicted least recently used first
//   empty    no references, no name
//
// A sequence releases its blocks last to first, so a prefix is never evicted before what follows
// it. Not thread-safe: the engine's thread owns it.
class BlockPool {
 public:
  // Throws Error(kInvalidArgument) unless num_blocks is positive.
  BlockPool(int num_blocks, bool enable_prefix_cache);

  int num_total() const { return static_cast<int>(blocks_.size()); }
  int num_cached() const { return num_cached_; }
  int num_free() const { return static_cast<int>(empty_.size()) + num_cached_; }
  int num_used() const { return num_total() - num_free(); }

  bool can_allocate(int num_blocks) const { return num_blocks <= num_free(); }
  // An empty block with one reference; evicts a cached one when it must. Requires can_allocate(1).
  BlockId allocate();
  // Gives one reference back; a named block without references stays cached.
  void release(BlockId block);

  // The block that holds `tokens` right behind the prefix `before`, with a reference for the
  // caller; nothing when there is none.
  std::optional<NamedBlock> acquire_cached(PrefixName before, BlockTokens tokens);
  // Names the caller's full block. When another one holds the same prefix already, the caller's
  // reference moves to that one and its own block is released: equal blocks are kept once.
  // Without prefix cache nothing is named and the block stays as it is.
  NamedBlock publish(BlockId block, PrefixName before, BlockTokens tokens);

  // Throws Error(kInternal) saying what does not fit together. Visits every block.
  void check_integrity() const;
  int num_references(BlockId block) const { return blocks_[block].num_references; }

 private:
  struct Key {
    PrefixName before = kEmptyPrefix;
    std::array<text::TokenId, backend::kBlockTokens> tokens{};
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    uint64_t seed;
    size_t operator()(const Key& key) const;
  };
  struct Block {
    int num_references = 0;
    PrefixName name = kEmptyPrefix;  // kEmptyPrefix: none
    Key key;                         // valid with a name
    // Neighbours in the list of cached blocks, or -1.
    BlockId older = -1;
    BlockId newer = -1;
  };

  void append_to_cached(BlockId block);
  void unlink_from_cached(BlockId block);

  const bool enable_prefix_cache_;
  std::vector<Block> blocks_;
  std::vector<BlockId> empty_;
  BlockId oldest_ = -1;
  BlockId newest_ = -1;
  int num_cached_ = 0;
  PrefixName last_name_ = kEmptyPrefix;
  std::unordered_map<Key, BlockId, KeyHash> by_key_;
};

}  // namespace sluice::engine
