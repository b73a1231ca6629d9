// Drafted tokens are checked in one step: its logits must be those of single steps, bit for bit.
#include <gtest/gtest.h>

#include "backend/cpu/linear.h"
#include "backend/tiny_model.h"

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

// One sequence over all blocks of the cache but the last ones, which a second one has.
struct Sequences {
  std::vector<int32_t> tokens[2], tables[2];

  explicit Sequences(int vocab) {
    std::mt19937 random(5);
    for (auto& sequence : tokens) {
      for (int i = 0; i < kNumBlocks * kBlockTokens; ++i) {
        sequence.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(vocab)));
      }
    }
    std::vector<int32_t> blocks(kNumBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random);
    tables[0].assign(blocks.begin(), blocks.end() - 4);
    tables[1].assign(blocks.end() - 4, blocks.end());
  }

  void add(Batch& batch, size_t which, int first, int count) const {
    const int at = static_cast<int>(batch.tokens.size());
    for (int i = 0; i < count; ++i) {
      batch.tokens.push_back(tokens[which][static_cast<size_t>(first + i)]);
      batch.logit_rows.push_back(at + i);
    }
    batch.sequences.push_back({at, count, first, tables[which]});
  }
};

std::vector<float> logits_of(Backend& backend, const Batch& batch) {
  const std::span<const float> logits = backend.forward(batch).logits;
  return {logits.begin(), logits.end()};
}

// The logits of kMostRows tokens from `first` on, one a step, after a prompt up to there.
std::vector<float> single_steps(Backend& backend, const Sequences& sequences, int first) {
  Batch prompt;
  sequences.add(prompt, 0, 0, first);
  prompt.logit_rows.clear();
  backend.forward(prompt);
  std::vector<float> all;
  for (int i = 0; i < kMostRows; ++i) {
    Batch step;
    sequences.add(step, 0, first + i, 1);
    const std::vector<float> logits = logits_of(backend, step);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

void expect_chunks_equal_single_steps(Backend& backend, int vocab, int first,
                                      const std::vector<int>& counts) {
  const Sequences sequences(vocab);
  const std::vector<float> expected = single_steps(backend, sequences, first);
  for (const int count : counts) {
    SCOPED_TRACE(std::to_string(count) + " tokens after " + std::to_string(first));
    Batch alone;
    sequences.add(alone, 0, first, count);
    const std::vector<float> got = logits_of(backend, alone);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), expected.begin()));
    if (count == kMostRows) continue;
    Batch mixed;  // beside another sequence
    sequences.add(mixed, 0, first, count);
    sequences.add(mixed, 1, 0, kMostRows - count);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), logits_of(backend, mixed).begin()));
  }
}

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
      expect_chunks_equal_single_steps(*backend, shape.vocab, 12, {2, 3, 4, 5, 6, 7, 8});
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
        expect_chunks_equal_single_steps(*backend, shape.vocab, 253, {2, 5, 8});
      }
    }
  }
}

// The last logits of a prompt that is computed in chunks of these sizes.
std::vector<float> prompt_logits(Backend& backend, const Sequences& sequences,
                                 const std::vector<int>& chunks) {
  std::vector<float> logits;
  int done = 0;
  for (const int count : chunks) {
    Batch batch;
    sequences.add(batch, 0, done, count);
    batch.logit_rows.assign(1, count - 1);
    batch.sequences[0].is_prompt = true;
    logits = logits_of(backend, batch);
    done += count;
  }
  return logits;
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
