// Random schedules against simple invariants: arrivals, cancels, deadlines, preemptions, cache
// evictions, drafts, shifts and steps of all lengths on a virtual clock, in front of a fake model
// that reads its block tables.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "engine/scheduler.h"
#include "fake_model.h"
#include "random_shift.h"

namespace sluice::engine {
namespace {

using std::chrono::milliseconds;

class RandomSchedule {
 public:
  explicit RandomSchedule(uint64_t seed)
      : random_(seed),
        options_(random_options()),
        scheduler_(options_),
        model_(options_.num_blocks, 3),
        num_requests_(between(1, 12)) {}

  void run() {
    while (num_arrived_ < num_requests_ || !scheduler_.is_idle()) {
      now_ += milliseconds(1);
      while (num_arrived_ < num_requests_ && between(0, 3) == 0) arrive();
      if (between(0, 30) == 0) cancel_someone();
      for (const RequestId id : scheduler_.expired(now_)) end(id);
      scheduler_.check_integrity();
      step();
      scheduler_.check_integrity();
      // Each step computes a token of the oldest running one, and there are few tokens in all.
      ASSERT_LT(++num_steps_, 40'000) << "someone waits for ever";
    }
    ASSERT_EQ(static_cast<int>(times_ended_.size()), num_requests_);
    for (const auto& [id, times] : times_ended_) ASSERT_EQ(times, 1) << "request " << id;
    ASSERT_EQ(scheduler_.pool().num_used(), 0) << "blocks are lost";
    ASSERT_TRUE(std::is_sorted(started_.begin(), started_.end())) << "one was overtaken";
    ASSERT_EQ(std::adjacent_find(started_.begin(), started_.end()), started_.end());
  }

  uint64_t num_preemptions() const { return scheduler_.counters().num_preemptions; }
  uint64_t num_accepted() const { return num_accepted_; }
  uint64_t num_shifts() const { return num_shifts_; }
  uint64_t num_seamless_shifts() const { return num_seamless_shifts_; }
  uint64_t num_cached_tokens() const { return scheduler_.counters().num_cached_tokens; }

 private:
  int between(int low, int high) {
    return low + static_cast<int>(random_() % static_cast<uint64_t>(high - low + 1));
  }

  SchedulerOptions random_options() {
    SchedulerOptions options;
    options.num_blocks = between(2, 24);
    options.max_sequences = between(1, 6);
    options.max_batch_tokens = options.max_sequences + between(0, 60);
    options.max_logit_rows = options.max_sequences + between(0, 4);
    options.traits = {between(1, 8), between(1, 4), between(1, 4), true};
    options.enable_prefix_cache = between(0, 4) != 0;
    options.max_itl_stretch = between(0, 1) == 0 ? 0 : 2;
    return options;
  }

  // Two tokens and few starts: prefixes are shared all the time, by intent and by chance.
  void arrive() {
    const int most = scheduler_.max_sequence_tokens() - 1;
    const int size = between(1, std::min(most, between(0, 1) ? 20 : 150));
    std::vector<text::TokenId> prompt(static_cast<size_t>(size), between(0, 1));
    const int num_own = between(0, std::min(size, 8));
    for (int i = size - num_own; i < size; ++i) prompt[i] = between(0, 1);
    std::optional<Clock::time_point> deadline;
    if (between(0, 9) == 0) deadline = now_ + milliseconds(between(0, 60));
    const RequestId id = static_cast<RequestId>(++num_arrived_);
    const int longest = std::min(most + 1, size + between(0, 60));
    longest_[id] = std::max(longest, size + 1);
    Sequence& sequence = scheduler_.add(id, std::move(prompt), deadline);
    if (between(0, 3) > 0) sequence.shift = next_shift(sequence);
  }

  void cancel_someone() {
    const RequestId id = static_cast<RequestId>(between(1, num_requests_));
    if (scheduler_.find(id) != nullptr) end(id);
  }

  void end(RequestId id) {
    ++times_ended_[id];
    scheduler_.remove(id);
  }

  void step() {
    guess();
    decoding_.clear();
    scheduler_.for_each_running([&](const Sequence& sequence) {
      if (sequence.is_decoding()) decoding_.insert({sequence.id, sequence.num_preemptions});
    });
    const auto planned = scheduler_.plan(now_);
    const std::vector<Chunk> chunks(planned.begin(), planned.end());
    ASSERT_EQ(chunks.empty(), scheduler_.is_idle()) << "an idle step with work to do";
    check_plan(chunks);
    make_batch(chunks, batch_);
    model_.forward(batch_);
    scheduler_.observe(step_time());
    scheduler_.complete();
    for (const Chunk& chunk : chunks) check_cache(*chunk.cached);
    for (const Chunk& chunk : chunks) {
      if (!chunk.wants_logits) continue;
      Sequence& sequence = *chunk.sequence;
      ASSERT_EQ(sequence.num_remaining(), 0);
      advance(chunk);
    }
  }

  // Drafts that are right now and then.
  void guess() {
    scheduler_.for_each_running([&](const Sequence& running) {
      Sequence& sequence = *scheduler_.find(running.id);
      sequence.draft.assign(static_cast<size_t>(std::max(0, between(-3, 6))), between(0, 1));
    });
  }

  // A fixed part, one for each row and one for the context, and noise.
  std::chrono::nanoseconds step_time() {
    int64_t time = 20'000 + 3'000 * static_cast<int64_t>(batch_.tokens.size());
    for (const auto& sequence : batch_.sequences) time += 50 * sequence.num_cached;
    if (between(0, 40) == 0) time *= 4;
    return std::chrono::nanoseconds(time * between(90, 110) / 100);
  }

  void check_cache(const CachedTokens& cached) {
    model_.check(cached.blocks,
                 std::span(cached.tokens).first(static_cast<size_t>(cached.num_computed)));
  }

  // The step has a token for the sequence, and one more behind each draft token that is right.
  void advance(const Chunk& chunk) {
    Sequence& sequence = *chunk.sequence;
    const RequestId id = sequence.id;
    for (int i = 0;; ++i) {
      if (sequence.num_prompt_tokens + sequence.num_output_tokens() + 1 >= longest_.at(id)) {
        return end(id);
      }
      const text::TokenId token = between(0, 1);
      if (append(sequence, token)) return;
      if (i == chunk.num_draft_tokens || sequence.draft[static_cast<size_t>(i)] != token) return;
      scheduler_.accept(sequence);
      check_cache(sequence);
      ++num_accepted_;
    }
  }

  // True when the sequence was shifted: then it holds what is left, and all the same goes on.
  bool append(Sequence& sequence, text::TokenId token) {
    std::vector<text::TokenId> expected = sequence.tokens;
    expected.push_back(token);
    const int num_output_tokens = sequence.num_output_tokens();
    const bool was_shifted = scheduler_.append(sequence, token);
    EXPECT_EQ(was_shifted,
              sequence.shift && static_cast<int>(expected.size()) == sequence.shift->limit);
    if (was_shifted) {
      const auto begin = expected.begin() + sequence.shift->num_keep;
      expected.erase(begin, begin + sequence.shift->num_tokens);
      check_cache(sequence);
      ++num_shifts_;
      if (sequence.is_decoding()) ++num_seamless_shifts_;
      EXPECT_EQ(sequence.is_refilling, !sequence.is_decoding());
      sequence.shift = next_shift(sequence);
    }
    EXPECT_EQ(sequence.tokens, expected);
    EXPECT_EQ(sequence.num_output_tokens(), num_output_tokens + 1);
    return was_shifted;
  }

  ContextShift next_shift(const Sequence& sequence) {
    return random_shift(sequence.num_tokens(), scheduler_.max_sequence_tokens(),
                        [this](int low, int high) { return between(low, high); });
  }

  void check_plan(const std::vector<Chunk>& chunks) {
    int num_tokens = 0, num_logit_rows = 0;
    bool has_prefill = false;
    std::map<RequestId, int> planned;
    for (const Chunk& chunk : chunks) {
      const bool is_complete = chunk.num_tokens == chunk.cached->num_remaining();
      ASSERT_GE(chunk.num_tokens, 1);
      ASSERT_LE(chunk.num_tokens, chunk.cached->num_remaining());
      ASSERT_EQ(chunk.wants_logits, is_complete && !chunk.is_successor());
      num_tokens += chunk.num_tokens + chunk.num_draft_tokens;
      num_logit_rows += chunk.wants_logits ? 1 + chunk.num_draft_tokens : 0;
      if (chunk.is_successor()) continue;
      ASSERT_TRUE(planned.emplace(chunk.sequence->id, chunk.num_tokens).second);
      has_prefill = has_prefill || chunk.num_tokens > 1 || !chunk.wants_logits;
    }
    for (const Chunk& chunk : chunks) {
      ASSERT_TRUE(!chunk.is_successor() || planned.contains(chunk.sequence->id))
          << "a successor of one that does not decode";
    }
    ASSERT_LE(num_tokens, options_.max_batch_tokens);
    ASSERT_LE(num_logit_rows, options_.max_logit_rows);
    ASSERT_LE(static_cast<int>(planned.size()), options_.max_sequences);
    // Steps that only decode come between for the sake of the others' ITL, a few in a row.
    const bool is_pause = options_.max_itl_stretch > 0 && !has_prefill &&
                          planned.size() < static_cast<size_t>(scheduler_.num_running());
    num_pauses_ = is_pause ? num_pauses_ + 1 : 0;
    ASSERT_LE(num_pauses_, 8) << "prompts wait for ever";
    bool is_oldest = true;
    scheduler_.for_each_running([&](const Sequence& sequence) {
      if (decoding_.contains({sequence.id, sequence.num_preemptions})) {
        EXPECT_TRUE(planned.contains(sequence.id)) << "a decoding sequence was left out";
      }
      EXPECT_TRUE(!is_oldest || is_pause || planned.contains(sequence.id))
          << "the oldest was left out";
      is_oldest = false;
      if (sequence.started == now_) started_.push_back(sequence.id);
    });
  }

  std::mt19937_64 random_;
  SchedulerOptions options_;
  Scheduler scheduler_;
  FakeModel model_;
  int num_requests_;
  int num_arrived_ = 0;
  int num_steps_ = 0;
  int num_pauses_ = 0;
  std::set<std::pair<RequestId, int>> decoding_;  // before the step, and how often preempted
  uint64_t num_accepted_ = 0;
  uint64_t num_shifts_ = 0;
  uint64_t num_seamless_shifts_ = 0;
  Clock::time_point now_{};
  backend::Batch batch_;
  std::map<RequestId, int> longest_;
  std::map<RequestId, int> times_ended_;
  std::vector<RequestId> started_;
};

TEST(SchedulerProperties, HoldForRandomSchedules) {
  constexpr uint64_t kSeed = 20260801;
  constexpr int kSchedules = 500;
  std::cout << "seed " << kSeed << "\n";
  uint64_t num_preemptions = 0, num_cached_tokens = 0, num_accepted = 0, num_shifts = 0,
           num_seamless_shifts = 0;
  const auto begin = Clock::now();
  for (uint64_t i = 0; i < kSchedules; ++i) {
    SCOPED_TRACE("seed " + std::to_string(kSeed + i));
    RandomSchedule schedule(kSeed + i);
    ASSERT_NO_THROW(schedule.run());
    ASSERT_FALSE(testing::Test::HasFailure());
    num_preemptions += schedule.num_preemptions();
    num_cached_tokens += schedule.num_cached_tokens();
    num_accepted += schedule.num_accepted();
    num_shifts += schedule.num_shifts();
    num_seamless_shifts += schedule.num_seamless_shifts();
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::cout << static_cast<int>(kSchedules / seconds) << " schedules a second, " << num_preemptions
            << " preemptions, " << num_cached_tokens << " cached tokens, " << num_accepted
            << " tokens of drafts, " << num_shifts << " shifts, " << num_seamless_shifts
            << " without a pause\n";
  EXPECT_GT(num_preemptions, 100u) << "the schedules are too tame";
  EXPECT_GT(num_cached_tokens, 10'000u);
  EXPECT_GT(num_accepted, 1'000u);
  EXPECT_GT(num_shifts, 500u);
  EXPECT_GT(num_seamless_shifts, 200u);
}

}  // namespace
}  // namespace sluice::engine
