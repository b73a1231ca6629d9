#include "model/memory_plan.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace sluice::model {
namespace {

TEST(PlanCache, GivesRoomForSeveralOrOneLongSequence) {
  CacheNeeds needs;
  needs.block_bytes = 1000;
  needs.trained_context = 8192;
  needs.default_context = 4096;
  needs.num_sequences = 8;
  needs.available_bytes = uint64_t{1} << 40;
  EXPECT_EQ(plan_cache(needs).num_blocks, 4096 * 8 / 16);
  EXPECT_EQ(plan_cache(needs).context_length, 8192);
  needs.num_sequences = 1;
  EXPECT_EQ(plan_cache(needs).num_blocks, 8192 / 16);
  needs.trained_context = 131072;
  EXPECT_EQ(plan_cache(needs).context_length, 32768);
}

TEST(PlanCache, TakesAtMostHalfOfWhatIsAvailableAndSaysWhenThatIsTooLittle) {
  CacheNeeds needs;
  needs.block_bytes = 1 << 20;
  needs.trained_context = 8192;
  needs.available_bytes = uint64_t{200} << 20;
  EXPECT_EQ(plan_cache(needs).num_blocks, 100);
  EXPECT_EQ(plan_cache(needs).context_length, 1600);
  needs.available_bytes = uint64_t{20} << 20;
  EXPECT_EQ(plan_cache(needs).context_length, 256) << "the least is more than half";
  needs.available_bytes = uint64_t{15} << 20;
  needs.weights_bytes = 100'000'000;
  needs.workspace_bytes = 3'000'000;
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

}  // namespace
}  // namespace sluice::model
