// Layers split over devices: a reply must not depend on where they lie.

#include "backend/pipeline.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <utility>

#include "backend/exact_steps.h"
#include "backend/tiny_model.h"
#include "base/error.h"
#include "thrown.h"

namespace sluice::backend {
namespace {

using test::code_of;

constexpr int kThreads = 2;

LoadOptions pipeline_options() {
  LoadOptions o;
  o.max_batch_tokens = 128;
  o.max_logit_rows = 128;
  o.max_embedding_rows = 16;
  return o;
}

std::unique_ptr<Backend> cpus(const std::vector<int>& layers) {
  std::vector<PipelineStage> stages;
  for (const int count : layers) stages.push_back({make_cpu_backend({kThreads, ""}), count});
  return make_pipeline(std::move(stages));
}

std::unique_ptr<Backend> loaded(std::unique_ptr<Backend> backend, const TinyModel& model,
                                const LoadOptions& options) {
  backend->load(model.program(), options);
  backend->allocate_cache(kNumBlocks);
  return backend;
}

std::vector<TinyShape> shapes() {
  TinyShape plain;
  plain.num_layers = 5;
  TinyShape gemma = plain;
  gemma.type = Type::kQ4_K;
  gemma.window = 20;
  gemma.has_post_norms = gemma.has_qk_norm = gemma.gathers_early = true;
  gemma.soft_cap = 30;
  gemma.activation = Activation::kGeluTanh;
  TinyShape qwen = plain;
  qwen.type = Type::kF16;
  qwen.has_bias = qwen.gathers_early = true;
  return {plain, gemma, qwen};
}

// Prompts, decode steps, drafts and ragged steps, with logits, hidden states and drawn tokens.
void expect_same_steps(Backend& whole, Backend& split, int vocab) {
  Steps steps(3, vocab, 11);
  for (const std::vector<int>& sizes : std::vector<std::vector<int>>{
           {40, 0, 7}, {1, 30, 1}, {1, 1, 1}, {5, 1, 0}, {0, 0, 60}, {1, 0, 0}}) {
    Batch batch = steps.next(sizes, true);
    // Hidden states of the first ones, logits of the others.
    batch.embedding_rows = std::exchange(batch.logit_rows, {});
    batch.embedding_rows.resize(batch.tokens.size() / 8);
    for (auto i = static_cast<int32_t>(batch.embedding_rows.size());
         i < static_cast<int32_t>(batch.tokens.size()); ++i) {
      batch.logit_rows.push_back(i);
    }
    const auto copy = [](std::span<const float> values) {
      return std::vector<float>(values.begin(), values.end());
    };
    StepResult result = whole.forward(batch);
    const std::vector<float> logits = copy(result.logits), hidden = copy(result.embeddings);
    result = split.forward(batch);
    EXPECT_EQ(copy(result.logits), logits);
    EXPECT_EQ(copy(result.embeddings), hidden);

    batch.samplings.assign(batch.logit_rows.size(), {});
    for (size_t i = 0; i < batch.samplings.size(); ++i) {
      batch.samplings[i].params.temperature = 0.9f;
      batch.samplings[i].position = i;
    }
    const auto tokens_of = [&](Backend& backend) {
      std::vector<int32_t> tokens;
      for (const SampledToken& token : backend.forward(batch).tokens) tokens.push_back(token.token);
      return tokens;
    };
    EXPECT_EQ(tokens_of(whole), tokens_of(split));
  }
}

TEST(Pipeline, GivesWhatOneDeviceGivesBitForBit) {
  for (const TinyShape& shape : shapes()) {
    const TinyModel model(shape, 7);
    const auto whole = loaded(make_cpu_backend({kThreads, ""}), model, pipeline_options());
    for (const std::vector<int>& layers :
         std::vector<std::vector<int>>{{5}, {1, 4}, {4, 1}, {2, 1, 2}, {1, 1, 1, 1, 1}}) {
      SCOPED_TRACE(testing::PrintToString(layers));
      expect_same_steps(*whole, *loaded(cpus(layers), model, pipeline_options()), shape.vocab);
    }
  }
}

TEST(Pipeline, OfTheReferenceToo) {
  TinyShape shape;
  shape.num_layers = 3;
  const TinyModel model(shape, 7);
  const auto whole = loaded(make_reference_backend(1), model, pipeline_options());
  std::vector<PipelineStage> stages;
  stages.push_back({make_reference_backend(1), 1});
  stages.push_back({make_reference_backend(1), 2});
  expect_same_steps(*whole, *loaded(make_pipeline(std::move(stages)), model, pipeline_options()),
                    shape.vocab);
}

TEST(Pipeline, ChunksGiveWhatSingleStepsGive) {
  TinyShape shape;
  shape.num_layers = 3;
  const TinyModel model(shape, 7);
  const auto split = loaded(cpus({1, 2}), model, pipeline_options());
  ASSERT_EQ(split->traits().exact_rows, make_cpu_backend({kThreads, ""})->traits().exact_rows);
  expect_chunks_equal_single_steps(*split, split->traits().exact_rows, shape.vocab, 12, {2, 5});
}

TEST(Pipeline, TakesWhatWasPlannedAndNoWeightTwice) {
  TinyShape shape;
  shape.num_layers = 5;
  const TinyModel model(shape, 7);
  const auto whole = loaded(make_cpu_backend({kThreads, ""}), model, pipeline_options());
  const auto split = loaded(cpus({2, 3}), model, pipeline_options());
  const MemoryUse planned = split->plan(model.program(), pipeline_options(), kNumBlocks);
  const MemoryUse used = split->memory();
  EXPECT_EQ(planned.weights, used.weights);
  EXPECT_EQ(planned.cache, used.cache);
  EXPECT_EQ(planned.workspace, used.workspace);
  EXPECT_EQ(split->cache_block_bytes(), whole->cache_block_bytes());
  // But for the embedding, which is the head as well.
  const Weight& table = model.program().weights.front();
  EXPECT_LE(used.weights, whole->memory().weights + table.data.size() + 64);
  const auto stages = split->stages();
  ASSERT_EQ(stages.size(), 2u);
  EXPECT_EQ(stages[0].num_layers, 2);
  EXPECT_EQ(stages[0].device->memory().cache + stages[1].device->memory().cache, used.cache);
  EXPECT_EQ(whole->stages().front().device, whole.get());
  EXPECT_NE(split->description().find(" (3 layers) + cpu"), std::string::npos);
}

TEST(Pipeline, ReportsTheProgressOfAllStagesAsOne) {
  TinyShape shape;
  shape.num_layers = 3;
  const TinyModel model(shape, 7);
  std::vector<double> told;
  LoadOptions options = pipeline_options();
  options.on_progress = [&](double fraction) { told.push_back(fraction); };
  cpus({1, 1, 1})->load(model.program(), options);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_GT(told.front(), 0.0);
  EXPECT_DOUBLE_EQ(told.back(), 1.0);
}

TEST(Pipeline, RefusesWhatItCannotDo) {
  TinyShape shape;
  shape.num_layers = 3;
  const TinyModel model(shape, 7);
  EXPECT_EQ(code_of([&] {
              cpus({1, 1})->load(model.program(), pipeline_options());
            }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] {
              cpus({2, 2})->load(model.program(), pipeline_options());
            }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { cut_program(model.program(), 1, 1); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { cut_program(model.program(), 0, 4); }), ErrorCode::kInvalidArgument);
  const auto split = loaded(cpus({1, 2}), model, pipeline_options());
  Batch batch = Steps(1, shape.vocab, 3).next({2}, true);
  batch.tokens[1] = shape.vocab;
  EXPECT_EQ(code_of([&] { split->submit(batch); }), ErrorCode::kInvalidArgument);
  const auto second = loaded(make_cpu_backend({kThreads, ""}), model, pipeline_options());
  second->load(cut_program(model.program(), 1, 3), pipeline_options());
  second->allocate_cache(kNumBlocks);
  batch.tokens[1] = 0;
  EXPECT_EQ(code_of([&] { second->submit(batch); }), ErrorCode::kInvalidArgument)
      << "without what the first layer gives";
}

}  // namespace
}  // namespace sluice::backend
