// The engine on GPUs of the fake driver: what its promises rest on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "backend/tiny_model.h"
#include "cuda/fake_cuda.h"
#include "engine/engine_fixture.h"

namespace sluice::engine {
namespace {

constexpr int kBlocks = 64;

backend::TinyShape shape_of(quant::Type type) {
  backend::TinyShape shape;
  shape.type = type;
  shape.num_layers = 1;
  shape.ffn = 256;
  shape.vocab = kVocabSize;
  return shape;
}

std::unique_ptr<backend::Backend> load(std::unique_ptr<backend::Backend> backend,
                                       const backend::TinyModel& model) {
  backend::LoadOptions load_options;
  load_options.max_batch_tokens = 128;
  load_options.max_logit_rows = 128;
  backend->load(model.program(), load_options);
  backend->allocate_cache(kBlocks);
  return backend;
}

std::unique_ptr<backend::Backend> on_gpu(const backend::TinyModel& model, int device = 0) {
  return load(backend::make_cuda_backend({device, backend::cuda::gpu_library()}), model);
}

// A model on a device, and an engine.
class Served {
 public:
  Served(std::unique_ptr<backend::Backend> backend, const EngineOptions& engine_options)
      : backend_(std::move(backend)), engine_(*backend_, tokenizer(), engine_options) {}

  Collector submit(Request request) {
    Collector collector;
    request.on_event = collector.callback();
    engine_.submit(std::move(request));
    return collector;
  }
  std::vector<OutputToken> reply_to(const Request& request) {
    Collector collector = submit(request);
    const Event last = collector.wait();
    EXPECT_EQ(last.error, "");
    last_ = last;
    return collector.tokens();
  }
  const Event& last() const { return last_; }
  const Engine& engine() const { return engine_; }

 private:
  std::unique_ptr<backend::Backend> backend_;
  Engine engine_;
  Event last_;
};

std::vector<text::TokenId> random_prompt(uint32_t seed, int size) {
  std::mt19937 random(seed);
  std::vector<text::TokenId> prompt;
  for (int i = 0; i < size; ++i) prompt.push_back(static_cast<int>(random() % 256));
  return prompt;
}

Request request_of(std::vector<text::TokenId> prompt, float temperature, int max_tokens = 10) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = temperature;
  request.sampling.seed = 5;
  request.max_tokens = max_tokens;
  request.ignore_end_of_sequence = true;
  request.num_top_logprobs = 2;
  return request;
}

void expect_same(const std::vector<OutputToken>& a, const std::vector<OutputToken>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].token, b[i].token) << "token " << i;
    ASSERT_EQ(a[i].logprob, b[i].logprob) << "token " << i;
    ASSERT_EQ(a[i].top.size(), b[i].top.size()) << "token " << i;
  }
}

TEST(CudaEngine, GreedyRepliesAreTheReferences) {
  backend::cuda::configure_fake("");
  const backend::TinyModel model(shape_of(quant::Type::kF32), 7);
  Served gpu(on_gpu(model), options(kBlocks));
  Served reference(load(backend::make_reference_backend(1), model), options(kBlocks));
  for (const int size : {1, 5, 33}) {
    const Request request = request_of(random_prompt(3, size), 0.0f);
    const std::vector<OutputToken> expected = reference.reply_to(request);
    const std::vector<OutputToken> got = gpu.reply_to(request);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i].token, expected[i].token) << "token " << i << " behind " << size;
      ASSERT_NEAR(got[i].logprob, expected[i].logprob, 0.02);
    }
  }
}

// How much better than its tokens the reference finds others, behind the prompt and what was said
// before: zero for a greedy reply, but for rounding.
float worst_gap(backend::Backend& reference, const std::vector<text::TokenId>& prompt,
                const std::vector<OutputToken>& reply) {
  std::vector<int32_t> table(kBlocks);
  std::iota(table.begin(), table.end(), 0);
  backend::Batch batch;
  batch.tokens.assign(prompt.begin(), prompt.end());
  for (const OutputToken& token : reply) batch.tokens.push_back(token.token);
  batch.tokens.pop_back();
  const auto first = static_cast<int32_t>(prompt.size()) - 1;
  for (size_t i = 0; i < reply.size(); ++i) {
    batch.logit_rows.push_back(first + static_cast<int32_t>(i));
  }
  batch.sequences.push_back({0, static_cast<int>(batch.tokens.size()), 0, table, true});
  const std::span<const float> logits = reference.forward(batch).logits;
  float worst = 0;
  for (size_t i = 0; i < reply.size(); ++i) {
    const std::span<const float> row = logits.subspan(i * kVocabSize, kVocabSize);
    const float best = *std::max_element(row.begin(), row.end());
    worst = std::max(worst, best - row[static_cast<size_t>(reply[i].token)]);
  }
  return worst;
}

TEST(CudaEngine, ManyAtOnceEachGetTheirOwn) {
  backend::cuda::configure_fake("checks=races");
  const backend::TinyModel model(shape_of(quant::Type::kF32), 7);
  const auto reference = load(backend::make_reference_backend(1), model);
  Served gpu(on_gpu(model), options(kBlocks));
  std::vector<std::vector<text::TokenId>> prompts;
  std::vector<Collector> replies;
  for (int i = 0; i < 7; ++i) {
    prompts.push_back(random_prompt(1, 18));  // a beginning that all share
    const auto own = random_prompt(static_cast<uint32_t>(10 + i), 1 + 5 * i);
    prompts.back().insert(prompts.back().end(), own.begin(), own.end());
    replies.push_back(gpu.submit(request_of(prompts.back(), 0.0f, 3 + i)));
  }
  for (size_t i = 0; i < replies.size(); ++i) {
    EXPECT_EQ(replies[i].wait().reason, FinishReason::kMaxTokens);
    ASSERT_EQ(replies[i].tokens().size(), 3 + i);
    EXPECT_LT(worst_gap(*reference, prompts[i], replies[i].tokens()), 0.05f) << i;
  }
  wait_for([&] { return gpu.engine().stats().num_running == 0; });
  EXPECT_EQ(gpu.engine().stats().num_blocks_used, 0);
}

// A sampled reply is a greedy one's hardest case: each draw hangs on the last bit of all logits.
TEST(CudaEngine, GuessesNeverChangeAReply) {
  backend::cuda::configure_fake("checks=none");
  const backend::TinyModel model(shape_of(quant::Type::kQ4_0), 7);
  EngineOptions guessing = options(kBlocks);
  guessing.speculate = true;
  guessing.min_draft_gain = 0;  // whatever the clock says
  Served plain(on_gpu(model), options(kBlocks)), drafted(on_gpu(model), guessing);
  std::vector<text::TokenId> prompt = random_prompt(2, 12);
  const std::vector<text::TokenId> once = prompt;
  prompt.insert(prompt.end(), once.begin(), once.end());
  int num_guessed = 0;
  for (const float temperature : {0.0f, 0.05f}) {
    const Request request = request_of(prompt, temperature, 24);
    const std::vector<OutputToken> expected = plain.reply_to(request);
    expect_same(expected, drafted.reply_to(request));
    num_guessed += drafted.last().num_draft_tokens;
  }
  EXPECT_GT(num_guessed, 0);
}

TEST(CudaEngine, AReplyDoesNotDependOnWhatWasCached) {
  backend::cuda::configure_fake("checks=none");
  const backend::TinyModel model(shape_of(quant::Type::kQ4_K), 7);
  Served gpu(on_gpu(model), options(kBlocks));
  const Request request = request_of(random_prompt(4, 50), 0.9f);
  const std::vector<OutputToken> first = gpu.reply_to(request);
  EXPECT_EQ(gpu.last().num_cached_tokens, 0);
  expect_same(first, gpu.reply_to(request));
  EXPECT_GE(gpu.last().num_cached_tokens, 32);
}

TEST(CudaEngine, TwoDevicesAtOnce) {
  SLUICE_NEEDS_THE_FAKE();
  backend::cuda::configure_fake("devices=2");
  const backend::TinyModel model(shape_of(quant::Type::kQ4_0), 7);
  Served first(on_gpu(model, 0), options(kBlocks)), second(on_gpu(model, 1), options(kBlocks));
  const Request request = request_of(random_prompt(4, 20), 0.9f);
  Collector a = first.submit(request), b = second.submit(request);
  EXPECT_EQ(a.wait().error, "");
  EXPECT_EQ(b.wait().error, "");
  expect_same(a.tokens(), b.tokens());
}

}  // namespace
}  // namespace sluice::engine
