#include "model/memory_plan.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace sluice::model {
namespace {

TEST(PlanCache, GivesRoomForSeveralOrOneLongSequence) {
  CacheNeeds needs;
  needs.rooms.emplace_back();
  needs.rooms[0].block_bytes = 1000;
  needs.rooms[0].available_bytes = uint64_t{1} << 40;
  needs.trained_context = 8192;
  needs.wish.default_context = 4096;
  needs.wish.num_sequences = 8;
  EXPECT_EQ(plan_cache(needs).num_blocks, 4096 * 8 / 16);
  EXPECT_EQ(plan_cache(needs).context_length, 8192);
  needs.wish.num_sequences = 1;
  EXPECT_EQ(plan_cache(needs).num_blocks, 8192 / 16);
  needs.trained_context = 131072;
  EXPECT_EQ(plan_cache(needs).context_length, 32768);
}

TEST(CacheGoals, AreJustTheBlocksThatAreAskedFor) {
  CacheWish wish;
  wish.exact_blocks = 4096;  // of 32 sequences, each shorter than the model's context
  const CacheGoals goals = cache_goals(wish, 4096);
  EXPECT_EQ(goals.one, 4096);
  EXPECT_EQ(goals.least, 4096);
}

TEST(PlanCache, TakesAtMostHalfOfWhatIsAvailableAndSaysWhenThatIsTooLittle) {
  CacheNeeds needs;
  CacheRoom& room = needs.rooms.emplace_back();
  room.block_bytes = 1 << 20;
  needs.trained_context = 8192;
  room.available_bytes = uint64_t{200} << 20;
  EXPECT_EQ(plan_cache(needs).num_blocks, 100);
  EXPECT_EQ(plan_cache(needs).context_length, 1600);
  room.available_bytes = uint64_t{20} << 20;
  EXPECT_EQ(plan_cache(needs).context_length, 256) << "the least is more than half";
  room.available_bytes = uint64_t{15} << 20;
  room.weights_bytes = 100'000'000;
  room.workspace_bytes = 3'000'000;
  try {
    plan_cache(needs);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    const std::string text = error.what();
    for (const char* part :
         {"100 MB of weights", "3 MB of workspace", "16 MB of cache", "118 MB"}) {
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
  }
}

TEST(PlanCache, HasNoMoreBlocksThanTheFullestDeviceCanHold) {
  CacheNeeds needs;
  needs.trained_context = 8192;
  needs.rooms.resize(2);
  needs.rooms[0].block_bytes = 3 << 20;
  needs.rooms[0].available_bytes = uint64_t{3000} << 20;
  needs.rooms[1].block_bytes = 1 << 20;
  needs.rooms[1].available_bytes = uint64_t{200} << 20;
  needs.rooms[1].most_share = 0.9;
  EXPECT_EQ(plan_cache(needs).num_blocks, 180);
  needs.rooms[0].available_bytes = uint64_t{40} << 20;
  EXPECT_THROW(plan_cache(needs), Error);
}

}  // namespace
}  // namespace sluice::model
