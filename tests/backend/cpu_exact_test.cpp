// Drafted tokens are checked in one step: its logits must be those of single steps, bit for bit.
#include <gtest/gtest.h>

#include "backend/cpu/linear.h"
#include "backend/exact_steps.h"

namespace sluice::backend {
namespace {

constexpr int kMostRows = cpu::kMostWideTokens;

class ExactOn : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> load(const TinyModel& model, CacheType cache, int threads) {
    LoadOptions options;
    options.max_batch_tokens = 512;
    options.cache_type = cache;
    auto backend = make_cpu_backend({threads, GetParam()});
    backend->load(model.program(), options);
    backend->allocate_cache(kNumBlocks);
    return backend;
  }
};

TEST_P(ExactOn, ChunksGiveWhatSingleStepsGive) {
  for (Type type : {Type::kQ4_0, Type::kQ4_1, Type::kQ4_K, Type::kQ6_K, Type::kQ2_K, Type::kQ8_0,
                    Type::kIQ4_NL, Type::kF16, Type::kF32}) {
    SCOPED_TRACE(quant::type_info(type).name);
    TinyShape shape;
    shape.type = type;
    shape.ffn = 256;
    const TinyModel model(shape, 7);
    for (CacheType cache : {CacheType::kF16, CacheType::kQ8_0}) {
      const auto backend = load(model, cache, 1);
      expect_chunks_equal_single_steps(*backend, kMostRows, shape.vocab, 12, {2, 3, 4, 5, 6, 7, 8});
    }
  }
}

// Heads in numbers that fill vectors of rows differently, windows, and chunks of keys that begin
// between the drafted tokens; cut by keys among several threads or not.
TEST_P(ExactOn, HeadsWindowsAndLongContexts) {
  struct Heads {
    int heads, kv_heads, dim;
  };
  for (const Heads& h : {Heads{9, 3, 32}, Heads{5, 1, 96}, Heads{4, 1, 80}}) {
    for (CacheType cache : {CacheType::kF16, CacheType::kQ8_0}) {
      TinyShape shape;
      shape.num_heads = h.heads;
      shape.num_kv_heads = h.kv_heads;
      shape.head_dim = h.dim;
      shape.window = 130;
      shape.ffn = 32;
      shape.vocab = 32;
      shape.type = h.heads * h.dim % 32 == 0 ? Type::kQ4_0 : Type::kF32;
      const TinyModel model(shape, 9);
      for (int threads : {1, 3}) {
        SCOPED_TRACE(std::to_string(h.heads) + " heads, " + std::to_string(threads) + " threads");
        const auto backend = load(model, cache, threads);
        expect_chunks_equal_single_steps(*backend, kMostRows, shape.vocab, 253, {2, 5, 8});
      }
    }
  }
}

TEST_P(ExactOn, APromptGivesTheSameInWhateverChunks) {
  for (Type type : {Type::kQ4_0, Type::kQ4_1, Type::kQ4_K, Type::kQ6_K, Type::kQ2_K, Type::kQ8_0}) {
    SCOPED_TRACE(quant::type_info(type).name);
    TinyShape shape;
    shape.type = type;
    shape.ffn = 256;
    const TinyModel model(shape, 7);
    const Sequences sequences(shape.vocab);
    for (CacheType cache : {CacheType::kF16, CacheType::kQ8_0}) {
      const auto backend = load(model, cache, 2);
      const std::vector<float> whole = prompt_logits(*backend, sequences, {52});
      EXPECT_EQ(whole, prompt_logits(*backend, sequences, {48, 4}));
      EXPECT_EQ(whole, prompt_logits(*backend, sequences, {32, 16, 3, 1}));
      EXPECT_EQ(whole, prompt_logits(*backend, sequences, {1, 16, 9, 8, 7, 6, 5}));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, ExactOn, testing::ValuesIn(cpu::isas_here()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace sluice::backend
