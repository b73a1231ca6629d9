// What goes wrong on a GPU: the step or the load ends with a message, what was computed beside it
// is right, and a GPU that was lost can be used again when all that was on it is gone.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "backend/cuda/cuda_backend.h"
#include "backend/tiny_model.h"
#include "base/error.h"
#include "cuda/fake_cuda.h"
#include "engine/engine_fixture.h"
#include "thrown.h"

namespace sluice::backend {
namespace {

using test::error_of;

using testing::HasSubstr;

const TinyModel& model() {
  static const TinyModel model(
      [] {
        TinyShape shape;
        shape.num_layers = 1;
        shape.ffn = 256;
        shape.vocab = engine::kVocabSize;
        return shape;
      }(),
      3);
  return model;
}

LoadOptions options() {
  LoadOptions o;
  o.max_batch_tokens = 64;
  return o;
}

std::unique_ptr<Backend> make(int device = 0) {
  return make_cuda_backend({device, cuda::fake_library()});
}
std::unique_ptr<Backend> make_loaded(int device = 0) {
  auto backend = make(device);
  backend->load(model().program(), options());
  backend->allocate_cache(kNumBlocks);
  return backend;
}

// The first step of the same sequences each time.
std::vector<float> first_step(Backend& backend) {
  const std::span<const float> logits =
      backend.forward(Steps(2, engine::kVocabSize, 5).next({5, 1}, false)).logits;
  return {logits.begin(), logits.end()};
}

TEST(CudaFaults, WhereverMemoryEndsALoadFailsAndTheNextOneWorks) {
  cuda::configure_fake("checks=none");
  const std::vector<float> expected = first_step(*make_loaded());
  const auto backend = make();
  int num_failed = 0;
  for (int allocation = 1;; ++allocation) {
    cuda::fail_fake("fail-alloc", allocation);
    std::optional<Error> failure;
    try {
      backend->load(model().program(), options());
      backend->allocate_cache(kNumBlocks);
    } catch (const Error& error) {
      failure = error;
    }
    if (!failure) break;
    ++num_failed;
    EXPECT_EQ(failure->code(), ErrorCode::kOutOfMemory) << allocation;
    EXPECT_THAT(failure->what(), HasSubstr("are needed for")) << allocation;
    EXPECT_FALSE(backend->is_lost());
  }
  cuda::fail_fake("fail-alloc", 0);
  EXPECT_GE(num_failed, 4);  // weights, workspace, cache, what a step brings
  EXPECT_EQ(first_step(*backend), expected);
}

TEST(CudaFaults, AStepWithoutMemoryEndsAlone) {
  cuda::configure_fake("checks=none");
  const auto backend = make_loaded();
  const std::vector<float> expected = first_step(*backend);
  const auto fresh = make_loaded();
  cuda::fail_fake("fail-pinned", 1);  // of the first results
  EXPECT_EQ(error_of([&] { first_step(*fresh); }).code(), ErrorCode::kOutOfMemory);
  EXPECT_FALSE(fresh->is_lost());
  EXPECT_EQ(first_step(*fresh), expected);
}

// Its kernels are launched one by one then.
TEST(CudaFaults, AStepWithoutMemoryForItsGraphRunsAllTheSame) {
  cuda::configure_fake("checks=none");
  const auto decode = [](Backend& backend) {
    Steps steps(2, engine::kVocabSize, 5);
    backend.forward(steps.next({5, 1}, false));
    const std::span<const float> logits = backend.forward(steps.next({1, 1}, false)).logits;
    return std::vector<float>(logits.begin(), logits.end());
  };
  const std::vector<float> expected = decode(*make_loaded());
  for (const int turn : {1, 2}) {  // made, launched
    const auto backend = make_loaded();
    const long launches = cuda::fake_counter("graph-launches");
    cuda::fail_fake("fail-graph", turn);
    EXPECT_EQ(decode(*backend), expected);
    EXPECT_EQ(cuda::fake_counter("graph-launches"), launches + 1);  // of the second step
    EXPECT_FALSE(backend->is_lost());
    EXPECT_EQ(decode(*backend), expected);
    EXPECT_EQ(cuda::fake_counter("graph-launches"), launches + 3);
  }
}

// All of a GPU's models are lost, no other GPU's; and it comes back when they are gone.
TEST(CudaFaults, ALostGpuIsToldByAllThatUseIt) {
  for (const char* fault : {"fail-kernel", "fail-launch"}) {
    SCOPED_TRACE(fault);
    cuda::configure_fake("devices=2,checks=none");
    auto first = make_loaded(0), second = make_loaded(0);
    const auto other = make_loaded(1);
    const std::vector<float> expected = first_step(*other);
    cuda::fail_fake(fault, 3);
    const Error error = error_of([&] { first_step(*first); });
    EXPECT_EQ(error.code(), ErrorCode::kInternal);
    EXPECT_THAT(error.what(), HasSubstr("the GPU failed: "));
    EXPECT_THAT(error.what(), HasSubstr("CUDA_ERROR_LAUNCH_FAILED"));
    EXPECT_TRUE(first->is_lost());
    EXPECT_TRUE(second->is_lost());
    EXPECT_FALSE(other->is_lost());
    EXPECT_EQ(error_of([&] { first_step(*first); }).code(), ErrorCode::kInternal);
    EXPECT_EQ(error_of([&] { make(0); }).code(), ErrorCode::kBusy);
    EXPECT_EQ(first_step(*other), expected);
    first = nullptr;
    EXPECT_EQ(error_of([&] { make(0); }).code(), ErrorCode::kBusy);
    second = nullptr;
    EXPECT_EQ(first_step(*make_loaded(0)), expected);
  }
}

TEST(CudaFaults, AGpuThatIsLostWhileAModelIsLoadedIsTold) {
  cuda::configure_fake("checks=none");
  auto serving = make_loaded();
  auto loading = make();
  cuda::fail_fake("fail-kernel", 2);
  EXPECT_EQ(error_of([&] { loading->load(model().program(), options()); }).code(),
            ErrorCode::kInternal);
  EXPECT_TRUE(serving->is_lost());
  loading = nullptr;
  serving = nullptr;
  EXPECT_FALSE(make_loaded()->is_lost());
}

TEST(CudaFaults, TheEngineEndsWhatRanAndRefusesWhatComes) {
  cuda::configure_fake("checks=none");
  const auto backend = make_loaded();
  engine::Engine engine(*backend, engine::tokenizer(), engine::options(kNumBlocks));
  engine::Collector first, second;
  cuda::fail_fake("fail-kernel", 100);
  engine::Request request = engine::greedy_request(first);
  request.ignore_end_of_sequence = true;
  engine.submit(request);
  const engine::Event last = first.wait();
  EXPECT_EQ(last.reason, engine::FinishReason::kError);
  EXPECT_THAT(last.error, HasSubstr("CUDA_ERROR_LAUNCH_FAILED"));
  EXPECT_GT(first.tokens().size(), 0u);
  EXPECT_EQ(error_of([&] { engine.submit(engine::greedy_request(second)); }).code(),
            ErrorCode::kBusy);
}

}  // namespace
}  // namespace sluice::backend
