#include "backend/cpu/staffing.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>

namespace sluice::backend::cpu {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = Staffing::Clock;

// A machine on a virtual clock: what steps of so many tokens take with so many members.
class Machine {
 public:
  explicit Machine(int team_size) : staffing_(team_size) {}

  // Milliseconds a token, and the share of the members' time that goes by in waiting.
  std::function<double(int members)> cost = [](int members) { return 4.0 / members; };
  std::function<double(int members)> waiting = [](int) { return 0.01; };
  double noise = 0.15;  // standard deviation, of the cost
  // Times the cost, for some 60 ms after members were left out, when the system has not given their
  // cores to others yet; and after they were called back, when it gives them none yet.
  double head_start = 1, late_start = 1;

  // Runs steps for so long; returns the share of the time by number of members.
  std::map<int, double> run(Clock::duration time, int num_tokens = 1) {
    std::map<int, double> shares;
    const auto end = now_ + time;
    while (now_ < end) {
      const int members = staffing_.num_members(num_tokens);
      const double factor = std::max(0.2, std::normal_distribution(1.0, noise)(random_));
      if (members != members_before_) {
        start_ = members < members_before_ ? head_start : late_start;
        start_ends_ = now_ + milliseconds(60);
      }
      members_before_ = members;
      const double took = cost(members) * num_tokens * factor * (now_ < start_ends_ ? start_ : 1);
      const std::chrono::duration<double, std::milli> step(took),
          waited(took * members * waiting(members));
      now_ += duration_cast<Clock::duration>(step);
      staffing_.record(num_tokens, duration_cast<Clock::duration>(step),
                       duration_cast<Clock::duration>(waited), now_);
      shares[members] +=
          took / duration_cast<std::chrono::duration<double, std::milli>>(time).count();
    }
    return shares;
  }
  int members(int num_tokens = 1) const { return staffing_.num_members(num_tokens); }

 private:
  Staffing staffing_;
  std::mt19937 random_{3};
  Clock::time_point now_{}, start_ends_{};
  int members_before_ = 0;
  double start_ = 1;
};

TEST(Staffing, AQuietMachineAlwaysUsesAllMembers) {
  for (const int size : {1, 2, 16}) {
    Machine machine(size);
    EXPECT_EQ(machine.run(seconds(20)).begin()->first, size);
  }
}

TEST(Staffing, FewerMembersWhereTheyAreFaster) {
  Machine machine(2);
  machine.cost = [](int members) { return members == 1 ? 6.0 : 9.0; };
  machine.waiting = [](int members) { return members == 1 ? 0.0 : 0.3; };
  machine.run(seconds(1));
  EXPECT_EQ(machine.members(), 1);
  EXPECT_GT(machine.run(seconds(20))[1], 0.95);
}

// One member may have a core to itself at first, but two thirds of one soon (two busy processes on
// two cores); or half of one at first, and all of it soon (one busy process).
TEST(Staffing, HowATrialBeginsDoesNotCount) {
  for (const int best : {1, 2}) {
    SCOPED_TRACE(best);
    Machine machine(2);
    machine.noise = 0.05;
    machine.cost = [=](int members) { return members == best ? 7.0 : members == 1 ? 13.0 : 9.0; };
    machine.waiting = [](int members) { return members == 1 ? 0.0 : 0.15; };
    machine.head_start = best == 2 ? 0.5 : 2;
    machine.late_start = best == 2 ? 1.7 : 0.6;
    machine.run(seconds(1));
    EXPECT_GT(machine.run(seconds(20))[best], 0.9);
  }
}

// Members that wait for others in some windows only, as beside one busy process.
TEST(Staffing, TrialsThatFailCostLittle) {
  for (const double ratio : {1.1, 1.35, 2.0}) {
    SCOPED_TRACE(ratio);
    Machine machine(2);
    machine.cost = [=](int members) { return members == 1 ? 10.0 * ratio : 10.0; };
    machine.waiting = [steps = 0](int members) mutable {
      return members == 2 && ++steps / 10 % 2 == 0 ? 0.3 : 0.02;
    };
    const double share = machine.run(seconds(60))[1];
    EXPECT_LT(share * (1 - 1 / ratio), 0.02) << share;
  }
}

TEST(Staffing, AllMembersWhereTheyAreFasterInSpiteOfWaiting) {
  Machine machine(2);
  machine.cost = [](int members) { return members == 1 ? 9.0 : 6.0; };
  machine.waiting = [](int members) { return members == 1 ? 0.0 : 0.3; };
  machine.run(seconds(1));
  EXPECT_GT(machine.run(seconds(20))[2], 0.95);
}

TEST(Staffing, WhatChangesIsFoundWithinSeconds) {
  Machine machine(2);
  const auto quiet_cost = machine.cost;
  const auto quiet_waiting = machine.waiting;
  for (int round = 0; round < 3; ++round) {
    machine.cost = [](int members) { return members == 1 ? 6.0 : 9.0; };
    machine.waiting = [](int members) { return members == 1 ? 0.0 : 0.3; };
    machine.run(seconds(10));
    EXPECT_GT(machine.run(seconds(10))[1], 0.9);
    machine.cost = quiet_cost;
    machine.waiting = quiet_waiting;
    machine.run(seconds(4));
    EXPECT_EQ(machine.run(seconds(10)).begin()->first, 2);
  }
}

// One busy process on 16 cores holds up the sixteenth member, and with it all others.
TEST(Staffing, ABigTeamLosesOnlyTheMembersThatHaveNoCore) {
  for (const int free_cores : {15, 12, 3}) {
    SCOPED_TRACE(free_cores);
    Machine machine(16);
    machine.noise = 0.05;
    machine.cost = [=](int members) {
      return members <= free_cores ? 64.0 / members : 2 * 64.0 / members;
    };
    machine.waiting = [=](int members) { return members <= free_cores ? 0.01 : 0.45; };
    machine.run(seconds(5));
    double lost = 0;
    for (const auto& [members, share] : machine.run(seconds(20))) {
      lost += share * (1 - machine.cost(free_cores) / machine.cost(members));
    }
    EXPECT_LT(lost, 0.1);
  }
}

// Long prompts: a trial is a whole step, twice as long as it need be.
TEST(Staffing, TrialsOfLongStepsAreRare) {
  Machine machine(2);
  machine.waiting = [](int members) { return members == 1 ? 0.0 : 0.3; };
  machine.run(seconds(10), 512);
  EXPECT_LT(machine.run(seconds(1000), 512)[1], 0.04);
}

TEST(Staffing, KindsOfStepsLearnOnTheirOwn) {
  Machine machine(2);
  machine.waiting = [](int members) { return members == 1 ? 0.0 : 0.3; };
  machine.cost = [](int members) { return members == 1 ? 6.0 : 9.0; };
  machine.run(seconds(1), 1);
  EXPECT_EQ(machine.members(1), 1);
  EXPECT_EQ(machine.members(16), 2);
}

}  // namespace
}  // namespace sluice::backend::cpu
