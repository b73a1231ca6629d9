// Replies that go on past the end of the context.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/sampling.h"
#include "engine_fixture.h"
#include "fake_model.h"

namespace sluice::engine {
namespace {

constexpr int kContext = 40;

Request endless_request(int prompt_size, int num_keep) {
  std::mt19937_64 random(3);
  Request request;
  for (int i = 0; i < prompt_size; ++i) request.prompt.push_back(static_cast<int>(random() % 99));
  request.sampling.temperature = 0;
  request.ignore_end_of_sequence = true;
  request.context_limit = kContext;
  request.shift = true;
  request.num_keep = num_keep;
  return request;
}

struct ShiftedReply {
  std::vector<text::TokenId> tokens;
  Event last;
};

ShiftedReply shifted_reply_of(const Collector& collector, const Event& last) {
  ShiftedReply outcome{{}, last};
  for (const OutputToken& token : collector.tokens()) outcome.tokens.push_back(token.token);
  return outcome;
}

ShiftedReply run_alone(Request request, const EngineOptions& engine_options) {
  FakeModel model(engine_options.num_blocks, kVocabSize, 7);
  TestEngine engine([&](const backend::Batch& batch) { return model.forward(batch); }, tokenizer(),
                    engine_options);
  Collector collector;
  request.on_event = collector.callback();
  engine.submit(request);
  const Event last = collector.wait();
  return shifted_reply_of(collector, last);
}

// The rule by hand, each token computed from nothing.
ShiftedReply expected_outcome(const Request& request, int num_keep, int num_output) {
  ShiftedReply outcome;
  std::vector<text::TokenId> tokens = request.prompt;
  const auto num_prompt_tokens = request.prompt.size();
  for (int i = 0; i < num_output; ++i) {
    FakeModel model(8, kVocabSize, 7);
    const std::vector<int32_t> blocks = {0, 1, 2, 3, 4, 5, 6, 7};
    const int size = static_cast<int>(tokens.size());
    backend::Batch batch;
    batch.tokens = tokens;
    batch.sequences.push_back({0, size, 0, blocks});
    batch.logit_rows = {size - 1};
    const std::span<const float> fresh = model.forward(batch).logits;
    std::vector<float> logits(fresh.begin(), fresh.end());
    backend::RowSampling sampling;
    sampling.params = request.sampling;
    sampling.seed = request.sampling.seed.value_or(0);
    sampling.position = static_cast<uint64_t>(i);
    sampling.history = penalty_window(request.sampling, tokens, num_prompt_tokens).history;
    const text::TokenId token = backend::sample_row({logits}, sampling).token;
    outcome.tokens.push_back(token);
    tokens.push_back(token);
    if (static_cast<int>(tokens.size()) < kContext || i + 1 == num_output) continue;
    const int num_shifted = (kContext - num_keep) / 2;
    tokens.erase(tokens.begin() + num_keep, tokens.begin() + num_keep + num_shifted);
    outcome.last.num_shifted_tokens += num_shifted;
  }
  return outcome;
}

TEST(EngineShift, ForgetsHalfOfWhatIsNotKeptAndComputesTheRestAgain) {
  for (const auto& [num_keep, kept] : {std::pair{4, 4}, {0, 0}, {20, 20}, {-1, 10}, {1000, 35}}) {
    SCOPED_TRACE("num_keep " + std::to_string(num_keep));
    Request request = endless_request(10, num_keep);
    request.max_tokens = 150;
    request.sampling.repeat_penalty = 1.2f;
    const ShiftedReply outcome = run_alone(request, options());
    const ShiftedReply expected = expected_outcome(request, kept, 150);
    EXPECT_EQ(outcome.tokens, expected.tokens);
    EXPECT_EQ(outcome.last.reason, FinishReason::kMaxTokens);
    EXPECT_EQ(outcome.last.num_prompt_tokens, 10);
    EXPECT_EQ(outcome.last.num_output_tokens, 150);
    EXPECT_EQ(outcome.last.num_cached_tokens, 0) << "what is computed again is no prompt";
    EXPECT_EQ(outcome.last.num_shifted_tokens, expected.last.num_shifted_tokens);
  }
}

TEST(EngineShift, EndsAfterTenTimesTheContext) {
  const ShiftedReply outcome = run_alone(endless_request(10, 4), options());
  EXPECT_EQ(outcome.last.reason, FinishReason::kContextFull);
  EXPECT_EQ(outcome.last.num_output_tokens, 10 * kContext);
  EXPECT_GT(outcome.last.num_shifted_tokens, 9 * kContext - 10);
}

TEST(EngineShift, WithoutItTheReplyEndsWhenTheContextIsFull) {
  Request request = endless_request(10, 4);
  request.shift = false;
  const ShiftedReply outcome = run_alone(request, options());
  EXPECT_EQ(outcome.last.reason, FinishReason::kContextFull);
  EXPECT_EQ(outcome.last.num_output_tokens, kContext - 10);
  EXPECT_EQ(outcome.last.num_shifted_tokens, 0);
}

TEST(EngineShift, TheSmallestContextShiftsToo) {
  Request request = endless_request(1, 4);
  request.context_limit = 2;
  const ShiftedReply outcome = run_alone(request, options());
  EXPECT_EQ(outcome.last.num_output_tokens, 20);
}

TEST(EngineShift, TheCacheItselfMayBeTheContext) {
  Request request = endless_request(10, 4);
  request.context_limit = 0;
  request.max_tokens = 200;
  const ShiftedReply outcome = run_alone(request, options(2));
  EXPECT_EQ(outcome.last.reason, FinishReason::kMaxTokens);
}

TEST(EngineShift, StatisticsCountOnlyWhatWasGenerated) {
  EngineOptions roomy = options();
  FakeModel model(roomy.num_blocks, kVocabSize);
  TestEngine engine(slowed([&](const backend::Batch& batch) { return model.forward(batch); }),
                    tokenizer(), roomy);
  Collector collector;
  Request request = endless_request(30, 4);
  request.on_event = collector.callback();
  const RequestId id = engine.submit(request).id;
  wait_for([&] {
    const EngineStats stats = engine.stats();
    return stats.requests.size() == 1 && stats.requests[0].num_output_tokens > kContext;
  });
  engine.cancel(id);
  EXPECT_EQ(collector.wait().num_prompt_tokens, 30);
}

// Preempted, drafted for and shifted, all at once: the replies stay what they are.
TEST(EngineShift, RepliesAreTheSameInACrowdWithPreemptionsAndDrafts) {
  constexpr size_t kRequests = 16;
  std::vector<Request> requests;
  std::vector<ShiftedReply> alone;
  for (size_t i = 0; i < kRequests; ++i) {
    Request request = endless_request(1 + static_cast<int>(i), static_cast<int>(i % 3) * 10);
    request.prompt[0] = static_cast<int>(i % 4);
    request.max_tokens = static_cast<int>(60 + 10 * i);
    request.sampling.temperature = i % 2 ? 0.0f : 0.7f;
    request.sampling.seed = i;
    requests.push_back(request);
    alone.push_back(run_alone(request, options()));
  }
  for (const bool speculate : {false, true}) {
    EngineOptions tight = options(9);
    tight.max_sequences = 5;
    tight.speculate = speculate;
    tight.min_draft_gain = 0;
    FakeModel model(tight.num_blocks, kVocabSize, 7);
    Gate gate;
    TestEngine engine(gate.guard([&](const backend::Batch& batch) { return model.forward(batch); }),
                      tokenizer(), tight);
    std::vector<Collector> collectors(kRequests);
    for (size_t i = 0; i < kRequests; ++i) {
      Request copy = requests[i];
      copy.on_event = collectors[i].callback();
      engine.submit(copy);
    }
    gate.open();
    int num_accepted = 0;
    for (size_t i = 0; i < kRequests; ++i) {
      const Event last = collectors[i].wait();
      EXPECT_EQ(shifted_reply_of(collectors[i], last).tokens, alone[i].tokens) << "request " << i;
      EXPECT_EQ(last.num_shifted_tokens, alone[i].last.num_shifted_tokens) << "request " << i;
      num_accepted += last.num_accepted_tokens;
    }
    wait_for([&] { return engine.stats().num_running == 0; });
    EXPECT_GT(engine.stats().num_preemptions, 0u) << "the cache is not small enough for this test";
    EXPECT_EQ(engine.stats().num_blocks_used, 0);
    EXPECT_EQ(num_accepted > 0, speculate);
  }
}

}  // namespace
}  // namespace sluice::engine
