// Guessed tokens are checked in one step and prompts come in chunks: what a token's logits are must
// not depend on either, bit for bit.

#include <gtest/gtest.h>

#include "backend/cuda/cuda_backend.h"
#include "backend/exact_steps.h"
#include "cuda/fake_cuda.h"

namespace sluice::backend {
namespace {

std::unique_ptr<Backend> load(const TinyModel& model, CacheType cache,
                              const std::string& machine = "checks=none") {
  cuda::configure_fake(machine);
  LoadOptions options;
  options.max_batch_tokens = 512;
  options.cache_type = cache;
  auto backend = make_cuda_backend({0, cuda::gpu_library()});
  backend->load(model.program(), options);
  backend->allocate_cache(kNumBlocks);
  return backend;
}

TinyShape shape_of(Type type) {
  TinyShape shape;
  shape.type = type;
  shape.num_layers = 1;
  shape.ffn = 256;
  return shape;
}

TEST(CudaExact, ChunksGiveWhatSingleStepsGive) {
  for (Type type : {Type::kQ4_0, Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kF16}) {
    SCOPED_TRACE(quant::type_info(type).name);
    const TinyShape shape = shape_of(type);
    const TinyModel model(shape, 7);
    for (CacheType cache : {CacheType::kF16, CacheType::kQ8_0}) {
      const auto backend = load(model, cache);
      ASSERT_EQ(backend->traits().exact_rows, 8);
      expect_chunks_equal_single_steps(*backend, 8, shape.vocab, 12, {2, 5, 8});
    }
  }
}

TEST(CudaExact, WindowsAndLongContexts) {
  TinyShape shape = shape_of(Type::kQ4_0);
  shape.num_layers = 2;  // of which one has the window
  shape.window = 130;
  const TinyModel model(shape, 9);
  const auto backend = load(model, CacheType::kF16);
  expect_chunks_equal_single_steps(*backend, 8, shape.vocab, 253, {2, 7});
}

// On both kinds of GPUs: their products of many rows are other kernels.
TEST(CudaExact, APromptGivesTheSameInWhateverChunks) {
  for (const std::string machine : {"checks=none,capability=80", "checks=none,capability=90"}) {
    for (Type type : {Type::kQ4_0, Type::kQ4_K, Type::kQ6_K, Type::kQ8_0}) {
      SCOPED_TRACE(machine + " " + std::string(quant::type_info(type).name));
      const TinyShape shape = shape_of(type);
      const TinyModel model(shape, 7);
      const Sequences sequences(shape.vocab);
      const auto backend =
          load(model, type == Type::kQ8_0 ? CacheType::kQ8_0 : CacheType::kF16, machine);
      const std::vector<float> whole = prompt_logits(*backend, sequences, {82});
      EXPECT_EQ(whole, prompt_logits(*backend, sequences, {48, 34}));
      EXPECT_EQ(whole, prompt_logits(*backend, sequences, {1, 16, 40, 9, 8, 7, 1}));
    }
  }
}

}  // namespace
}  // namespace sluice::backend
