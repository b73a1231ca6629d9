#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>

#include "backend/backend.h"
#include "backend/cpu_test_util.h"
#include "backend/reference_errors.h"
#include "backend/tiny_model.h"
#include "base/error.h"

namespace sluice::backend {
namespace {

class CpuBackendOn : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> make(int threads = 2) { return make_cpu_backend({threads, GetParam()}); }

  static LoadOptions options() {
    LoadOptions o;
    o.max_batch_tokens = 128;
    o.max_logit_rows = 128;
    return o;
  }

  std::vector<double> errors(const TinyShape& shape, const std::vector<std::vector<int>>& steps,
                             int threads = 2, CacheType cache = CacheType::kF16) {
    LoadOptions with_cache = options();
    with_cache.cache_type = cache;
    return errors_to_reference(*make(threads), shape, steps, with_cache);
  }
};

TEST_P(CpuBackendOn, FloatModelEqualsReference) {
  TinyShape shape;
  shape.type = Type::kF32;
  for (double error : errors(shape, {{40, 7}, {1, 1}, {3, 60}, {1, 0}})) EXPECT_LT(error, 1e-3);
}

TEST_P(CpuBackendOn, QuantizedModelsStayNearTheReference) {
  for (Type type : {Type::kQ4_0, Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kBF16}) {
    SCOPED_TRACE(quant::type_info(type).name);
    TinyShape shape;
    shape.type = type;
    const std::vector<double> error = errors(shape, {{33, 20}, {1, 1}, {1, 0}});
    EXPECT_LT(error[0], 2e-2);    // 8-bit activations
    EXPECT_LT(error[1], 1.5e-2);  // of them, the keys and values are left
    EXPECT_LT(error[2], 1.5e-2);
  }
}

TEST_P(CpuBackendOn, DecodeLosesNothingToActivations) {
  TinyShape shape;
  for (double error : errors(shape, {{1, 1}, {1, 1}, {2, 2}, {3, 1}, {0, 4}})) {
    EXPECT_LT(error, 1.5e-3);
  }
}

TEST_P(CpuBackendOn, WindowsNormsBiasesAndCaps) {
  TinyShape shape;
  shape.type = Type::kF32;
  shape.window = 20;
  shape.has_qk_norm = shape.has_bias = shape.has_post_norms = true;
  shape.soft_cap = 5.0f;
  shape.activation = Activation::kGeluTanh;
  for (double error : errors(shape, {{50, 3}, {1, 1}, {40, 30}, {1, 1}})) EXPECT_LT(error, 1e-3);
  shape.is_interleaved = true;
  for (double error : errors(shape, {{50, 3}, {1, 1}})) EXPECT_LT(error, 1e-3);
}

TEST_P(CpuBackendOn, HeadShapes) {
  struct Heads {
    int heads, kv_heads, dim;
  };
  for (const Heads& h : {Heads{4, 4, 64}, Heads{8, 1, 16}, Heads{9, 3, 64}, Heads{3, 1, 80},
                         Heads{20, 1, 32}, Heads{5, 1, 256}, Heads{4, 2, 24}}) {
    if (h.heads * h.dim % 32 != 0) continue;
    SCOPED_TRACE(std::to_string(h.heads) + "/" + std::to_string(h.kv_heads) + " x " +
                 std::to_string(h.dim));
    TinyShape shape;
    shape.type = Type::kF32;
    shape.num_heads = h.heads;
    shape.num_kv_heads = h.kv_heads;
    shape.head_dim = h.dim;
    for (double error : errors(shape, {{37, 2}, {1, 1}, {9, 1}})) EXPECT_LT(error, 1e-3);
  }
}

TEST_P(CpuBackendOn, CacheInBytesStaysNearTheReference) {
  struct Heads {
    int heads, kv_heads, dim;
  };
  // Whole blocks of 32, halves, and what is not a whole vector either.
  for (const Heads& h : {Heads{8, 2, 64}, Heads{20, 1, 32}, Heads{2, 2, 48}, Heads{4, 2, 40}}) {
    SCOPED_TRACE(std::to_string(h.heads) + "/" + std::to_string(h.kv_heads) + " x " +
                 std::to_string(h.dim));
    TinyShape shape;
    shape.type = Type::kF32;
    shape.num_heads = h.heads;
    shape.num_kv_heads = h.kv_heads;
    shape.head_dim = h.dim;
    shape.window = 37;
    const std::vector<std::vector<int>> steps = {{100, 2}, {28, 16}, {1, 1}, {9, 3}};
    for (double error : errors(shape, steps, 2, CacheType::kQ8_0)) EXPECT_LT(error, 1.2e-2);
  }
}

TEST_P(CpuBackendOn, CacheInBytesIsSmallerAndReadsSharedBlocks) {
  const TinyModel model(TinyShape{}, 3);
  LoadOptions o = options();
  auto wide = make(), narrow = make();
  wide->load(model.program(), o);
  o.cache_type = CacheType::kQ8_0;
  narrow->load(model.program(), o);
  EXPECT_EQ(narrow->cache_block_bytes() * 16, wide->cache_block_bytes() * 9);
  wide->allocate_cache(kNumBlocks);
  narrow->allocate_cache(kNumBlocks);
  // A second sequence starts from the first one's two full blocks.
  Batch first, second;
  const std::vector<int32_t> tables[2] = {{7, 3, 5}, {7, 3, 9}};
  for (int i = 0; i < 40; ++i) first.tokens.push_back(i);
  first.sequences.push_back({0, 40, 0, tables[0]});
  second.tokens = {32, 33, 34};
  second.sequences.push_back({0, 3, 32, tables[1]});
  second.logit_rows = {2};
  std::vector<float> logits[2];
  for (Backend* backend : {wide.get(), narrow.get()}) {
    backend->forward(first);
    const std::span<const float> got = backend->forward(second).logits;
    logits[backend == narrow.get()].assign(got.begin(), got.end());
  }
  const double error = relative_error(logits[1], logits[0]);
  EXPECT_GT(error, 0.0);
  EXPECT_LT(error, 1.2e-2);
}

TEST_P(CpuBackendOn, LongSequencesSplitOverKeys) {
  TinyShape shape;
  shape.type = Type::kF32;
  shape.num_layers = 2;
  shape.window = 300;
  shape.num_heads = 2;
  shape.num_kv_heads = 1;
  shape.ffn = 64;
  shape.vocab = 32;
  const std::vector<std::vector<int>> steps = {{128}, {128}, {128}, {128}, {60}, {1}, {5}};
  for (int threads : {1, 2}) {
    for (double error : errors(shape, steps, threads)) EXPECT_LT(error, 1e-3);
    for (double error : errors(shape, steps, threads, CacheType::kQ8_0)) EXPECT_LT(error, 1.2e-2);
  }
}

TEST_P(CpuBackendOn, NoLogitRows) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make();
  backend->load(model.program(), options());
  backend->allocate_cache(kNumBlocks);
  Steps steps(1, 200, 5);
  Batch batch = steps.next({20}, false);
  batch.logit_rows.clear();
  EXPECT_TRUE(backend->forward(batch).logits.empty());
}

// Sampling settings of all kinds, one for each row of logits.
class Samplings {
 public:
  Samplings(size_t num_rows, int vocab_size, uint32_t seed) : random_(seed) {
    mask_.resize(static_cast<size_t>(vocab_size + 31) / 32);
    for (uint32_t& word : mask_) word = static_cast<uint32_t>(random_() | random_());
    for (int i = 0; i < 20; ++i) {
      history_.push_back(static_cast<int32_t>(random_() % static_cast<unsigned>(vocab_size)));
    }
    for (size_t row = 0; row < num_rows; ++row) all_.push_back(next(row));
  }
  const std::vector<RowSampling>& all() const { return all_; }

 private:
  RowSampling next(size_t row) {
    RowSampling sampling;
    sampling.seed = random_();
    sampling.position = row;
    if (row % 4 == 0) sampling.params.temperature = 0;
    if (row % 3 == 1) sampling.params.top_k = 0;
    if (row % 5 == 1) sampling.params.repeat_penalty = 1.3f;
    if (row % 7 == 2) sampling.mask = mask_;
    if (row % 6 == 3) sampling.num_top_logprobs = static_cast<int>(row % 4);
    sampling.history = std::span(history_).first(15);
    sampling.draft = std::span(history_).last(row % 5);
    return sampling;
  }

  std::mt19937 random_;
  std::vector<uint32_t> mask_;
  std::vector<int32_t> history_;
  std::vector<RowSampling> all_;
};

TEST_P(CpuBackendOn, DrawsWhatPlainSamplingDrawsFromItsLogits) {
  for (const int vocab : {7, 16, 200, 3003}) {
    for (const float soft_cap : {0.0f, 5.0f}) {
      SCOPED_TRACE(std::to_string(vocab) + " tokens, soft cap " + std::to_string(soft_cap));
      TinyShape shape;
      shape.num_layers = 1;
      shape.vocab = vocab;
      shape.soft_cap = soft_cap;
      const TinyModel model(shape, 7);
      auto backend = make();
      backend->load(model.program(), options());
      backend->allocate_cache(kNumBlocks);
      Steps steps(2, vocab, 11);
      for (const std::vector<int>& sizes :
           std::vector<std::vector<int>>{{60, 40}, {1, 1}, {1, 0}}) {
        Batch batch = steps.next(sizes, true);
        const std::span<const float> row_logits = backend->forward(batch).logits;
        std::vector<float> logits(row_logits.begin(), row_logits.end());
        const Samplings samplings(batch.logit_rows.size(), vocab, 5);
        std::vector<SampledToken> expected;
        sample_rows(logits, samplings.all(), expected);
        batch.samplings = samplings.all();
        const StepResult result = backend->forward(batch);
        EXPECT_TRUE(result.logits.empty());
        ASSERT_EQ(result.tokens.size(), expected.size());
        for (size_t i = 0; i < expected.size(); ++i) {
          EXPECT_EQ(result.tokens[i].token, expected[i].token) << "row " << i;
          EXPECT_EQ(result.tokens[i].logprob, expected[i].logprob) << "row " << i;
          EXPECT_EQ(result.tokens[i].top.size(), expected[i].top.size()) << "row " << i;
        }
      }
    }
  }
}

TEST_P(CpuBackendOn, ThreadsDoNotChangeTheResult) {
  const TinyModel model(TinyShape{}, 3);
  std::vector<std::vector<float>> logits;
  for (int threads : {1, 2, 5}) {
    auto backend = make(threads);
    backend->load(model.program(), options());
    backend->allocate_cache(kNumBlocks);
    Steps steps(2, 200, 5);
    backend->forward(steps.next({30, 9}, false));
    const std::span<const float> last = backend->forward(steps.next({1, 1}, false)).logits;
    logits.emplace_back(last.begin(), last.end());
  }
  EXPECT_EQ(logits[0], logits[1]);
  EXPECT_EQ(logits[0], logits[2]);
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuBackendOn, testing::ValuesIn(cpu::isas_here()),
                         [](const auto& info) { return info.param; });

TEST(CpuBackend, ReportsProgressAndMemory) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cpu_backend({2, ""});
  LoadOptions options;
  std::vector<double> fractions;
  options.on_progress = [&](double fraction) { fractions.push_back(fraction); };
  backend->load(model.program(), options);
  backend->allocate_cache(10);
  ASSERT_FALSE(fractions.empty());
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_DOUBLE_EQ(fractions.back(), 1.0);
  const MemoryUse use = backend->memory();
  EXPECT_GT(use.weights, 500'000u);
  EXPECT_GE(use.cache, 10 * backend->cache_block_bytes());
  EXPECT_EQ(backend->cache_block_bytes(), 2u * 2 * 2 * 32 * 16 * 2);
  EXPECT_GT(use.workspace, 0u);
}

TEST(CpuBackend, HoldsWhatItPlanned) {
  for (const bool is_reference : {false, true}) {
    for (const int threads : {1, 3}) {
      for (const CacheType cache : {CacheType::kF16, CacheType::kQ8_0}) {
        TinyShape shape;
        shape.has_bias = shape.has_qk_norm = threads == 3;
        const TinyModel model(shape, 3);
        auto backend =
            is_reference ? make_reference_backend(threads) : make_cpu_backend({threads, ""});
        LoadOptions options;
        options.cache_type = cache;
        options.max_embedding_rows = 16 * threads;
        const auto expect_planned = [&](int num_blocks) {
          const MemoryUse planned = backend->plan(model.program(), options, num_blocks);
          const MemoryUse held = backend->memory();
          EXPECT_EQ(planned.weights, held.weights);
          EXPECT_EQ(planned.cache, held.cache);
          EXPECT_EQ(planned.workspace, held.workspace);
        };
        backend->load(model.program(), options);
        expect_planned(0);
        for (const int num_blocks : {700, 3}) {
          backend->allocate_cache(num_blocks);
          expect_planned(num_blocks);
        }
      }
    }
  }
}

TEST(CpuBackend, AStepThatFailsLeavesItReadyForTheNext) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cpu_backend({2, ""});
  backend->load(model.program(), {});
  backend->allocate_cache(1);
  const std::vector<int32_t> blocks = {0};
  Batch batch;
  batch.tokens = {1, 2, 3};
  batch.sequences.push_back({0, 3, 0, blocks, true});
  batch.logit_rows = {1, 2};
  batch.samplings.resize(1);  // of two rows
  EXPECT_THROW(backend->submit(batch), Error);
  batch.samplings.resize(2);
  EXPECT_EQ(backend->forward(batch).tokens.size(), 2u);
}

TEST(CpuBackend, PassesOnWhatProgressThrows) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cpu_backend({2, ""});
  LoadOptions options;
  options.on_progress = [](double) { throw Error(ErrorCode::kCancelled, "enough"); };
  EXPECT_THROW(backend->load(model.program(), options), Error);
}

// All weights of a program in one file.
void write_weights(Program& program, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  for (const Weight& weight : program.weights) {
    const std::vector<std::byte> bytes = weight.data.read();
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<int64_t>(bytes.size()));
  }
}
void take_from_file(Program& program, const InputFile& file) {
  uint64_t offset = 0;
  for (Weight& weight : program.weights) {
    const uint64_t size = weight.data.size();
    weight.data = ByteRange(file).part(offset, size);
    offset += size;
  }
}

TEST(CpuBackend, NeedsNothingOfTheFileOnceItIsLoaded) {
  const std::string path = ::testing::TempDir() + "sluice_cpu_backend_weights";
  for (const bool is_reference : {false, true}) {
    const TinyModel model(TinyShape{}, 3);
    const auto make = [&] {
      return is_reference ? make_reference_backend(2) : make_cpu_backend({2, ""});
    };
    Program program = model.program();
    write_weights(program, path);
    auto expected = make(), backend = make();
    expected->load(model.program(), {});
    {
      const InputFile file(path);
      take_from_file(program, file);
      backend->load(program, {});
    }
    std::filesystem::resize_file(path, 0);
    const std::vector<int32_t> blocks = {0};
    Batch batch;
    batch.tokens = {1, 2, 3};
    batch.sequences.push_back({0, 3, 0, blocks, true});
    batch.logit_rows = {2};
    std::vector<float> logits[2];
    for (Backend* each : {expected.get(), backend.get()}) {
      each->allocate_cache(1);
      const auto row = each->forward(batch).logits;
      logits[each == backend.get()].assign(row.begin(), row.end());
    }
    EXPECT_EQ(logits[0], logits[1]);
  }
}

TEST(CpuBackend, AFileCutShortWhileItIsLoadedIsAnError) {
  const std::string path = ::testing::TempDir() + "sluice_cpu_backend_weights";
  const TinyModel model(TinyShape{}, 3);
  for (const bool is_reference : {false, true}) {
    Program program = model.program();
    write_weights(program, path);
    const InputFile file(path);
    take_from_file(program, file);
    std::filesystem::resize_file(path, file.size_bytes() / 2);
    auto backend = is_reference ? make_reference_backend(2) : make_cpu_backend({2, ""});
    try {
      backend->load(program, {});
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptData) << error.what();
    }
  }
}

TEST(CpuBackend, RefusesWhatItCannotRun) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cpu_backend({1, ""});
  Program program = model.program();
  program.weights[1].data = program.weights[1].data.part(4, program.weights[1].data.size() - 4);
  EXPECT_THROW(backend->load(program, {}), Error);
  program = model.program();
  std::get<Linear>(program.ops[2]).parts[0].weight = 999;
  EXPECT_THROW(backend->load(program, {}), Error);
  EXPECT_THROW(make_cpu_backend({1, "sse9"}), Error);
  backend->load(model.program(), {});
  EXPECT_THROW(backend->allocate_cache(0), Error);
  EXPECT_THROW(backend->allocate_cache(1 << 30), Error);
}

}  // namespace
}  // namespace sluice::backend
