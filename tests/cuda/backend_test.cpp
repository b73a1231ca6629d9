// The CUDA backend on the fake driver, against the reference backend.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "backend/backend.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/reference_errors.h"
#include "backend/tiny_model.h"
#include "base/error.h"
#include "cuda/fake_cuda.h"
#include "thrown.h"

namespace sluice::backend {
namespace {

LoadOptions options() {
  LoadOptions o;
  o.max_batch_tokens = 128;
  o.max_logit_rows = 128;
  return o;
}

std::unique_ptr<Backend> make_cuda(const std::string& machine = "checks=races", int device = 0) {
  cuda::configure_fake(machine);
  return make_cuda_backend({device, cuda::gpu_library()});
}

std::vector<double> errors(const TinyShape& shape, const std::vector<std::vector<int>>& steps,
                           CacheType cache = CacheType::kF16, bool all_logits = true) {
  LoadOptions with_cache = options();
  with_cache.cache_type = cache;
  return errors_to_reference(*make_cuda(), shape, steps, with_cache, all_logits);
}

TEST(CudaBackend, FloatModelEqualsReference) {
  TinyShape shape;
  shape.type = Type::kF32;
  shape.num_layers = 1;
  for (double error : errors(shape, {{20, 7}, {1, 1}, {3, 12}, {1, 0}})) EXPECT_LT(error, 3e-3);
}

TEST(CudaBackend, QuantizedModelsStayNearTheReference) {
  for (Type type : {Type::kQ4_0, Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kBF16}) {
    SCOPED_TRACE(quant::type_info(type).name);
    TinyShape shape;
    shape.type = type;
    shape.num_layers = 1;
    for (double error : errors(shape, {{9, 2}, {1, 1}})) EXPECT_LT(error, 3e-3);
  }
}

TEST(CudaBackend, WindowsNormsBiasesAndCaps) {
  TinyShape shape;
  shape.type = Type::kQ8_0;
  shape.window = 20;
  shape.has_qk_norm = shape.has_bias = shape.has_post_norms = true;
  shape.soft_cap = 5.0f;
  shape.activation = Activation::kGeluTanh;
  for (double error : errors(shape, {{30, 3}, {1, 1}, {1, 1}})) EXPECT_LT(error, 3e-3);
  shape.is_interleaved = true;
  shape.num_layers = 1;
  for (double error : errors(shape, {{10, 3}, {1, 1}}, CacheType::kQ8_0)) EXPECT_LT(error, 1.2e-2);
}

// q, k and v, and gate and up, are several products then, and the activation is a kernel of its
// own.
TEST(CudaBackend, MatricesOfTwoTypesThatReadTheSameRows) {
  TinyShape shape;
  shape.type = Type::kQ4_K;
  shape.other_type = Type::kQ6_K;
  for (double error : errors(shape, {{30, 2}, {1, 1}})) EXPECT_LT(error, 3e-3);
}

// Their tiles, 30 pairs of them, do not fill blocks of many rows.
TEST(CudaBackend, GateAndUpWithBiasesThatFillNoBlock) {
  TinyShape shape;
  shape.type = Type::kQ4_0;
  shape.ffn = 480;
  shape.has_bias = true;
  for (double error : errors(shape, {{70, 2}, {1, 1}})) EXPECT_LT(error, 3e-3);
}

TEST(CudaBackend, RowsThatGiveNothingEndBehindTheLastAttention) {
  TinyShape shape;
  shape.type = Type::kQ8_0;
  shape.gathers_early = true;
  for (double error : errors(shape, {{20, 7}, {1, 1}}, CacheType::kF16, false)) {
    EXPECT_LT(error, 3e-3);
  }
}

TEST(CudaBackend, EmbeddingsAndNoLogits) {
  const TinyModel model(TinyShape{}, 3);
  auto reference = make_reference_backend(1);
  auto backend = make_cuda();
  for (Backend* b : {reference.get(), backend.get()}) {
    LoadOptions with_embeddings = options();
    with_embeddings.max_embedding_rows = 8;
    b->load(model.program(), with_embeddings);
    b->allocate_cache(kNumBlocks);
  }
  Steps steps(2, 200, 5);
  Batch batch = steps.next({6, 3}, false);
  batch.logit_rows = {5};
  batch.embedding_rows = {2, 8};
  const StepResult expected = reference->forward(batch), got = backend->forward(batch);
  EXPECT_LT(relative_error(got.logits, expected.logits), 3e-3);
  EXPECT_LT(relative_error(got.embeddings, expected.embeddings), 3e-3);
  batch = steps.next({1, 1}, false);
  batch.logit_rows.clear();
  EXPECT_TRUE(backend->forward(batch).logits.empty());
}

TEST(CudaBackend, MemoryIsAsPlanned) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cuda("memory=64");
  for (const CacheType type : {CacheType::kF16, CacheType::kQ8_0}) {
    LoadOptions o = options();
    o.cache_type = type;
    const MemoryUse planned = backend->plan(model.program(), o, kNumBlocks);
    backend->load(model.program(), o);
    const MemoryUse without_cache = backend->memory();
    EXPECT_EQ(backend->plan(model.program(), o, 0).workspace, without_cache.workspace);
    backend->allocate_cache(kNumBlocks);
    const MemoryUse used = backend->memory();
    EXPECT_EQ(used.weights, planned.weights);
    EXPECT_EQ(used.cache, planned.cache);
    EXPECT_EQ(used.workspace, planned.workspace);
    // Who divides what is free by a block's bytes gets no more blocks than can be allocated.
    EXPECT_LE(used.on_device - without_cache.on_device, kNumBlocks * backend->cache_block_bytes());
    EXPECT_EQ(used.on_device, used.weights + used.cache + used.workspace);
    EXPECT_EQ(planned.on_device, used.on_device);
  }
}

// Same settings here and there: the same tokens, from logits that are nearly the same.
TEST(CudaBackend, SamplesAsTheHost) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cuda();
  backend->load(model.program(), options());
  backend->allocate_cache(kNumBlocks);
  Steps steps(3, 200, 5);
  backend->forward(steps.next({6, 3, 2}, false));
  const Batch plain = steps.next({1, 1, 1}, true);
  const std::vector<int32_t> history = {3, 5, 3};
  std::vector<uint32_t> mask(7, 0);
  const std::vector<TokenBias> biases = {{7, 100.0f}, {9, -100.0f}};
  RowSampling settings[5];
  settings[0].params.repeat_penalty = 1.3f;
  settings[0].history = history;
  settings[1].num_top_logprobs = 4;
  settings[2].params.top_k = 0;
  settings[2].params.typical_p = 0.5f;  // the host's
  settings[3].params.top_p = 1.0f;
  settings[3].params.top_k = 0;
  settings[3].mask = mask;
  settings[4].biases = biases;
  // The step again, each row with other settings: it writes the same keys and values.
  for (int turn = 0; turn < 8; ++turn) {
    std::fill(mask.begin(), mask.end(), 0);
    const std::span<const float> logits = backend->forward(plain).logits;
    std::vector<float> rows(logits.begin(), logits.end());
    Batch batch = plain;
    for (size_t row = 0; row < 3; ++row) {
      RowSampling sampling = settings[(static_cast<size_t>(turn) + row) % 5];
      sampling.seed = static_cast<uint64_t>(turn);
      sampling.position = row;
      batch.samplings.push_back(sampling);
    }
    backend->submit(batch);
    mask[2] = 0x00ff0f0fu;  // as late as can be
    std::vector<SampledToken> expected;
    sample_rows(rows, batch.samplings, expected);
    const StepResult result = backend->wait();
    EXPECT_TRUE(result.logits.empty());
    for (size_t row = 0; row < 3; ++row) {
      SCOPED_TRACE(testing::Message() << "turn " << turn << ", row " << row);
      EXPECT_EQ(result.tokens[row].token, expected[row].token);
      EXPECT_EQ(result.tokens[row].logprob, expected[row].logprob);
      EXPECT_EQ(result.tokens[row].top.size(), expected[row].top.size());
    }
  }
}

TEST(CudaBackend, ADecodeStepIsOneLaunchAndOneWait) {
  SLUICE_NEEDS_THE_FAKE();
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cuda("");
  backend->load(model.program(), options());
  backend->allocate_cache(kNumBlocks);
  Steps steps(2, 200, 5);
  backend->forward(steps.next({5, 3}, false));
  backend->forward(steps.next({1, 1}, false));
  const long kernels = cuda::fake_counter("kernels"), graphs = cuda::fake_counter("graphs");
  const long launches = cuda::fake_counter("graph-launches"), waits = cuda::fake_counter("waits");
  for (int i = 0; i < 3; ++i) backend->forward(steps.next({1, 1}, false));
  EXPECT_EQ(cuda::fake_counter("kernels"), kernels);
  EXPECT_EQ(cuda::fake_counter("graphs"), graphs);
  EXPECT_EQ(cuda::fake_counter("graph-launches"), launches + 3);
  EXPECT_EQ(cuda::fake_counter("waits"), waits + 3);
}

// A prompt's piece beside replies is of a size that hardly comes again.
TEST(CudaBackend, OnlyStepsThatComeAgainAreGraphs) {
  SLUICE_NEEDS_THE_FAKE();
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cuda("checks=none");
  backend->load(model.program(), options());
  backend->allocate_cache(kNumBlocks);
  Steps steps(2, 200, 5);
  backend->forward(steps.next({5, 0}, false));
  const long graphs = cuda::fake_counter("graphs");
  for (const int piece : {1, 3, 12}) {
    Batch batch = steps.next({1, piece}, false);
    batch.sequences[1].is_prompt = true;
    backend->forward(batch);
  }
  EXPECT_EQ(cuda::fake_counter("graphs"), graphs);
  backend->forward(steps.next({1, 1}, false));
  EXPECT_EQ(cuda::fake_counter("graphs"), graphs + 1);
}

TEST(CudaBackend, RefusesStepsOfMoreRowsThanAGridHas) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cuda("checks=none");
  LoadOptions large = options();
  large.max_batch_tokens = 65536;
  EXPECT_EQ(test::code_of([&] { backend->plan(model.program(), large, 0); }),
            ErrorCode::kUnsupported);
  large.max_batch_tokens = 65535;
  EXPECT_GT(backend->plan(model.program(), large, 0).workspace, 0u);
}

// Products wait for the kernel before them themselves, where the GPU knows how.
TEST(CudaBackend, ProductsMayStartEarlyOnAnH100) {
  SLUICE_NEEDS_THE_FAKE();
  const TinyModel model(TinyShape{}, 3);
  for (const int capability : {80, 90}) {
    auto backend = make_cuda("checks=none,capability=" + std::to_string(capability));
    backend->load(model.program(), options());
    backend->allocate_cache(kNumBlocks);
    const long before = cuda::fake_counter("early-launches");
    backend->forward(Steps(1, 200, 5).next({3}, false));
    const long products = 2 * 4 + 1;  // of two layers, q k v and gate up as one each, and the head
    EXPECT_EQ(cuda::fake_counter("early-launches") - before, capability == 90 ? products : 0);
  }
}

}  // namespace
}  // namespace sluice::backend
