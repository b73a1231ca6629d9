#include "engine/block_pool.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_set>

#include "base/error.h"
#include "base/random_seed.h"

namespace sluice::engine {
namespace {

void require_block_pool(bool is_true, std::string_view what) {
  if (!is_true) throw Error(ErrorCode::kInternal, "block pool: " + std::string(what));
}

}  // namespace

size_t BlockPool::KeyHash::operator()(const Key& key) const {
  uint64_t hash = seed ^ key.before;
  for (const text::TokenId token : key.tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return hash;
}

BlockPool::BlockPool(int num_blocks, bool enable_prefix_cache)
    // Clients choose the tokens: without a secret seed they could choose them to collide.
    : enable_prefix_cache_(enable_prefix_cache), by_key_(0, KeyHash{random_seed()}) {
  if (num_blocks <= 0) {
    throw Error(ErrorCode::kInvalidArgument, "num_blocks must be positive: no cache, no sequence");
  }
  blocks_.resize(static_cast<size_t>(num_blocks));
  empty_.reserve(blocks_.size());
  for (BlockId block = num_blocks - 1; block >= 0; --block) empty_.push_back(block);
}

BlockId BlockPool::allocate() {
  BlockId block = oldest_;
  if (!empty_.empty()) {
    block = empty_.back();
    empty_.pop_back();
  } else {
    require_block_pool(block >= 0, "allocate() without a free block");
    unlink_from_cached(block);
    by_key_.erase(blocks_[block].key);
    blocks_[block].name = kEmptyPrefix;
  }
  blocks_[block].num_references = 1;
  return block;
}

void BlockPool::release(BlockId block) {
  Block& released = blocks_[block];
  require_block_pool(released.num_references > 0, "block released twice");
  if (--released.num_references > 0) return;
  if (released.name == kEmptyPrefix) {
    empty_.push_back(block);
  } else {
    append_to_cached(block);
  }
}

std::optional<NamedBlock> BlockPool::acquire_cached(PrefixName before, BlockTokens tokens) {
  if (by_key_.empty()) return std::nullopt;
  Key key{before, {}};
  std::copy(tokens.begin(), tokens.end(), key.tokens.begin());
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return std::nullopt;
  Block& block = blocks_[found->second];
  if (block.num_references == 0) unlink_from_cached(found->second);
  ++block.num_references;
  return NamedBlock{found->second, block.name};
}

NamedBlock BlockPool::publish(BlockId block, PrefixName before, BlockTokens tokens) {
  if (!enable_prefix_cache_) return {block, kEmptyPrefix};
  require_block_pool(blocks_[block].num_references == 1 && blocks_[block].name == kEmptyPrefix,
                     "only a block of one's own can be published, once");
  if (const auto equal = acquire_cached(before, tokens)) {
    release(block);
    return *equal;
  }
  Block& published = blocks_[block];
  published.key.before = before;
  std::copy(tokens.begin(), tokens.end(), published.key.tokens.begin());
  by_key_.emplace(published.key, block);  // may throw: then the block has no name
  published.name = ++last_name_;
  return {block, published.name};
}

void BlockPool::append_to_cached(BlockId block) {
  blocks_[block].older = newest_;
  blocks_[block].newer = -1;
  (newest_ >= 0 ? blocks_[newest_].newer : oldest_) = block;
  newest_ = block;
  ++num_cached_;
}

void BlockPool::unlink_from_cached(BlockId block) {
  const auto [older, newer] = std::pair(blocks_[block].older, blocks_[block].newer);
  (older >= 0 ? blocks_[older].newer : oldest_) = newer;
  (newer >= 0 ? blocks_[newer].older : newest_) = older;
  --num_cached_;
}

void BlockPool::check_integrity() const {
  std::vector<char> is_listed(blocks_.size(), 0);
  for (const BlockId block : empty_) {
    require_block_pool(!is_listed[block], "a block is in the empty list twice");
    is_listed[block] = 1;
    require_block_pool(blocks_[block].num_references == 0, "an empty block is referenced");
    require_block_pool(blocks_[block].name == kEmptyPrefix, "an empty block has a name");
  }
  int num_listed = 0;
  BlockId older = -1;
  for (BlockId block = oldest_; block >= 0; older = block, block = blocks_[block].newer) {
    require_block_pool(!is_listed[block], "a block is in two lists or a list has a ring");
    is_listed[block] = 1;
    require_block_pool(blocks_[block].older == older, "the list of cached blocks is torn");
    require_block_pool(blocks_[block].num_references == 0, "a cached block is referenced");
    require_block_pool(blocks_[block].name != kEmptyPrefix, "a cached block has no name");
    ++num_listed;
  }
  require_block_pool(older == newest_ && num_listed == num_cached_,
                     "the cached blocks are miscounted");

  std::unordered_set<PrefixName> names{kEmptyPrefix};
  size_t num_named = 0;
  for (const Block& block : blocks_) {
    if (block.name != kEmptyPrefix) {
      ++num_named;
      require_block_pool(names.insert(block.name).second, "two blocks have one name");
    }
  }
  require_block_pool(num_named == by_key_.size(), "names and blocks differ in number");
  for (BlockId id = 0; id < num_total(); ++id) {
    const Block& block = blocks_[id];
    require_block_pool(block.num_references >= 0, "negative references");
    require_block_pool((block.num_references == 0) == (is_listed[id] != 0), "a block is lost");
    if (block.name == kEmptyPrefix) continue;
    const auto found = by_key_.find(block.key);
    require_block_pool(found != by_key_.end() && found->second == id,
                       "a named block cannot be found");
    require_block_pool(names.contains(block.key.before),
                       "a prefix was evicted before what follows it");
  }
}

}  // namespace sluice::engine
