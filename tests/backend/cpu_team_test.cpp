#include "backend/cpu/team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <numeric>
#include <thread>

namespace sluice::backend::cpu {
namespace {

// Plain, unguarded data: ThreadSanitizer sees a barrier that does not order it.
TEST(Team, BarriersOrderMembersWrites) {
  for (int size : {1, 2, 3, 8}) {
    Team team(size);
    std::vector<int> values(static_cast<size_t>(size) * 16);
    for (int round = 0; round < 50; ++round) {
      team.run([&](int member) {
        for (int phase = 0; phase < 20; ++phase) {
          values[static_cast<size_t>(member) * 16] = round * 100 + phase;
          team.barrier();
          const auto neighbour = static_cast<size_t>((member + 1) % size);
          ASSERT_EQ(values[neighbour * 16], round * 100 + phase);
          team.barrier();
        }
      });
    }
  }
}

TEST(Team, EveryChunkIsTakenOnce) {
  for (int size : {1, 2, 5}) {
    Team team(size);
    for (int count : {0, 1, 3, 64, 1000}) {
      std::vector<std::atomic<int>> taken(static_cast<size_t>(count)), near(taken.size());
      team.run([&](int member) {
        for (int i = team.take_chunk(); i < count; i = team.take_chunk()) {
          taken[static_cast<size_t>(i)].fetch_add(1);
        }
        team.barrier();
        for (int i = team.take_near(member, count); i >= 0; i = team.take_near(member, count)) {
          near[static_cast<size_t>(i)].fetch_add(1);
        }
      });
      for (size_t i = 0; i < taken.size(); ++i) {
        ASSERT_EQ(taken[i].load(), 1);
        ASSERT_EQ(near[i].load(), 1);
      }
    }
  }
}

TEST(Team, MembersWalkThroughTheirOwnShareInOrder) {
  Team team(1);
  team.run([&](int member) {
    for (int expected = 0; expected < 10; ++expected) {
      EXPECT_EQ(team.take_near(member, 10), expected);
    }
    EXPECT_EQ(team.take_near(member, 10), -1);
  });
}

TEST(Team, IdleWorkersUseNoCpu) {
  Team team(3);
  team.run([](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // past the idle spin
  const std::clock_t before = std::clock();                    // CPU time of the whole process
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double seconds = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 0.05);
}

}  // namespace
}  // namespace sluice::backend::cpu
