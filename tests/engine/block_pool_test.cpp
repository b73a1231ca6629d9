#include "engine/block_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "base/error.h"

namespace sluice::engine {
namespace {

using Tokens = std::array<text::TokenId, backend::kBlockTokens>;

Tokens tokens(int first) {
  Tokens tokens;
  for (int i = 0; i < backend::kBlockTokens; ++i) tokens[i] = first + i;
  return tokens;
}

// A chain of named blocks with one reference each.
std::vector<NamedBlock> publish_chain(BlockPool& pool, const std::vector<int>& firsts) {
  std::vector<NamedBlock> chain;
  PrefixName before = kEmptyPrefix;
  for (const int first : firsts) {
    chain.push_back(pool.publish(pool.allocate(), before, tokens(first)));
    before = chain.back().name;
  }
  return chain;
}

void release_chain(BlockPool& pool, const std::vector<NamedBlock>& chain) {
  for (auto it = chain.rbegin(); it != chain.rend(); ++it) pool.release(it->block);
}

// How many blocks of the chain can be found; their references are given back.
int num_found(BlockPool& pool, const std::vector<int>& firsts) {
  std::vector<NamedBlock> found;
  PrefixName before = kEmptyPrefix;
  for (const int first : firsts) {
    const auto block = pool.acquire_cached(before, tokens(first));
    if (!block) break;
    found.push_back(*block);
    before = block->name;
  }
  release_chain(pool, found);
  return static_cast<int>(found.size());
}

TEST(BlockPool, HandsOutEveryBlockOnce) {
  BlockPool pool(5, true);
  std::vector<bool> is_taken(5, false);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(pool.can_allocate(5 - i));
    const BlockId block = pool.allocate();
    ASSERT_FALSE(is_taken[block]);
    is_taken[block] = true;
  }
  EXPECT_FALSE(pool.can_allocate(1));
  EXPECT_TRUE(pool.can_allocate(0));
  EXPECT_THROW(pool.allocate(), Error);
  EXPECT_EQ(pool.num_used(), 5);
}

TEST(BlockPool, NeedsAtLeastOneBlock) {
  EXPECT_THROW(BlockPool(0, true), Error);
  EXPECT_THROW(BlockPool(-3, true), Error);
}

TEST(BlockPool, FindsAPrefixByItsTokensOnly) {
  BlockPool pool(10, true);
  const auto chain = publish_chain(pool, {100, 200, 300});
  EXPECT_EQ(num_found(pool, {100, 200, 300}), 3);
  EXPECT_EQ(num_found(pool, {100, 200, 400}), 2);
  EXPECT_EQ(num_found(pool, {200}), 0) << "the same tokens behind another prefix";
  EXPECT_EQ(num_found(pool, {100, 300}), 1);
  pool.check_integrity();
}

TEST(BlockPool, ReleasedPrefixStaysCachedAndCountsAsFree) {
  BlockPool pool(4, true);
  release_chain(pool, publish_chain(pool, {1, 2}));
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_EQ(pool.num_cached(), 2);
  EXPECT_TRUE(pool.can_allocate(4));
  const auto block = pool.acquire_cached(kEmptyPrefix, tokens(1));
  ASSERT_TRUE(block);
  EXPECT_EQ(pool.num_used(), 1);
  EXPECT_EQ(pool.num_cached(), 1);
  pool.check_integrity();
}

TEST(BlockPool, SharedBlockIsFreeOnlyAfterItsLastRelease) {
  BlockPool pool(2, true);
  const auto chain = publish_chain(pool, {1});
  const auto shared = pool.acquire_cached(kEmptyPrefix, tokens(1));
  ASSERT_TRUE(shared);
  EXPECT_EQ(shared->block, chain[0].block);
  pool.release(shared->block);
  EXPECT_EQ(pool.num_used(), 1);
  pool.release(shared->block);
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_THROW(pool.release(shared->block), Error);
}

TEST(BlockPool, EvictsLeastRecentlyUsedPrefixFirst) {
  BlockPool pool(4, true);
  release_chain(pool, publish_chain(pool, {1}));
  release_chain(pool, publish_chain(pool, {2}));
  release_chain(pool, publish_chain(pool, {3}));
  EXPECT_EQ(num_found(pool, {1}), 1);  // used again: now 2 is the oldest
  pool.allocate();                     // the one that was never named
  pool.allocate();
  EXPECT_EQ(num_found(pool, {2}), 0);
  EXPECT_EQ(num_found(pool, {3}), 1);
  EXPECT_EQ(num_found(pool, {1}), 1);
  pool.check_integrity();
}

TEST(BlockPool, EvictsTheEndOfAPrefixBeforeItsStart) {
  BlockPool pool(3, true);
  release_chain(pool, publish_chain(pool, {1, 2, 3}));
  pool.allocate();
  pool.check_integrity();
  EXPECT_EQ(num_found(pool, {1, 2, 3}), 2);
  pool.allocate();
  pool.check_integrity();
  EXPECT_EQ(num_found(pool, {1, 2, 3}), 1);
}

TEST(BlockPool, EqualBlocksAreKeptOnce) {
  BlockPool pool(4, true);
  const auto first = publish_chain(pool, {1, 2});
  const auto second = publish_chain(pool, {1, 2});
  EXPECT_EQ(first[0].block, second[0].block);
  EXPECT_EQ(first[1].block, second[1].block);
  EXPECT_EQ(first[1].name, second[1].name);
  EXPECT_EQ(pool.num_used(), 2);
  EXPECT_EQ(pool.num_references(first[1].block), 2);
  pool.check_integrity();
}

TEST(BlockPool, NameOfAnEvictedPrefixIsNeverUsedAgain) {
  BlockPool pool(1, true);
  const auto first = publish_chain(pool, {1});
  release_chain(pool, first);
  pool.release(pool.allocate());
  const auto second = publish_chain(pool, {1});
  EXPECT_NE(first[0].name, second[0].name);
}

TEST(BlockPool, WithoutPrefixCacheNothingIsFound) {
  BlockPool pool(2, false);
  const BlockId block = pool.allocate();
  EXPECT_EQ(pool.publish(block, kEmptyPrefix, tokens(1)).block, block);
  pool.release(block);
  EXPECT_FALSE(pool.acquire_cached(kEmptyPrefix, tokens(1)));
  EXPECT_EQ(pool.num_cached(), 0);
  pool.check_integrity();
}

TEST(BlockPool, RefusesToPublishASharedOrNamedBlock) {
  BlockPool pool(2, true);
  const auto chain = publish_chain(pool, {1});
  EXPECT_THROW(pool.publish(chain[0].block, kEmptyPrefix, tokens(2)), Error);
}

}  // namespace
}  // namespace sluice::engine
