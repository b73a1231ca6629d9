#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "fake_backend.h"

namespace sluice::engine {
namespace {

using std::chrono::milliseconds;
using Tokens = std::vector<text::TokenId>;

const Clock::time_point kStart{};

Tokens prompt(int size, int first = 0) {
  Tokens tokens(static_cast<size_t>(size));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

SchedulerOptions options(int num_blocks, int max_batch_tokens = 64, int max_sequences = 8) {
  SchedulerOptions options;
  options.num_blocks = num_blocks;
  options.max_batch_tokens = max_batch_tokens;
  options.max_sequences = max_sequences;
  options.max_itl_stretch = 0;
  options.traits = kCpuTraits;
  return options;
}

struct Planned {
  RequestId id;
  int num_tokens;
  bool wants_logits;
  bool operator==(const Planned&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Planned& planned) {
  return out << planned.id << ": " << planned.num_tokens << (planned.wants_logits ? "!" : "");
}

// One step; whoever wanted logits gets `token`.
std::vector<Planned> run_step(Scheduler& scheduler, text::TokenId token = 9) {
  std::vector<Planned> result;
  const auto planned = scheduler.plan(kStart);
  const std::vector<Chunk> chunks(planned.begin(), planned.end());
  for (const Chunk& chunk : chunks) {
    result.push_back({chunk.sequence->id, chunk.num_tokens, chunk.wants_logits});
  }
  scheduler.complete();
  for (const Chunk& chunk : chunks) {
    if (chunk.wants_logits) scheduler.append(*chunk.sequence, token);
  }
  scheduler.check_integrity();
  return result;
}

using Step = std::vector<Planned>;

TEST(Scheduler, PrefillsInChunksAndThenDecodes) {
  Scheduler scheduler(options(100, 64));
  scheduler.add(1, prompt(150));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 64, false}}));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 64, false}}));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 22, true}}));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 1, true}}));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 1, true}}));
}

TEST(Scheduler, TakesDecodingSequencesFirstAndFillsWithPrefill) {
  Scheduler scheduler(options(100, 32));
  scheduler.add(1, prompt(10));
  scheduler.add(2, prompt(10, 100));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 10, true}, {2, 10, true}}));
  scheduler.add(3, prompt(500, 1000));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 1, true}, {2, 1, true}, {3, 30, false}}));
}

TEST(Scheduler, EqualPromptsArePrefilledFirstComeFirstServed) {
  Scheduler scheduler(options(100, 64));
  scheduler.add(1, prompt(100));
  scheduler.add(2, prompt(100, 1000));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 64, false}}));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 36, true}, {2, 28, false}}));
}

TEST(Scheduler, ShortPromptBehindALongOneIsAnsweredLongBeforeIt) {
  Scheduler scheduler(options(5000, 512, 64));
  scheduler.add(1, prompt(32'000));
  for (int i = 0; i < 3; ++i) run_step(scheduler);
  scheduler.add(2, prompt(20'000, 50'000));
  scheduler.add(3, prompt(400, 100'000));
  int num_steps = 0;
  while (scheduler.find(3)->tokens.size() == 400) {
    run_step(scheduler);
    ++num_steps;
  }
  EXPECT_EQ(num_steps, 2);
  EXPECT_EQ(scheduler.find(1)->num_computed, 3 * 512 + 2 * 256) << "half is always the oldest's";
}

TEST(Scheduler, ManyShortPromptsDoNotStopALongOne) {
  Scheduler scheduler(options(2000, 100, 10));
  scheduler.add(1, prompt(5000));
  RequestId next = 2;
  int num_steps = 0;
  for (; scheduler.find(1)->num_remaining() > 0 && num_steps < 1000; ++num_steps) {
    while (scheduler.num_waiting() + scheduler.num_running() < 10) {
      scheduler.add(next, prompt(90, static_cast<int>(next) * 1000));
      ++next;
    }
    for (const Planned& planned : run_step(scheduler)) {
      if (planned.id != 1 && planned.wants_logits) scheduler.remove(planned.id);
    }
    if (scheduler.find(1)->tokens.size() > 5000) break;
  }
  EXPECT_LE(num_steps, 100);
}

TEST(Scheduler, AdmitsStrictlyInOrder) {
  Scheduler scheduler(options(10, 64));
  scheduler.add(1, prompt(100));        // 7 blocks
  scheduler.add(2, prompt(100, 1000));  // does not fit beside it
  scheduler.add(3, prompt(5, 2000));    // would, but has to wait its turn
  run_step(scheduler);
  EXPECT_EQ(scheduler.num_running(), 1);
  EXPECT_EQ(scheduler.num_waiting(), 2);
  scheduler.remove(1);
  run_step(scheduler);
  EXPECT_EQ(scheduler.num_running(), 2);
}

TEST(Scheduler, RunsNoMoreThanMaxSequences) {
  Scheduler scheduler(options(100, 64, 2));
  for (RequestId id = 1; id <= 3; ++id) scheduler.add(id, prompt(4, 10 * static_cast<int>(id)));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 4, true}, {2, 4, true}}));
  scheduler.remove(1);
  EXPECT_EQ(run_step(scheduler), (Step{{2, 1, true}, {3, 4, true}}));
}

TEST(Scheduler, PreemptsTheYoungestWhenBlocksRunShortAndRecomputesIt) {
  Scheduler scheduler(options(6, 64));
  scheduler.add(1, prompt(30));        // 2 blocks
  scheduler.add(2, prompt(30, 1000));  // 2 blocks
  Tokens before;
  for (int i = 0; i < 60 && scheduler.counters().num_preemptions == 0; ++i) {
    before = scheduler.find(2)->tokens;
    run_step(scheduler);
  }
  EXPECT_EQ(scheduler.counters().num_preemptions, 1u);
  EXPECT_EQ(scheduler.num_waiting(), 1);
  EXPECT_EQ(scheduler.find(2)->num_preemptions, 1);
  EXPECT_EQ(scheduler.find(2)->tokens, before) << "it keeps its reply";
  scheduler.remove(1);
  run_step(scheduler);
  EXPECT_EQ(scheduler.find(2)->tokens.size(), before.size() + 1);
}

TEST(Scheduler, PreemptedSequenceKeepsItsPlaceInTheQueue) {
  Scheduler scheduler(options(6, 64, 2));
  scheduler.add(1, prompt(30));
  scheduler.add(2, prompt(30, 1000));
  run_step(scheduler);
  scheduler.add(3, prompt(5, 2000));
  while (scheduler.counters().num_preemptions == 0) run_step(scheduler);
  std::vector<RequestId> waiting;
  scheduler.for_each_waiting([&](const Sequence& sequence) { waiting.push_back(sequence.id); });
  EXPECT_EQ(waiting, (std::vector<RequestId>{2, 3}));
}

TEST(Scheduler, ALoneSequenceMayFillTheWholeCache) {
  Scheduler scheduler(options(3, 64));
  scheduler.add(1, prompt(40));
  while (static_cast<int>(scheduler.find(1)->tokens.size()) < scheduler.max_sequence_tokens()) {
    run_step(scheduler);
  }
  EXPECT_EQ(scheduler.counters().num_preemptions, 0u);
  EXPECT_EQ(scheduler.plan(kStart).size(), 1u) << "its last token can still be computed";
  scheduler.complete();
  EXPECT_THROW(scheduler.append(*scheduler.find(1), 9), Error);
}

TEST(Scheduler, TakesASharedPrefixFromTheCache) {
  Scheduler scheduler(options(100, 512));
  scheduler.add(1, prompt(100));
  run_step(scheduler);
  Tokens second = prompt(80);
  second.push_back(7777);
  scheduler.add(2, second);
  EXPECT_EQ(run_step(scheduler), (Step{{1, 1, true}, {2, 1, true}}));
  EXPECT_EQ(scheduler.find(2)->num_cached_tokens, 80);
  EXPECT_EQ(scheduler.counters().num_cached_tokens, 80u);
  EXPECT_EQ(scheduler.counters().num_prefilled_tokens, 101u);
  EXPECT_EQ(scheduler.find(1)->blocks[0], scheduler.find(2)->blocks[0]);
}

TEST(Scheduler, ComputesTheLastPromptTokenEvenWhenAllOfItIsCached) {
  Scheduler scheduler(options(100, 512));
  scheduler.add(1, prompt(64));
  run_step(scheduler);
  scheduler.add(2, prompt(64));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 1, true}, {2, 16, true}}));
  EXPECT_EQ(scheduler.find(2)->num_cached_tokens, 48);
  EXPECT_EQ(scheduler.find(1)->blocks[3], scheduler.find(2)->blocks[3]) << "and keeps it once";
}

TEST(Scheduler, EqualPromptsThatArriveTogetherAreComputedOnce) {
  Scheduler scheduler(options(100, 64));
  for (RequestId id = 1; id <= 4; ++id) scheduler.add(id, prompt(200));
  while (scheduler.find(4)->tokens.size() == 200) run_step(scheduler);
  EXPECT_LT(scheduler.counters().num_prefilled_tokens, 200u + 3 * 32u);
}

TEST(Scheduler, FindsTheReplyOfAnEarlierTurn) {
  Scheduler scheduler(options(100, 512));
  scheduler.add(1, prompt(20));
  for (int i = 0; i < 30; ++i) run_step(scheduler);
  Tokens conversation = scheduler.find(1)->tokens;
  scheduler.remove(1);
  conversation.insert(conversation.end(), {5, 6, 7});
  scheduler.add(2, conversation);
  run_step(scheduler);
  EXPECT_EQ(scheduler.find(2)->num_cached_tokens, 48);
}

TEST(Scheduler, WithoutPrefixCacheEverythingIsComputed) {
  SchedulerOptions plain = options(100, 512);
  plain.enable_prefix_cache = false;
  Scheduler scheduler(plain);
  scheduler.add(1, prompt(100));
  run_step(scheduler);
  scheduler.add(2, prompt(100));
  EXPECT_EQ(run_step(scheduler), (Step{{1, 1, true}, {2, 100, true}}));
}

TEST(Scheduler, RemovingFreesTheBlocksAtOnce) {
  Scheduler scheduler(options(10, 64));
  scheduler.add(1, prompt(100));
  run_step(scheduler);
  EXPECT_EQ(scheduler.pool().num_used(), 7);
  scheduler.remove(1);
  EXPECT_EQ(scheduler.pool().num_used(), 0);
  EXPECT_TRUE(scheduler.is_idle());
  EXPECT_EQ(scheduler.find(1), nullptr);
  EXPECT_THROW(scheduler.remove(1), Error);
  scheduler.check_integrity();
}

TEST(Scheduler, TellsWhoseDeadlineHasPassed) {
  Scheduler scheduler(options(10, 64));
  scheduler.add(1, prompt(4), kStart + milliseconds(20));
  scheduler.add(2, prompt(4));
  scheduler.add(3, prompt(4), kStart + milliseconds(10));
  EXPECT_TRUE(scheduler.expired(kStart + milliseconds(9)).empty());
  EXPECT_EQ(scheduler.expired(kStart + milliseconds(10)), (std::vector<RequestId>{3}));
  EXPECT_EQ(scheduler.expired(kStart + milliseconds(30)), (std::vector<RequestId>{3, 1}));
  scheduler.remove(3);
  EXPECT_EQ(scheduler.expired(kStart + milliseconds(30)), (std::vector<RequestId>{1}));
}

TEST(Scheduler, BatchHoldsTheChunksAsTheBackendWantsThem) {
  Scheduler scheduler(options(100, 40));
  scheduler.add(1, prompt(5));
  run_step(scheduler, 77);
  scheduler.add(2, prompt(60, 100));
  const auto chunks = scheduler.plan(kStart);
  backend::Batch batch;
  make_batch(chunks, batch);
  ASSERT_EQ(batch.tokens.size(), 40u);
  EXPECT_EQ(batch.tokens[0], 77);
  EXPECT_EQ(batch.tokens[1], 100);
  ASSERT_EQ(batch.sequences.size(), 2u);
  EXPECT_EQ(batch.sequences[0].num_cached, 5);
  EXPECT_EQ(batch.sequences[1].first_token, 1);
  EXPECT_EQ(batch.sequences[1].num_tokens, 39);
  EXPECT_EQ(batch.sequences[1].num_cached, 0);
  EXPECT_GE(batch.sequences[1].block_table.size(), 3u);
  EXPECT_EQ(batch.logit_rows, (std::vector<int32_t>{0}));
}

TEST(Scheduler, RefusesOptionsOutOfRange) {
  EXPECT_THROW(Scheduler(options(0)), Error);
  EXPECT_THROW(Scheduler(options(10, 64, 0)), Error);
  EXPECT_THROW(Scheduler(options(10, 7, 8)), Error);
}

}  // namespace
}  // namespace sluice::engine
