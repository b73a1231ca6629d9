// Random schedules with drafts, shifts and embeddings in front of a fake model that reads its block
// tables: what the cache holds is checked slot by slot after every step.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/scheduler.h"
#include "fake_model.h"
#include "random_shift.h"

namespace sluice::engine {
namespace {

class DraftedSchedule {
 public:
  explicit DraftedSchedule(uint64_t seed)
      : random_(seed),
        options_(random_options()),
        scheduler_(options_),
        model_(options_.num_blocks, kTokens) {}

  void run() {
    for (int step = 0; num_arrived_ < kRequests || !scheduler_.is_idle(); ++step) {
      ASSERT_LT(step, 20'000) << "someone waits for ever";
      while (num_arrived_ < kRequests && between(0, 3) == 0) arrive();
      if (between(0, 40) == 0) cancel_someone();
      set_drafts();
      run_step();
      scheduler_.check_integrity();
    }
    ASSERT_EQ(scheduler_.pool().num_used(), 0) << "blocks are lost";
  }

  int num_accepted() const { return num_accepted_; }
  int num_rejected() const { return num_rejected_; }
  int num_shifts() const { return num_shifts_; }
  int num_embedded() const { return num_embedded_; }

 private:
  static constexpr int kRequests = 10;
  static constexpr int kTokens = 3;

  int between(int low, int high) {
    return low + static_cast<int>(random_() % static_cast<uint64_t>(high - low + 1));
  }

  SchedulerOptions random_options() {
    SchedulerOptions options;
    options.num_blocks = between(3, 16);
    options.max_sequences = between(1, 10);
    options.max_batch_tokens = options.max_sequences + between(0, 60);
    options.max_itl_stretch = 0;
    options.traits = {between(1, 8), between(1, 4), between(1, 4), true};
    options.enable_prefix_cache = between(0, 3) != 0;
    return options;
  }

  void arrive() {
    const int most = scheduler_.max_sequence_tokens() - 1;
    std::vector<text::TokenId> prompt(static_cast<size_t>(between(1, std::min(most, 60))), 1);
    for (size_t i = prompt.size() - std::min<size_t>(prompt.size(), 9); i < prompt.size(); ++i) {
      prompt[i] = between(0, kTokens - 1);
    }
    Sequence& sequence =
        scheduler_.add(static_cast<RequestId>(++num_arrived_), std::move(prompt), {});
    if (between(0, 4) == 0) {
      sequence.pooling = static_cast<Pooling>(between(0, 2));
      sequence.may_read_cache = sequence.pooling == Pooling::kLast;
    }
    sequence.shift = next_shift(sequence);
  }

  void cancel_someone() {
    const auto id = static_cast<RequestId>(between(1, kRequests));
    if (scheduler_.find(id) != nullptr) scheduler_.remove(id);
  }

  void set_drafts() {
    scheduler_.for_each_running([&](const Sequence& running) {
      Sequence& sequence = *scheduler_.find(running.id);
      sequence.draft.clear();
      for (int i = between(0, 9); i > 0; --i) sequence.draft.push_back(between(0, kTokens - 1));
    });
  }

  void run_step() {
    now_ += std::chrono::milliseconds(1);
    const auto planned = scheduler_.plan(now_);
    const std::vector<Chunk> chunks(planned.begin(), planned.end());
    scheduler_.check_integrity();
    check_plan(chunks);
    make_batch(chunks, batch_);
    const ForwardOutput output = model_.forward(batch_);
    std::vector<std::vector<text::TokenId>> drafts;
    for (const Chunk& chunk : chunks) drafts.push_back(chunk.sequence->draft);
    scheduler_.complete();
    for (const Chunk& chunk : chunks) check_cache(*chunk.cached);
    std::span<const float> states = output.embeddings;
    for (size_t i = 0; i < chunks.size(); ++i) {
      const Chunk& chunk = chunks[i];
      if (chunk.is_successor()) continue;  // its sequence may be gone by now
      if (chunk.sequence->pooling) {
        take_states(chunk, states);
      } else if (chunk.wants_logits) {
        verify(chunk, drafts[i]);
      }
    }
    ASSERT_TRUE(states.empty());
  }

  // Anyone may draw any token here: what counts is that only right guesses stay.
  void verify(const Chunk& chunk, const std::vector<text::TokenId>& draft) {
    Sequence& sequence = *chunk.sequence;
    for (int row = 0;; ++row) {
      if (between(0, 150) == 0) return scheduler_.remove(sequence.id);
      const text::TokenId token = between(0, kTokens - 1);
      std::vector<text::TokenId> expected = sequence.tokens;
      expected.push_back(token);
      if (scheduler_.append(sequence, token)) return check_shift(sequence, std::move(expected));
      check_cache(sequence);
      if (row == chunk.num_draft_tokens) return;
      if (token != draft[static_cast<size_t>(row)]) {
        ++num_rejected_;
        return;
      }
      scheduler_.accept(sequence);
      ++num_accepted_;
      check_cache(sequence);
    }
  }

  void check_shift(Sequence& sequence, std::vector<text::TokenId> expected) {
    const auto begin = expected.begin() + sequence.shift->num_keep;
    expected.erase(begin, begin + sequence.shift->num_tokens);
    ASSERT_EQ(sequence.tokens, expected);
    check_cache(sequence);
    sequence.shift = next_shift(sequence);
    ++num_shifts_;
  }

  ContextShift next_shift(const Sequence& sequence) {
    return random_shift(sequence.num_tokens(), scheduler_.max_sequence_tokens(),
                        [this](int low, int high) { return between(low, high); });
  }

  void take_states(const Chunk& chunk, std::span<const float>& states) {
    const Sequence& sequence = *chunk.sequence;
    const int first = sequence.num_computed - chunk.num_tokens + chunk.first_state;
    for (int i = 0; i < chunk.num_states; ++i) {
      const auto tokens = std::span(sequence.tokens).first(static_cast<size_t>(first + i + 1));
      const auto expected = FakeModel::hidden_state(tokens);
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(), states.begin()));
      states = states.subspan(FakeModel::kStateSize);
    }
    if (sequence.num_remaining() > 0) return;
    ++num_embedded_;
    scheduler_.remove(sequence.id);
  }

  void check_cache(const CachedTokens& cached) {
    model_.check(cached.blocks,
                 std::span(cached.tokens).first(static_cast<size_t>(cached.num_computed)));
  }

  void check_plan(const std::vector<Chunk>& chunks) {
    int num_rows = 0;
    bool has_draft = false, has_prompt = false;
    for (const Chunk& chunk : chunks) {
      num_rows += chunk.num_tokens + chunk.num_draft_tokens;
      has_draft = has_draft || chunk.num_draft_tokens > 0;
      has_prompt = has_prompt || chunk.num_tokens > 1;
      ASSERT_LE(chunk.num_draft_tokens, static_cast<int>(chunk.sequence->draft.size()));
      ASSERT_TRUE(chunk.num_draft_tokens == 0 || chunk.wants_logits);
    }
    ASSERT_LE(num_rows, options_.max_batch_tokens);
    ASSERT_FALSE(has_draft && (has_prompt || num_rows > options_.traits.exact_rows));
    ASSERT_FALSE(has_draft && chunks.size() > static_cast<size_t>(options_.traits.exact_sequences));
  }

  std::mt19937_64 random_;
  SchedulerOptions options_;
  Scheduler scheduler_;
  FakeModel model_;
  Clock::time_point now_{};
  backend::Batch batch_;
  int num_arrived_ = 0;
  int num_accepted_ = 0, num_rejected_ = 0, num_shifts_ = 0, num_embedded_ = 0;
};

TEST(DraftProperties, HoldForRandomSchedules) {
  constexpr uint64_t kSeed = 20261122;
  constexpr uint64_t kSchedules = 200;
  std::cout << "seed " << kSeed << "\n";
  int num_accepted = 0, num_rejected = 0, num_shifts = 0, num_embedded = 0;
  for (uint64_t i = 0; i < kSchedules; ++i) {
    SCOPED_TRACE("seed " + std::to_string(kSeed + i));
    DraftedSchedule schedule(kSeed + i);
    ASSERT_NO_THROW(schedule.run());
    ASSERT_FALSE(testing::Test::HasFailure());
    num_accepted += schedule.num_accepted();
    num_rejected += schedule.num_rejected();
    num_shifts += schedule.num_shifts();
    num_embedded += schedule.num_embedded();
  }
  EXPECT_GT(num_accepted, 5'000) << "the schedules are too tame";
  EXPECT_GT(num_rejected, 5'000);
  EXPECT_GT(num_shifts, 500);
  EXPECT_GT(num_embedded, 200);
}

}  // namespace
}  // namespace sluice::engine
