// Layers split over devices: a reply must not depend on where they lie.

#include "backend/pipeline.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

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

// Where layers lie is all that counts here: they are as narrow as their type allows.
TinyShape narrow_shape(int num_layers, int ffn = 64) {
  TinyShape shape;
  shape.num_layers = num_layers;
  shape.ffn = ffn;
  return shape;
}

std::vector<TinyShape> shapes() {
  const TinyShape plain = narrow_shape(5, 256);
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

// What happens on the stages of a pipeline: "submit 0", "wait 1".
struct Watch {
  std::vector<std::string> events;
  size_t failing = 0;  // the how manieth event of all fails; 0: none
  int num_running = 0;

  void tell(const char* what, int stage) {
    events.push_back(what + std::to_string(stage));
    if (events.size() == failing) throw Error(ErrorCode::kInternal, events.back() + " fails");
  }
};

// A device in whose pipelines steps are cut.
class Watched final : public Backend {
 public:
  Watched(std::unique_ptr<Backend> device, int stage, int piece_tokens, Watch& watch)
      : device_(std::move(device)), stage_(stage), piece_tokens_(piece_tokens), watch_(watch) {}

  Traits traits() const override {
    Traits traits = device_->traits();
    traits.piece_tokens = piece_tokens_;
    return traits;
  }
  std::string description() const override { return device_->description(); }
  MemoryUse plan(const Program& program, const LoadOptions& options,
                 int num_blocks) const override {
    return device_->plan(program, options, num_blocks);
  }
  void load(Program program, const LoadOptions& options) override {
    device_->load(std::move(program), options);
  }
  size_t cache_block_bytes() const override { return device_->cache_block_bytes(); }
  void allocate_cache(int num_blocks) override { device_->allocate_cache(num_blocks); }
  MemoryUse memory() const override { return device_->memory(); }
  void submit(const Batch& batch) override {
    watch_.tell("submit ", stage_);
    device_->submit(batch);
    ++watch_.num_running;
  }
  StepResult wait() override {
    const StepResult result = device_->wait();
    --watch_.num_running;
    watch_.tell("wait ", stage_);
    return result;
  }

 private:
  std::unique_ptr<Backend> device_;
  int stage_, piece_tokens_;
  Watch& watch_;
};

std::unique_ptr<Backend> watched(const std::vector<int>& layers, int piece_tokens, Watch& watch,
                                 bool on_cpu = false) {
  std::vector<PipelineStage> stages;
  for (const int count : layers) {
    auto device = on_cpu ? make_cpu_backend({kThreads, ""}) : make_reference_backend(1);
    stages.push_back({std::make_unique<Watched>(std::move(device), static_cast<int>(stages.size()),
                                                piece_tokens, watch),
                      count});
  }
  return make_pipeline(std::move(stages));
}

// What a device gives in one step.
struct Given {
  std::vector<float> logits, hidden;
  std::vector<int32_t> tokens;
};

// What it gives in prompts, decode steps, drafts and ragged steps, with logits, hidden states and
// drawn tokens. Sequences of more tokens than `longest_reply` are prompts.
std::vector<Given> run_steps(Backend& backend, int vocab, int longest_reply = 999) {
  std::vector<Given> all;
  Steps steps(3, vocab, 11);
  for (const std::vector<int>& sizes : std::vector<std::vector<int>>{
           {40, 0, 7}, {1, 30, 1}, {1, 1, 1}, {5, 1, 0}, {0, 0, 60}, {1, 0, 0}}) {
    Given& given = all.emplace_back();
    Batch batch = steps.next(sizes, true);
    for (BatchSequence& sequence : batch.sequences) {
      sequence.is_prompt = sequence.num_tokens > longest_reply;
    }
    // Hidden states of the first ones, logits of the others.
    batch.embedding_rows = std::exchange(batch.logit_rows, {});
    batch.embedding_rows.resize(batch.tokens.size() / 8);
    for (auto i = static_cast<int32_t>(batch.embedding_rows.size());
         i < static_cast<int32_t>(batch.tokens.size()); ++i) {
      batch.logit_rows.push_back(i);
    }
    const StepResult result = backend.forward(batch);
    given.logits.assign(result.logits.begin(), result.logits.end());
    given.hidden.assign(result.embeddings.begin(), result.embeddings.end());

    batch.samplings.assign(batch.logit_rows.size(), {});
    for (size_t i = 0; i < batch.samplings.size(); ++i) {
      batch.samplings[i].params.temperature = 0.9f;
      batch.samplings[i].position = i;
    }
    for (const SampledToken& token : backend.forward(batch).tokens) {
      given.tokens.push_back(token.token);
    }
  }
  return all;
}

void expect_same(const std::vector<Given>& given, const std::vector<Given>& expected) {
  ASSERT_EQ(given.size(), expected.size());
  for (size_t step = 0; step < given.size(); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    EXPECT_FALSE(given[step].logits.empty());
    EXPECT_EQ(given[step].logits, expected[step].logits);
    EXPECT_EQ(given[step].hidden, expected[step].hidden);
    EXPECT_EQ(given[step].tokens, expected[step].tokens);
  }
}

TEST(Pipeline, GivesWhatOneDeviceGivesBitForBit) {
  for (const TinyShape& shape : shapes()) {
    const TinyModel model(shape, 7);
    const auto whole = loaded(make_cpu_backend({kThreads, ""}), model, pipeline_options());
    const std::vector<Given> expected = run_steps(*whole, shape.vocab);
    for (const std::vector<int>& layers :
         std::vector<std::vector<int>>{{5}, {1, 4}, {4, 1}, {2, 1, 2}, {1, 1, 1, 1, 1}}) {
      SCOPED_TRACE(testing::PrintToString(layers));
      expect_same(run_steps(*loaded(cpus(layers), model, pipeline_options()), shape.vocab),
                  expected);
    }
  }
}

TEST(Pipeline, OfTheReferenceToo) {
  const TinyShape shape = narrow_shape(3);
  const TinyModel model(shape, 7);
  const auto whole = loaded(make_reference_backend(1), model, pipeline_options());
  std::vector<PipelineStage> stages;
  stages.push_back({make_reference_backend(1), 1});
  stages.push_back({make_reference_backend(1), 2});
  const auto split = loaded(make_pipeline(std::move(stages)), model, pipeline_options());
  expect_same(run_steps(*split, shape.vocab), run_steps(*whole, shape.vocab));
}

// In plain code a row's result hangs on nothing else in its step.
TEST(Pipeline, InPiecesGivesWhatOneDeviceGives) {
  TinyShape shape = narrow_shape(3);
  shape.window = 20;
  const TinyModel model(shape, 7);
  const auto whole = loaded(make_reference_backend(1), model, pipeline_options());
  const std::vector<Given> expected = run_steps(*whole, shape.vocab, 5);
  for (const int piece_tokens : {1, 7, 16, 30}) {
    for (const std::vector<int>& layers : std::vector<std::vector<int>>{{3}, {1, 2}, {1, 1, 1}}) {
      SCOPED_TRACE(testing::PrintToString(layers) + " " + std::to_string(piece_tokens));
      Watch watch;
      const auto split = loaded(watched(layers, piece_tokens, watch), model, pipeline_options());
      expect_same(run_steps(*split, shape.vocab, 5), expected);
    }
  }
}

// And a prompt's on the CPU, in steps of its own.
TEST(Pipeline, APromptInPiecesHasTheLogitsOfTheWhole) {
  const TinyShape shape = narrow_shape(3);
  const TinyModel model(shape, 7);
  const auto whole = loaded(make_cpu_backend({kThreads, ""}), model, pipeline_options());
  Watch watch;
  const auto split = loaded(watched({1, 2}, 16, watch, true), model, pipeline_options());
  const Sequences sequences(shape.vocab);
  EXPECT_EQ(prompt_logits(*split, sequences, {100, 60}),
            prompt_logits(*whole, sequences, {100, 60}));
  EXPECT_GT(watch.events.size(), 20u);
}

TEST(Pipeline, StagesComputePiecesAtTheSameTime) {
  const TinyShape shape = narrow_shape(2);
  const TinyModel model(shape, 7);
  Watch watch;
  const auto split = loaded(watched({1, 1}, 20, watch), model, pipeline_options());
  const auto events_of = [&](int num_tokens, bool is_prompt) {
    Steps steps(1, shape.vocab, 3);
    Batch batch = steps.next({num_tokens}, false);
    batch.sequences[0].is_prompt = is_prompt;
    watch.events.clear();
    split->submit(batch);
    EXPECT_EQ(watch.events, std::vector<std::string>{"submit 0"});
    EXPECT_EQ(split->wait().logits.size(), static_cast<size_t>(shape.vocab));
    return watch.events;
  };
  const std::vector<std::string> in_turn = {"submit 0", "wait 0", "submit 1", "wait 1"};
  EXPECT_EQ(events_of(39, true), in_turn);
  EXPECT_EQ(events_of(64, false), in_turn);
  EXPECT_EQ(events_of(64, true),
            (std::vector<std::string>{"submit 0", "wait 0",                        //
                                      "submit 1", "submit 0", "wait 1", "wait 0",  //
                                      "submit 1", "submit 0", "wait 1", "wait 0",  //
                                      "submit 1", "wait 1"}));
}

TEST(Pipeline, NothingRunsBehindAPieceThatFailed) {
  const TinyShape shape = narrow_shape(3);
  const TinyModel model(shape, 7);
  Watch watch;
  const auto split = loaded(watched({1, 1, 1}, 10, watch), model, pipeline_options());
  Steps steps(1, shape.vocab, 3);
  Batch batch = steps.next({40}, true);
  batch.sequences[0].is_prompt = true;
  const std::vector<float> expected = logits_of(*split, batch);
  const size_t num_events = watch.events.size();
  ASSERT_EQ(num_events, 2u * 3 * 4);
  for (size_t failing = 1; failing <= num_events; ++failing) {
    watch.events.clear();
    watch.failing = failing;
    EXPECT_EQ(code_of([&] { split->forward(batch); }), ErrorCode::kInternal);
    EXPECT_EQ(watch.num_running, 0) << failing;
    watch.failing = 0;
    EXPECT_EQ(logits_of(*split, batch), expected) << failing;
  }
}

TEST(Pipeline, ChunksGiveWhatSingleStepsGive) {
  const TinyShape shape = narrow_shape(3);
  const TinyModel model(shape, 7);
  const auto split = loaded(cpus({1, 2}), model, pipeline_options());
  ASSERT_EQ(split->traits().exact_rows, make_cpu_backend({kThreads, ""})->traits().exact_rows);
  expect_chunks_equal_single_steps(*split, split->traits().exact_rows, shape.vocab, 12, {2, 5});
}

TEST(Pipeline, TakesWhatWasPlannedAndNoWeightTwice) {
  const TinyShape shape = narrow_shape(5);
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
  const TinyShape shape = narrow_shape(3);
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
  const TinyShape shape = narrow_shape(3);
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
