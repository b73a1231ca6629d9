// Layers split over GPUs of the fake driver and the CPU.

#include "backend/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "backend/cuda/cuda_backend.h"
#include "backend/exact_steps.h"
#include "backend/relative_error.h"
#include "backend/tiny_model.h"
#include "base/error.h"
#include "cuda/fake_cuda.h"
#include "thrown.h"

namespace sluice::backend {
namespace {

using test::error_of;

const TinyShape& split_shape() {
  static const TinyShape shape = [] {
    TinyShape s;
    s.num_layers = 3;
    s.ffn = 256;
    s.gathers_early = true;
    return s;
  }();
  return shape;
}

std::unique_ptr<Backend> cpu() { return make_cpu_backend({1, ""}); }
std::unique_ptr<Backend> gpu(int index = 0) {
  return make_cuda_backend({index, cuda::fake_library()});
}
std::unique_ptr<Backend> pair(std::unique_ptr<Backend> first, std::unique_ptr<Backend> second) {
  std::vector<PipelineStage> stages;
  stages.push_back({std::move(first), 1});
  stages.push_back({std::move(second), 2});
  return make_pipeline(std::move(stages));
}

std::unique_ptr<Backend> load(std::unique_ptr<Backend> backend, const TinyModel& model) {
  LoadOptions options;
  options.max_batch_tokens = 64;
  backend->load(model.program(), options);
  backend->allocate_cache(kNumBlocks);
  return backend;
}

std::vector<float> all_logits(Backend& backend) {
  Steps steps(3, split_shape().vocab, 11);
  std::vector<float> all;
  for (const std::vector<int>& sizes :
       std::vector<std::vector<int>>{{17, 0, 5}, {1, 9, 1}, {4, 1, 0}}) {
    const std::vector<float> logits = logits_of(backend, steps.next(sizes, true));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

TEST(CudaPipeline, TwoGpusGiveWhatOneGivesBitForBit) {
  SLUICE_NEEDS_THE_FAKE();
  const TinyModel model(split_shape(), 7);
  for (const char* machine : {"devices=2,checks=races", "devices=2,checks=none,capability=80"}) {
    cuda::configure_fake(machine);
    const std::vector<float> expected = all_logits(*load(gpu(), model));
    EXPECT_EQ(all_logits(*load(pair(gpu(1), gpu(0)), model)), expected);
  }
}

// A prompt of 256 tokens goes in two pieces.
TEST(CudaPipeline, TwoGpusComputeAPromptInPieces) {
  SLUICE_NEEDS_THE_FAKE();
  TinyShape shape = split_shape();
  shape.num_layers = 2;
  const TinyModel model(shape, 7);
  cuda::configure_fake("devices=2,checks=none");
  LoadOptions options;
  options.max_batch_tokens = 256;
  std::vector<PipelineStage> stages;
  for (const int index : {1, 0}) stages.push_back({gpu(index), 1});
  const auto split = make_pipeline(std::move(stages));
  const auto whole = gpu();
  const Sequences sequences(shape.vocab);
  std::vector<float> logits[2];
  for (Backend* backend : {split.get(), whole.get()}) {
    backend->load(model.program(), options);
    backend->allocate_cache(kNumBlocks);
    const long before = cuda::fake_counter("waits");
    logits[backend == whole.get()] = prompt_logits(*backend, sequences, {256});
    EXPECT_EQ(cuda::fake_counter("waits") - before, backend == whole.get() ? 1 : 4);
  }
  EXPECT_EQ(logits[0], logits[1]);
}

// Whichever comes first, the replies are near the reference's, and the same in whatever chunks.
TEST(CudaPipeline, AGpuAndTheCpu) {
  SLUICE_NEEDS_THE_FAKE();
  const TinyModel model(split_shape(), 7);
  cuda::configure_fake("checks=none");
  const std::vector<float> expected = all_logits(*load(make_reference_backend(1), model));
  for (const bool cpu_first : {true, false}) {
    const auto split = load(cpu_first ? pair(cpu(), gpu()) : pair(gpu(), cpu()), model);
    const std::vector<float> got = all_logits(*split);
    EXPECT_LT(relative_error(got, expected), 0.02) << cpu_first;
    const int exact = split->traits().exact_rows;
    ASSERT_GT(exact, 1);
    expect_chunks_equal_single_steps(*split, exact, split_shape().vocab, 12, {2, exact});
    const Sequences sequences(split_shape().vocab);
    EXPECT_EQ(prompt_logits(*split, sequences, {36}),
              prompt_logits(*split, sequences, {1, 16, 10, 9}));
  }
}

TEST(CudaPipeline, EachMemoryHoldsWhatWasPlannedForIt) {
  SLUICE_NEEDS_THE_FAKE();
  const TinyModel model(split_shape(), 7);
  cuda::configure_fake("checks=none");
  LoadOptions options;
  options.max_batch_tokens = 64;
  auto split = pair(cpu(), gpu());
  const size_t free_before = split->stages()[1].device->free_bytes();
  const MemoryUse planned = split->plan(model.program(), options, kNumBlocks);
  split = load(std::move(split), model);
  const MemoryUse used = split->memory();
  EXPECT_EQ(planned.weights, used.weights);
  EXPECT_EQ(planned.workspace, used.workspace);
  EXPECT_EQ(planned.cache, used.cache);
  EXPECT_EQ(planned.on_device, used.on_device);
  EXPECT_EQ(split->stages()[0].device->memory().on_device, 0u);
  EXPECT_EQ(split->stages()[1].device->memory().on_device, used.on_device);
  const auto taken = static_cast<double>(free_before - split->stages()[1].device->free_bytes());
  EXPECT_LE(taken, static_cast<double>(used.on_device) * 1.02);
}

TEST(CudaPipeline, WhereverMemoryEndsALoadFailsAndTheNextOneWorks) {
  SLUICE_NEEDS_THE_FAKE();
  const TinyModel model(split_shape(), 7);
  cuda::configure_fake("devices=2,checks=none");
  const std::vector<float> expected = all_logits(*load(pair(gpu(0), gpu(1)), model));
  const auto split = pair(gpu(0), gpu(1));
  LoadOptions options;
  options.max_batch_tokens = 64;
  for (const char* what : {"fail-alloc", "fail-pinned"}) {
    int num_failed = 0;
    for (int turn = 1;; ++turn) {
      cuda::fail_fake(what, turn);
      bool has_failed = false;
      try {
        split->load(model.program(), options);
        split->allocate_cache(kNumBlocks);
      } catch (const Error& error) {
        has_failed = true;
        EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << what << " " << turn;
      }
      if (!has_failed) break;
      ++num_failed;
    }
    cuda::fail_fake(what, 0);
    EXPECT_GE(num_failed, 6) << what;
  }
  EXPECT_FALSE(split->is_lost());
  EXPECT_EQ(all_logits(*split), expected);
}

TEST(CudaPipeline, IsLostWithOneOfItsGpus) {
  SLUICE_NEEDS_THE_FAKE();
  const TinyModel model(split_shape(), 7);
  for (const int turn : {5, 25, 60}) {
    cuda::configure_fake("devices=2,checks=none");
    auto split = load(pair(gpu(0), gpu(1)), model);
    cuda::fail_fake("fail-kernel", turn);
    EXPECT_THAT(error_of([&] {
                  for (int i = 0; i < 3; ++i) all_logits(*split);
                }).what(),
                testing::HasSubstr("the GPU failed"));
    EXPECT_TRUE(split->is_lost());
    split = nullptr;
    EXPECT_FALSE(load(pair(gpu(0), gpu(1)), model)->is_lost());
  }
}

}  // namespace
}  // namespace sluice::backend
