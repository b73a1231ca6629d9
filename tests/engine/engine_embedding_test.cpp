// Texts that become vectors.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/embedder.h"
#include "engine_fixture.h"
#include "fake_model.h"

namespace sluice::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

EngineOptions embedding_options(Pooling pooling, int num_blocks = 64) {
  EngineOptions result = options(num_blocks);
  result.embedding_length = FakeModel::kStateSize;
  result.pooling = pooling;
  return result;
}

Request embed_request(Collector& collector, std::vector<text::TokenId> prompt) {
  Request request;
  request.task = Task::kEmbed;
  request.prompt = std::move(prompt);
  request.on_event = collector.callback();
  return request;
}

std::vector<text::TokenId> random_text(uint64_t seed, size_t size) {
  std::mt19937_64 random(seed);
  std::vector<text::TokenId> text;
  for (size_t i = 0; i < size; ++i) text.push_back(static_cast<int>(random() % 200));
  return text;
}

std::vector<double> expected_embedding(const std::vector<text::TokenId>& text, Pooling pooling) {
  std::vector<double> sum(FakeModel::kStateSize, 0.0);
  const size_t begin = pooling == Pooling::kLast ? text.size() - 1 : 0;
  const size_t end = pooling == Pooling::kFirst ? 1 : text.size();
  for (size_t i = begin; i < end; ++i) {
    const auto state = FakeModel::hidden_state(std::span(text).first(i + 1));
    for (size_t d = 0; d < sum.size(); ++d) sum[d] += state[d];
  }
  double squares = 0;
  for (const double value : sum) squares += value * value;
  for (double& value : sum) value /= std::sqrt(squares);
  return sum;
}

void expect_near(const std::vector<float>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-6);
}

class EngineEmbedding : public testing::TestWithParam<Pooling> {};

TEST_P(EngineEmbedding, IsPooledOverChunksAndNormalized) {
  const EngineOptions small_steps = embedding_options(GetParam());
  FakeModel model(small_steps.num_blocks, kVocabSize);
  TestEngine engine([&](const backend::Batch& batch) { return model.forward(batch); }, tokenizer(),
                    small_steps);
  for (const size_t size : {1, 2, 64, 65, 300}) {
    const auto text = random_text(size, size);
    // Twice: the second time the prefix cache knows the text.
    for (int round = 0; round < 2; ++round) {
      Collector collector;
      engine.submit(embed_request(collector, text));
      const Event last = collector.wait();
      EXPECT_EQ(last.reason, FinishReason::kEmbedded);
      EXPECT_EQ(last.num_prompt_tokens, static_cast<int>(size));
      EXPECT_EQ(last.num_output_tokens, 0);
      EXPECT_EQ(collector.text(), "");
      expect_near(last.embedding, expected_embedding(text, GetParam()));
      EXPECT_TRUE(GetParam() == Pooling::kLast || last.num_cached_tokens == 0);
    }
  }
}

TEST_P(EngineEmbedding, AsksOnlyForTheStatesItNeeds) {
  const EngineOptions small_steps = embedding_options(GetParam());
  FakeModel model(small_steps.num_blocks, kVocabSize);
  std::atomic<size_t> num_states = 0, num_logits = 0;
  TestEngine engine(
      [&](const backend::Batch& batch) {
        num_states += batch.embedding_rows.size();
        num_logits += batch.logit_rows.size();
        return model.forward(batch);
      },
      tokenizer(), small_steps);
  Collector collector;
  engine.submit(embed_request(collector, random_text(1, 200)));
  collector.wait();
  EXPECT_EQ(num_states, GetParam() == Pooling::kMean ? 200u : 1u);
  EXPECT_EQ(num_logits, 0u);
}

TEST_P(EngineEmbedding, IsTheSameInACrowdThatIsPreempted) {
  EngineOptions tight = embedding_options(GetParam(), 12);
  tight.max_sequences = 6;
  FakeModel model(tight.num_blocks, kVocabSize);
  Gate gate;
  TestEngine engine(gate.guard([&](const backend::Batch& batch) { return model.forward(batch); }),
                    tokenizer(), tight);
  std::vector<Collector> embeddings(20), replies(20);
  std::vector<std::vector<text::TokenId>> texts;
  for (size_t i = 0; i < embeddings.size(); ++i) {
    Request chat = greedy_request(replies[i], random_text(100 + i, 5 + i));
    chat.max_tokens = 60;
    chat.ignore_end_of_sequence = true;
    engine.submit(chat);
    texts.push_back(random_text(i, 1 + i * 9));
    engine.submit(embed_request(embeddings[i], texts.back()));
  }
  gate.open();
  for (size_t i = 0; i < embeddings.size(); ++i) {
    expect_near(embeddings[i].wait().embedding, expected_embedding(texts[i], GetParam()));
    EXPECT_EQ(replies[i].wait().reason, FinishReason::kMaxTokens);
  }
  wait_for([&] { return engine.stats().num_running == 0; });
  EXPECT_GT(engine.stats().num_preemptions, 0u);
  EXPECT_EQ(engine.stats().num_blocks_used, 0);
}

TEST_P(EngineEmbedding, MayFillTheWholeContext) {
  EngineOptions tight = embedding_options(GetParam(), 8);
  FakeModel model(tight.num_blocks, kVocabSize);
  TestEngine engine([&](const backend::Batch& batch) { return model.forward(batch); }, tokenizer(),
                    tight);
  const auto text = random_text(7, 8 * backend::kBlockTokens);
  Collector collector;
  engine.submit(embed_request(collector, text));
  expect_near(collector.wait().embedding, expected_embedding(text, GetParam()));
  const auto too_long = random_text(7, 8 * backend::kBlockTokens + 1);
  EXPECT_EQ(code_of([&] { engine.submit(embed_request(collector, too_long)); }),
            ErrorCode::kContextOverflow);
}

std::string pooling_name(const testing::TestParamInfo<Pooling>& info) {
  constexpr std::array kNames = {"Last", "Mean", "First"};
  return kNames[static_cast<size_t>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Poolings, EngineEmbedding,
                         testing::Values(Pooling::kLast, Pooling::kMean, Pooling::kFirst),
                         pooling_name);

TEST(EngineEmbeddings, AreRefusedWithoutHiddenStates) {
  TestEngine engine(scripted({66}), tokenizer(), options());
  Collector collector;
  EXPECT_EQ(code_of([&] { engine.submit(embed_request(collector, {1})); }),
            ErrorCode::kUnsupported);
}

TEST(EngineEmbeddings, StatesThatAreNoNumbersAreAnError) {
  EngineOptions broken = embedding_options(Pooling::kLast);
  std::vector<float> states(FakeModel::kStateSize, std::numeric_limits<float>::quiet_NaN());
  TestEngine engine(
      [&](const backend::Batch&) {
        return ForwardOutput{{}, states};
      },
      tokenizer(), broken);
  Collector collector;
  engine.submit(embed_request(collector, {1}));
  const Event last = collector.wait();
  EXPECT_EQ(last.reason, FinishReason::kError);
  EXPECT_THAT(last.error, HasSubstr("hidden state"));
  EXPECT_THAT(last.embedding, IsEmpty());
}

TEST(EngineEmbeddings, StatesOfTheWrongSizeAreAnError) {
  EngineOptions broken = embedding_options(Pooling::kLast);
  std::vector<float> states(FakeModel::kStateSize - 1);
  TestEngine engine(
      [&](const backend::Batch&) {
        return ForwardOutput{{}, states};
      },
      tokenizer(), broken);
  Collector collector;
  engine.submit(embed_request(collector, {1}));
  EXPECT_THAT(collector.wait().error, HasSubstr("hidden states"));
}

TEST(Embedder, AddsUpAndStartsAgain) {
  Embedder embedder;
  embedder.add(std::vector<float>{5, 5, 5, 5}, 2, true);
  embedder.add(std::vector<float>{3, 0}, 2, true);
  embedder.add({}, 2, false);
  embedder.add(std::vector<float>{0, 4}, 2, false);
  EXPECT_THAT(embedder.normalized(), ElementsAre(0.6f, 0.8f));
  embedder.add(std::vector<float>{0, 0}, 2, true);
  EXPECT_THAT(embedder.normalized(), ElementsAre(0.0f, 0.0f));
}

}  // namespace
}  // namespace sluice::engine
