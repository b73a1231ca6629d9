// Contexts that get full while they are decoded: the shift, and the successor that is computed
// before it, on a virtual clock.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/scheduler.h"
#include "fake_backend.h"

namespace sluice::engine {
namespace {

using Tokens = std::vector<text::TokenId>;

// Milliseconds of a step: rows, and cached tokens that they look back on.
struct Machine {
  std::string name;
  double fixed = 0, row = 0, context = 0;

  double milliseconds(double rows, double looked_back) const {
    return fixed + row * rows + context * looked_back;
  }
};

const std::vector<Machine> kMachines = {{"a small model on a processor", 2.5, 0.7, 4e-4},
                                        {"a larger one", 25, 3.5, 1e-3},
                                        {"an accelerator", 12, 0.03, 2e-5}};

// Replies that go on for ever, and prompts beside them.
class Simulation {
 public:
  Simulation(const Machine& machine, const SchedulerOptions& options)
      : machine_(machine), scheduler_(options) {}

  void add(int num_prompt_tokens, std::optional<ContextShift> shift, int num_output_tokens) {
    Tokens prompt;
    for (int i = 0; i < num_prompt_tokens; ++i) prompt.push_back(next_token());
    scheduler_.add(++last_id_, std::move(prompt)).shift = shift;
    num_output_tokens_[last_id_] = num_output_tokens;
  }

  void step() {
    const auto planned = scheduler_.plan(Clock::time_point{});
    const std::vector<Chunk> chunks(planned.begin(), planned.end());
    double rows = 0, looked_back = 0, decode_rows = 0, decode_looked_back = 0;
    for (const Chunk& chunk : chunks) {
      rows += chunk.num_tokens;
      // Attention reads the cache once for some rows.
      looked_back += std::ceil(chunk.num_tokens / 8.0) * chunk.cached->num_computed;
      if (!chunk.is_decode) continue;
      decode_rows += 1;
      decode_looked_back += chunk.cached->num_computed;
    }
    const double noise = std::uniform_real_distribution<double>(0.95, 1.05)(random_);
    const double time = noise * machine_.milliseconds(rows, looked_back);
    milliseconds_ += time;
    scheduler_.observe(std::chrono::nanoseconds(static_cast<int64_t>(1e6 * time)));
    scheduler_.complete();
    const double alone = machine_.milliseconds(decode_rows, decode_looked_back);
    for (const Chunk& chunk : chunks) {
      if (chunk.wants_logits) advance(*chunk.sequence, alone);
    }
    if (++num_steps_ % 200 == 0) scheduler_.check_integrity();
  }

  void run(int num_steps) {
    for (int i = 0; i < num_steps && !scheduler_.is_idle(); ++i) step();
  }

  Scheduler& scheduler() { return scheduler_; }
  int num_shifts() const { return num_shifts_; }
  int num_seamless_shifts() const { return num_seamless_shifts_; }
  // Between two tokens of a reply, over the time of the decodes alone.
  std::vector<double> stretches;

 private:
  text::TokenId next_token() { return static_cast<text::TokenId>(random_() % 1000); }

  void advance(Sequence& sequence, double milliseconds_alone) {
    const auto last = last_token_.find(sequence.id);
    if (last != last_token_.end() && milliseconds_alone > 0) {
      stretches.push_back((milliseconds_ - last->second) / milliseconds_alone);
    }
    last_token_[sequence.id] = milliseconds_;
    if (--num_output_tokens_[sequence.id] == 0) return scheduler_.remove(sequence.id);
    if (!scheduler_.append(sequence, next_token())) return;
    ++num_shifts_;
    if (sequence.is_decoding()) ++num_seamless_shifts_;
  }

  std::mt19937_64 random_{1};
  Machine machine_;
  Scheduler scheduler_;
  RequestId last_id_ = 0;
  double milliseconds_ = 0;
  int num_steps_ = 0;
  int num_shifts_ = 0;
  int num_seamless_shifts_ = 0;
  std::map<RequestId, int> num_output_tokens_;
  std::map<RequestId, double> last_token_;
};

SchedulerOptions options(int num_blocks, double max_itl_stretch = 2) {
  SchedulerOptions options;
  options.num_blocks = num_blocks;
  options.max_itl_stretch = max_itl_stretch;
  options.traits = kCpuTraits;
  return options;
}

constexpr int kForEver = 1'000'000;
constexpr ContextShift kShift{4096, 4, 2046};

double share_above(const std::vector<double>& values, double limit) {
  const auto num = std::count_if(values.begin(), values.end(), [&](double v) { return v > limit; });
  return static_cast<double>(num) / static_cast<double>(values.size());
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

TEST(SchedulerShift, DoesNotStopTheStream) {
  for (const Machine& machine : kMachines) {
    for (const int num_streams : {1, 2, 6}) {
      SCOPED_TRACE(machine.name + ", " + std::to_string(num_streams));
      Simulation simulation(machine, options(4000));
      for (int i = 0; i < num_streams; ++i) {
        simulation.add(50, kShift, kForEver);
        simulation.run(1 + 3000 / num_streams);
      }
      simulation.stretches.clear();
      simulation.run(8000);
      EXPECT_GE(simulation.num_shifts(), 3 * num_streams);
      EXPECT_EQ(simulation.num_seamless_shifts(), simulation.num_shifts());
      // The bound is twice the time of a step without prefill, and a gap twice that.
      EXPECT_EQ(share_above(simulation.stretches, 4.0), 0);
      EXPECT_LE(share_above(simulation.stretches, 2.6), 0.002);
      EXPECT_LE(mean(simulation.stretches), 2.0);
    }
  }
}

TEST(SchedulerShift, DoesNotStopTheStreamWhileLongPromptsKeepComing) {
  for (const Machine& machine : kMachines) {
    SCOPED_TRACE(machine.name);
    Simulation simulation(machine, options(4000));
    for (int i = 0; i < 3; ++i) {
      simulation.add(50, kShift, kForEver);
      simulation.run(600);
    }
    for (int i = 0; i < 8000; ++i) {
      if (simulation.scheduler().num_running() < 5) simulation.add(6000, {}, 5);
      if (i == 200) simulation.stretches.clear();
      simulation.step();
    }
    EXPECT_GE(simulation.num_shifts(), 6);
    EXPECT_EQ(simulation.num_seamless_shifts(), simulation.num_shifts());
    EXPECT_EQ(share_above(simulation.stretches, 4.0), 0);
  }
}

// What is computed for a successor is for nothing when the reply ends before the shift.
TEST(SchedulerShift, ASuccessorIsBegunNoEarlierThanNeeded) {
  Simulation simulation(kMachines[0], options(4000));
  simulation.add(50, kShift, 2150);
  while (!simulation.scheduler().is_idle()) simulation.step();
  // A few to learn what it costs.
  EXPECT_LE(simulation.scheduler().counters().num_prefilled_tokens, 60u);
}

TEST(SchedulerShift, EveryTokenIsComputedOnceForItsNewPlace) {
  Simulation simulation(kMachines[0], options(4000));
  simulation.add(50, kShift, kForEver);
  while (simulation.num_shifts() == 0) simulation.step();
  EXPECT_EQ(simulation.num_seamless_shifts(), 1);
  EXPECT_EQ(simulation.scheduler().counters().num_prefilled_tokens, 50u + 2049u);
}

// One step; whoever wanted logits gets a token. True when one was shifted.
bool run_step(Scheduler& scheduler, text::TokenId token = 9) {
  const auto planned = scheduler.plan({});
  const std::vector<Chunk> chunks(planned.begin(), planned.end());
  scheduler.complete();
  bool was_shifted = false;
  for (const Chunk& chunk : chunks) {
    if (chunk.wants_logits) was_shifted |= scheduler.append(*chunk.sequence, token);
  }
  scheduler.check_integrity();
  return was_shifted;
}

TEST(SchedulerShift, WithoutFreeBlocksTheSequenceIsComputedAgain) {
  Scheduler scheduler(options(16, 0));  // as many as the context has
  Sequence& sequence = scheduler.add(1, Tokens(10, 1));
  sequence.shift = ContextShift{256, 4, 126};
  while (!run_step(scheduler)) EXPECT_EQ(sequence.successor, nullptr);
  EXPECT_TRUE(sequence.is_refilling);
  EXPECT_EQ(sequence.num_computed, 0);
  EXPECT_EQ(sequence.num_tokens(), 130);
  run_step(scheduler);
  EXPECT_FALSE(sequence.is_refilling);
  EXPECT_TRUE(sequence.is_decoding());
}

// Four sequences of at most 16 blocks, beside which two successors of 9 fit at times.
TEST(SchedulerShift, NobodyIsPreemptedForASuccessor) {
  SchedulerOptions tight = options(64 + 20, 0);
  tight.enable_prefix_cache = false;
  Scheduler scheduler(tight);
  for (RequestId id = 1; id <= 4; ++id) {
    scheduler.add(id, Tokens(static_cast<size_t>(20 * id), 1)).shift = ContextShift{256, 4, 126};
  }
  int num_successors = 0;
  for (int i = 0; i < 3000; ++i) {
    run_step(scheduler);
    scheduler.for_each_running(
        [&](const Sequence& s) { num_successors += s.successor != nullptr; });
  }
  EXPECT_EQ(scheduler.counters().num_preemptions, 0u);
  EXPECT_GT(num_successors, 0);
}

TEST(SchedulerShift, ASuccessorIsGivenUpForOneThatWaits) {
  Scheduler scheduler(options(60, 0));
  Sequence& sequence = scheduler.add(1, Tokens(10, 1));
  sequence.shift = ContextShift{512, 100, 100};  // its successor has 26 blocks
  while (!sequence.successor) run_step(scheduler);
  const int num_free = scheduler.pool().num_free();
  scheduler.add(2, Tokens(static_cast<size_t>(16 * num_free), 2));
  run_step(scheduler);
  EXPECT_EQ(scheduler.num_waiting(), 0);
  EXPECT_EQ(sequence.successor, nullptr);
  EXPECT_EQ(scheduler.counters().num_preemptions, 0u);
}

TEST(SchedulerShift, APreemptedSequenceHasNoSuccessor) {
  Scheduler scheduler(options(60, 0));
  Sequence& first = scheduler.add(1, Tokens(10, 1));
  Sequence& second = scheduler.add(2, Tokens(20, 2));
  second.shift = ContextShift{256, 4, 126};
  while (!second.successor) run_step(scheduler);
  while (scheduler.counters().num_preemptions == 0 && first.num_tokens() < 900) run_step(scheduler);
  EXPECT_EQ(second.successor, nullptr);
}

// The kept tokens and those behind them are in the prefix cache afterwards, as after any prompt.
TEST(SchedulerShift, AFreshPromptOfTheShiftedTokensFindsThemInTheCache) {
  Simulation simulation(kMachines[0], options(4000));
  simulation.add(50, kShift, kForEver);
  while (simulation.num_shifts() == 0) simulation.step();
  Scheduler& scheduler = simulation.scheduler();
  const Tokens tokens = scheduler.find(1)->tokens;
  const Sequence& fresh = scheduler.add(2, tokens);
  scheduler.plan({});
  EXPECT_GE(fresh.num_cached_tokens, static_cast<int>(tokens.size()) - 32);
  EXPECT_EQ(fresh.blocks[0], scheduler.find(1)->blocks[0]);
}

TEST(SchedulerShift, TellsHowManyTokensOfThePromptAreLeft) {
  for (const auto& [keep, left] :
       std::vector<std::pair<int, int>>{{4, 74}, {100, 100}, {250, 200}}) {
    Scheduler scheduler(options(100, 0));
    Sequence& sequence = scheduler.add(1, Tokens(200, 1));
    sequence.shift = ContextShift{256, keep, keep == 250 ? 3 : 126};
    if (keep == 100) sequence.shift->num_tokens = 100;
    while (!run_step(scheduler)) {
    }
    EXPECT_EQ(sequence.num_leading_prompt_tokens, left) << "keeping " << keep;
    const auto num_ones = std::count(sequence.tokens.begin(), sequence.tokens.end(), 1);
    EXPECT_EQ(num_ones, left);
  }
}

// Decode steps are no prompts, whatever was shifted: only then are they computed exactly.
TEST(SchedulerShift, DecodesBehindAShiftOfALongPromptAreNoPrompts) {
  Scheduler scheduler(options(100, 0));
  Sequence& sequence = scheduler.add(1, Tokens(200, 1));
  sequence.shift = ContextShift{256, 4, 126};
  while (!run_step(scheduler)) {
  }
  while (!sequence.is_decoding()) run_step(scheduler);
  ASSERT_LT(sequence.num_tokens(), sequence.num_prompt_tokens);
  backend::Batch batch;
  make_batch(scheduler.plan({}), batch);
  ASSERT_EQ(batch.sequences.size(), 1u);
  EXPECT_FALSE(batch.sequences[0].is_prompt);
}

// What is computed again after a preemption is computed as a prompt, its reply included.
TEST(SchedulerShift, WhatIsComputedAgainIsAPrompt) {
  SchedulerOptions plain = options(20, 0);  // no room for a successor
  plain.enable_prefix_cache = false;
  plain.max_batch_tokens = 64;
  Scheduler scheduler(plain);
  Sequence& sequence = scheduler.add(1, Tokens(100, 1));
  sequence.shift = ContextShift{256, 100, 50};
  while (!run_step(scheduler)) {
  }
  ASSERT_TRUE(sequence.is_refilling);
  for (int i = 0; i < 4; ++i) {
    backend::Batch batch;
    make_batch(scheduler.plan({}), batch);
    EXPECT_TRUE(batch.sequences[0].is_prompt) << "chunk " << i;
    scheduler.complete();
  }
}

}  // namespace
}  // namespace sluice::engine
