#include "measure/plan.h"

#include <gtest/gtest.h>

#include <cmath>

#include "measure/shapes.h"
#include "model/load.h"

namespace sluice::measure {
namespace {

ModelPlan plan_shape(const char* name, const char* mix) {
  const Shape* shape = find_shape(name);
  EXPECT_NE(shape, nullptr) << name;
  return plan_model(shape_file(*shape, mix), nullptr, {});
}

bool is_near(double value, double expected, double part) {
  return std::abs(value - expected) <= part * expected;
}

// Sizes as published: llama3.1:70b's q4_K_M of Ollama's library has 42.5 GB, q4_0 40 GB.
TEST(Plan, AWellKnownShapeHasItsPublishedSize) {
  const ModelPlan plan = plan_shape("llama3.1:70b", "q4_K_M");
  EXPECT_TRUE(is_near(static_cast<double>(plan.num_parameters), 70.6e9, 0.01))
      << plan.num_parameters;
  EXPECT_TRUE(is_near(static_cast<double>(plan.file_bytes), 42.5e9, 0.01)) << plan.file_bytes;
  EXPECT_TRUE(
      is_near(static_cast<double>(plan_shape("llama3.1:70b", "q4_0").file_bytes), 40e9, 0.01));
  EXPECT_TRUE(
      is_near(static_cast<double>(plan_shape("llama3.2:1b", "q8_0").file_bytes), 1.3e9, 0.03));
  EXPECT_EQ(plan.context_length, 131072);
  EXPECT_EQ(plan.cache_token_bytes_f16, 80u * 2 * 8 * 128 * 2);
  EXPECT_EQ(plan.cache_token_bytes_q8_0, 80u * 2 * 8 * 128 * 34 / 32);
}

TEST(Plan, EveryShapeCanBePlannedInEveryMix) {
  for (const Shape& shape : all_shapes()) {
    for (const char* mix : {"q4_0", "q4_K_M", "q8_0", "f16"}) {
      const ModelPlan plan = plan_model(shape_file(shape, mix), nullptr, {});
      EXPECT_GT(plan.token_read_bytes, 0u) << shape.name;
      EXPECT_LE(plan.token_read_bytes, plan.file_bytes) << shape.name;
    }
  }
}

TEST(Plan, AShapeCanBeFilledAndComputedWith) {
  for (const auto& [name, mix] : {std::pair{"smollm2:135m", "q4_K_M"}, {"gemma3:270m", "q8_0"}}) {
    uint64_t written = 0, whole = 0;
    const FilledShape filled(*find_shape(name), mix, [&](uint64_t done, uint64_t all) {
      EXPECT_GT(done, written);
      written = done;
      whole = all;
    });
    EXPECT_EQ(written, whole);
    model::Placement placement;
    placement.device = "cpu";
    placement.num_threads = 1;
    const auto model = model::load_model(filled.path(), placement, {});
    model->backend().allocate_cache(1);
    const int32_t block = 0;
    backend::Batch batch;
    batch.tokens = {1, 2, 3};
    batch.sequences = {{0, 3, 0, {&block, 1}, true}};
    batch.logit_rows = {2};
    const backend::StepResult result = model->backend().forward(batch);
    double square = 0;
    for (const float logit : result.logits) square += logit * logit;
    const double deviation = std::sqrt(square / static_cast<double>(result.logits.size()));
    EXPECT_TRUE(deviation > 0.1 && deviation < 100) << name << " " << deviation;
  }
}

TEST(Plan, ANameWithoutATagIsTheSmallestOfItsFamily) {
  ASSERT_NE(find_shape("llama3.1"), nullptr);
  EXPECT_EQ(find_shape("llama3.1")->name, "llama3.1:8b");
  EXPECT_EQ(find_shape("nobody's"), nullptr);
  EXPECT_EQ(find_shape(""), nullptr);
}

TEST(Plan, WhatFitsFollowsFromMemory) {
  const ModelPlan plan = plan_shape("llama3.1:70b", "q4_K_M");
  const Ceilings* a100 = find_gpu("a100-80");
  ASSERT_NE(a100, nullptr);
  const uint64_t cache = plan.cache_token_bytes_f16;
  EXPECT_GE(users_that_fit(plan, *a100, cache, 4096), 20);
  EXPECT_GT(users_that_fit(plan, *a100, cache, 4096), users_that_fit(plan, *a100, cache, 32768));
  EXPECT_LT(longest_context(plan, *a100, cache), 131072);
  EXPECT_EQ(longest_context(plan, *a100, plan.cache_token_bytes_q8_0), 131072);
  Ceilings small = *a100;
  small.memory_bytes = 1'000'000'000;
  EXPECT_EQ(users_that_fit(plan, small, cache, 1), 0);
  EXPECT_EQ(longest_context(plan, small, cache), 0);
}

TEST(Plan, TheCeilingIsBandwidthThenArithmetic) {
  const ModelPlan plan = plan_shape("llama3.1:70b", "q4_0");
  Ceilings machine{"m", 80'000'000'000, 1.9e12, 0};
  const double alone = decode_ceiling(plan, machine, plan.cache_token_bytes_f16, 1, 0);
  EXPECT_TRUE(is_near(alone, 1.9e12 / static_cast<double>(plan.token_read_bytes), 1e-6));
  EXPECT_LT(decode_ceiling(plan, machine, plan.cache_token_bytes_f16, 4, 4096), alone);
  machine.operations_per_second = 100e12;
  const double crowd = decode_ceiling(plan, machine, plan.cache_token_bytes_f16, 64, 0);
  EXPECT_TRUE(is_near(crowd * 64, 100e12 / plan.token_operations, 1e-6));
  EXPECT_TRUE(is_near(prefill_ceiling(plan, machine), 100e12 / plan.token_operations, 1e-6));
}

TEST(Plan, OtherWeightsAreSmallerAndLarger) {
  const gguf::File file = shape_file(*find_shape("llama3.2:3b"), "q4_K_M");
  uint64_t q4 = 0, q8 = 0;
  for (const Alternative& other : other_weights(file)) {
    if (other.mix == "q4_K_M") q4 = other.weights_bytes;
    if (other.mix == "q8_0") q8 = other.weights_bytes;
  }
  EXPECT_GT(q4, 0u);
  EXPECT_TRUE(is_near(static_cast<double>(q4), static_cast<double>(file.size_bytes()), 0.01));
  EXPECT_GT(q8, q4);
}

}  // namespace
}  // namespace sluice::measure
