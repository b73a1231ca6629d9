// The bound of the inter-token latency on a virtual clock: synthetic machines, whose steps take a
// time made up of what is in them and of noise, serve short and long prompts that never stop
// coming.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <iostream>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "fake_backend.h"

namespace sluice::engine {
namespace {

// What the step is made of; gives milliseconds.
struct Work {
  double rows = 0;             // tokens in all
  double logit_rows = 0;       // that end in logits
  double decode_context = 0;   // cached tokens of decoding sequences
  double prefill_context = 0;  // sum over prompt tokens of the cached tokens before each
};

struct Machine {
  std::string name;
  std::function<double(const Work&)> milliseconds;
  double noise = 0.05;     // most relative deviation of a step
  double outliers = 0.01;  // share of steps that take three times as long
};

// Of the order of a processor with 1 GB of weights: rows are computed in groups.
double processor(const Work& work) {
  const double groups = work.rows <= 4 ? work.rows : 4 * std::ceil(work.rows / 4);
  return 26 + 1.2 * groups + 0.5 * work.logit_rows + 0.002 * work.decode_context +
         4e-5 * work.prefill_context;
}

// Rows are free until there are enough of them.
double accelerator(const Work& work) {
  return std::max(20.0, 0.08 * work.rows) + 1e-4 * work.decode_context +
         2e-6 * work.prefill_context;
}

struct Load {
  int num_decoding = 4;  // requests that decode or wait: another one comes where one ends
  int reply = 300;
  int long_prompt = 8000;
  int num_long_prompts = 2;
};

// Sequences that decode, and prompts without end beside them.
class Simulation {
 public:
  Simulation(uint64_t seed, Machine machine, Load load, double max_stretch = 2)
      : random_(seed),
        machine_(std::move(machine)),
        load_(load),
        scheduler_(options(max_stretch)) {}

  void run(int num_steps) {
    for (int i = 0; i < num_steps; ++i) {
      keep_busy();
      step();
    }
  }
  RequestId add(int size) {
    scheduler_.add(++last_id_, std::vector<text::TokenId>(static_cast<size_t>(size), 1));
    return last_id_;
  }
  // Of a request that has not ended.
  bool has_token(RequestId id) { return scheduler_.find(id)->num_output_tokens() > 0; }
  void change_speed(double factor) { speed_ *= factor; }

  // Of the steps that had decodes and prefill: time over the time of the decodes alone, no noise.
  std::vector<double> stretches;
  // Rows of the steps that had decodes and prefill.
  std::vector<int> mixed_rows;
  double milliseconds = 0;
  int num_output_tokens = 0;

 private:
  static SchedulerOptions options(double max_stretch) {
    SchedulerOptions options;
    options.max_itl_stretch = max_stretch;
    options.num_blocks = 8000;
    options.enable_prefix_cache = false;
    options.traits = kCpuTraits;
    return options;
  }

  double uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  void keep_busy() {
    int num_prompts = 0, num_replies = 0;
    const auto count = [&](const Sequence& sequence) {
      const bool is_long = sequence.num_prompt_tokens >= load_.long_prompt;
      is_long ? ++num_prompts : ++num_replies;
    };
    scheduler_.for_each_running(count);
    scheduler_.for_each_waiting(count);
    for (; num_replies < load_.num_decoding; ++num_replies)
      add(20 + static_cast<int>(100 * uniform()));
    for (; num_prompts < load_.num_long_prompts; ++num_prompts) add(load_.long_prompt);
  }
  void step() {
    const auto planned = scheduler_.plan(Clock::time_point{});
    const std::vector<Chunk> chunks(planned.begin(), planned.end());
    Work all, decodes;
    for (const Chunk& chunk : chunks) {
      const bool is_decode = chunk.sequence->num_computed >= chunk.sequence->num_prompt_tokens;
      all.rows += chunk.num_tokens;
      all.logit_rows += chunk.wants_logits;
      if (is_decode) {
        decodes.rows += 1;
        decodes.logit_rows += 1;
        decodes.decode_context += chunk.sequence->num_computed;
      } else {
        all.prefill_context += static_cast<double>(chunk.num_tokens) * chunk.sequence->num_computed;
      }
    }
    all.decode_context = decodes.decode_context;
    const double expected = speed_ * machine_.milliseconds(all);
    if (decodes.rows > 0) {
      stretches.push_back(expected / (speed_ * machine_.milliseconds(decodes)));
      if (all.rows > decodes.rows) mixed_rows.push_back(static_cast<int>(all.rows));
    }
    double time = expected * (1 + machine_.noise * (2 * uniform() - 1));
    if (uniform() < machine_.outliers) time *= 3;
    milliseconds += time;
    scheduler_.observe(std::chrono::nanoseconds(static_cast<int64_t>(1e6 * time)));
    scheduler_.complete();
    for (const Chunk& chunk : chunks) {
      if (chunk.wants_logits) advance(*chunk.sequence);
    }
  }

  void advance(Sequence& sequence) {
    const bool is_long = sequence.num_prompt_tokens >= load_.long_prompt;
    const int most = is_long ? 5 : load_.reply;
    scheduler_.append(sequence, 1);
    ++num_output_tokens;
    if (sequence.num_output_tokens() >= most) scheduler_.remove(sequence.id);
  }

  std::mt19937_64 random_;
  Machine machine_;
  Load load_;
  Scheduler scheduler_;
  RequestId last_id_ = 0;
  double speed_ = 1;
};

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double share_above(const std::vector<double>& values, double limit) {
  const auto num = std::count_if(values.begin(), values.end(), [&](double v) { return v > limit; });
  return static_cast<double>(num) / static_cast<double>(values.size());
}

// What a sequence sees over some tokens: the largest mean of 32 steps in a row.
double worst_window(const std::vector<double>& values) {
  constexpr size_t kWindow = 32;
  double worst = 0;
  for (size_t i = 0; i + kWindow <= values.size(); ++i) {
    worst = std::max(worst, mean(std::span(values).subspan(i, kWindow)));
  }
  return worst;
}

const std::vector<Machine> kMachines = {{"processor", processor},
                                        {"accelerator", accelerator},
                                        {"noisy processor", processor, 0.15, 0.05}};
const std::vector<Load> kLoads = {
    {1, 300, 3000}, {4, 300, 8000}, {16, 200, 8000}, {60, 500, 30'000}, {2, 3000, 30'000}};

TEST(SchedulerItl, IsAtMostTwiceTheUndisturbedOneWhileLongPromptsKeepComing) {
  for (const Machine& machine : kMachines) {
    for (const Load& load : kLoads) {
      SCOPED_TRACE(machine.name + ", " + std::to_string(load.num_decoding) + " decoding");
      Simulation simulation(1, machine, load);
      simulation.run(150);
      simulation.stretches.clear();
      simulation.run(1500);
      EXPECT_LE(worst_window(simulation.stretches), 2.0);
      EXPECT_LE(share_above(simulation.stretches, 2.0), 0.03);
      EXPECT_GE(mean(simulation.stretches), 1.35) << "there is room for more prefill";
    }
  }
}

// Costs drawn at random over orders of magnitude.
Machine random_machine(std::mt19937_64& random) {
  const auto between = [&](double low, double high) {
    return std::exp(std::uniform_real_distribution<double>(std::log(low), std::log(high))(random));
  };
  const double fixed = between(1, 50), row = fixed * between(0.002, 0.3);
  const double decode_context = fixed * between(1e-6, 1e-4);
  const double prefill_context = fixed * between(1e-7, 1e-5);
  return {"random",
          [=](const Work& work) {
            return fixed + row * work.rows + decode_context * work.decode_context +
                   prefill_context * work.prefill_context;
          },
          between(0.01, 0.15), between(0.001, 0.03)};
}

TEST(SchedulerItl, BoundHoldsOnAnyMachine) {
  constexpr uint64_t kSeed = 20261122;
  constexpr int kSimulations = 100;
  std::cout << "seed " << kSeed << "\n";
  std::mt19937_64 random(kSeed);
  const auto between = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<uint64_t>(high - low + 1));
  };
  int num_beyond = 0;
  for (int i = 0; i < kSimulations; ++i) {
    const Machine machine = random_machine(random);
    const Load load{between(1, 60), between(20, 1000), between(1000, 20'000)};
    Simulation simulation(random(), machine, load);
    simulation.run(150);
    simulation.stretches.clear();
    simulation.run(500);
    const double worst = worst_window(simulation.stretches);
    EXPECT_LE(worst, 2.4) << "simulation " << i;
    if (worst > 2.0) ++num_beyond;
  }
  EXPECT_LE(num_beyond, 3) << "of " << kSimulations;
}

TEST(SchedulerItl, FollowsAMachineThatChangesItsSpeed) {
  for (const double factor : {0.5, 2.0}) {
    Simulation simulation(1, kMachines[0], {4, 300, 8000});
    simulation.run(500);
    simulation.change_speed(factor);
    simulation.run(100);
    simulation.stretches.clear();
    simulation.run(300);
    EXPECT_LE(worst_window(simulation.stretches), 2.0);
    EXPECT_GE(mean(simulation.stretches), 1.35);
  }
}

TEST(SchedulerItl, IsTheSameForTheSameTimes) {
  const auto run = [] {
    Simulation simulation(7, kMachines[2], {8, 100, 3000});
    simulation.run(500);
    return simulation.stretches;
  };
  EXPECT_EQ(run(), run());
}

TEST(SchedulerItl, ShortPromptBehindAVeryLongOneIsAnsweredLongBeforeIt) {
  Simulation simulation(1, kMachines[0], {4, 300, 32'000});
  simulation.run(200);
  const RequestId id = simulation.add(300);
  int num_steps = 0;
  for (; !simulation.has_token(id) && num_steps < 10'000; ++num_steps) simulation.run(1);
  // Half of a step's prefill, and the long ones take a thousand steps.
  EXPECT_LE(num_steps, 100);
}

// Where few decode, the bound allows little prefill beside them, and so few that begin: the number
// of those that decode must climb all the same, for large steps carry more.
TEST(SchedulerItl, ThroughputUnderOverloadIsNearThatWithoutABound) {
  for (const Machine& machine : kMachines) {
    SCOPED_TRACE(machine.name);
    const auto throughput = [&](double max_stretch) {
      Simulation simulation(1, machine, {96, 50, 30'000, 0}, max_stretch);
      simulation.run(2000);
      return simulation.num_output_tokens / simulation.milliseconds;
    };
    EXPECT_GE(throughput(2), 0.87 * throughput(0));
  }
}

TEST(SchedulerItl, AServerFullOfLongPromptsKeepsTheBound) {
  Simulation simulation(1, kMachines[0], {4, 300, 8000, 100});
  simulation.run(150);
  simulation.stretches.clear();
  simulation.run(3000);
  EXPECT_GE(simulation.stretches.size(), 500) << "none decodes while long prompts take all places";
  EXPECT_LE(worst_window(simulation.stretches), 2.0);
  EXPECT_LE(share_above(simulation.stretches, 2.0), 0.03);
}

TEST(SchedulerItl, PrefillFillsUpGroupsOfRows) {
  Simulation simulation(1, kMachines[0], {13, 300, 8000});
  simulation.run(500);
  std::vector<double> unused;
  for (const int rows : simulation.mixed_rows) unused.push_back(rows % kCpuTraits.row_group);
  EXPECT_LE(share_above(unused, 0), 0.05);
}

TEST(SchedulerItl, WithoutABoundTheWholeBudgetIsUsed) {
  Simulation simulation(1, kMachines[0], {4, 300, 8000}, 0);
  simulation.run(200);
  EXPECT_GE(mean(simulation.stretches), 5);
}

}  // namespace
}  // namespace sluice::engine
