#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "backend/backend.h"
#include "backend/cpu_test_util.h"
#include "base/error.h"

namespace sluice::backend {
namespace {

using quant::Type;

// A small decoder with everything an architecture may ask for.
struct TinyShape {
  Type type = Type::kQ4_0;
  int num_layers = 2, num_heads = 8, num_kv_heads = 2, head_dim = 32;
  int ffn = 512, vocab = 200;
  int window = 0;  // of every second layer
  bool is_interleaved = false, has_qk_norm = false, has_bias = false, has_post_norms = false;
  float soft_cap = 0.0f;
  Activation activation = Activation::kSilu;
};

class TinyModel {
 public:
  TinyModel(const TinyShape& shape, uint32_t seed) : shape_(shape), random_(seed) { build(); }

  const Program& program() const { return program_; }

 private:
  int add(Type type, int columns, int rows, float size, float offset = 0.0f) {
    storage_.push_back(std::make_unique<std::vector<std::byte>>());
    auto& bytes = *storage_.back();
    if (type == Type::kF32) {
      std::vector<float> values = cpu::random_floats(
          static_cast<size_t>(columns) * static_cast<size_t>(rows), random_, size);
      for (float& value : values) value += offset;
      bytes.resize(values.size() * 4);
      std::memcpy(bytes.data(), values.data(), bytes.size());
    } else {
      bytes = cpu::random_tensor(type, int64_t{columns} * rows, random_, size);
    }
    const auto id = static_cast<int>(program_.weights.size());
    program_.weights.push_back({"weight." + std::to_string(id), type, columns, rows, bytes});
    return id;
  }
  int norm(int columns) { return add(Type::kF32, columns, 1, 0.1f, 1.0f); }
  int matrix(int columns, int rows) {
    const float size = shape_.type == Type::kF32 ? 1.0f : 2.5f;  // normal and uniform values
    return add(shape_.type, columns, rows, size / std::sqrt(static_cast<float>(columns)));
  }
  int buffer(int width, RowKind rows = RowKind::kTokens) {
    program_.buffers.push_back({width, rows});
    return static_cast<int>(program_.buffers.size()) - 1;
  }

  void build() {
    const TinyShape& s = shape_;
    Program& p = program_;
    p.num_layers = s.num_layers;
    p.num_heads = s.num_heads;
    p.num_kv_heads = s.num_kv_heads;
    p.head_dim = s.head_dim;
    p.vocab_size = s.vocab;
    const int embedding = 256, q_width = s.num_heads * s.head_dim,
              kv_width = s.num_kv_heads * s.head_dim;
    const int x = buffer(embedding), h = buffer(embedding), q = buffer(q_width),
              k = buffer(kv_width), v = buffer(kv_width), a = buffer(q_width), gate = buffer(s.ffn),
              up = buffer(s.ffn), last = buffer(embedding, RowKind::kOutputs),
              normed = buffer(embedding, RowKind::kOutputs),
              logits = buffer(s.vocab, RowKind::kLogits);
    p.logits = logits;
    p.hidden = normed;
    Rope rope{{}, s.is_interleaved};
    for (int i = 0; i < s.head_dim / 2; ++i) {
      rope.inverse_frequency.push_back(
          std::pow(10000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(s.head_dim)));
    }
    p.ropes = {rope};
    const int table = add(s.type, embedding, s.vocab, 1.0f);
    p.ops.push_back(Embed{table, x, 1.5f});
    for (int layer = 0; layer < s.num_layers; ++layer) {
      p.ops.push_back(RmsNorm{x, norm(embedding), h, 1e-5f, false});
      const auto bias = [&](int rows) {
        return s.has_bias ? add(Type::kF32, rows, 1, 0.2f) : kNoWeight;
      };
      p.ops.push_back(Linear{h,
                             {{matrix(embedding, q_width), bias(q_width), q, false},
                              {matrix(embedding, kv_width), bias(kv_width), k, false},
                              {matrix(embedding, kv_width), kNoWeight, v, false}}});
      const int q_norm = s.has_qk_norm ? norm(s.head_dim) : kNoWeight;
      const int k_norm = s.has_qk_norm ? norm(s.head_dim) : kNoWeight;
      p.ops.push_back(RopeStore{q, k, v, layer, 0, q_norm, k_norm, 1e-6f});
      p.ops.push_back(Attention{q, a, layer, 1.0f / std::sqrt(static_cast<float>(s.head_dim)),
                                layer % 2 == 1 ? s.window : 0});
      add_output(a, q_width, x, h);
      p.ops.push_back(RmsNorm{x, norm(embedding), h, 1e-5f, false});
      p.ops.push_back(Linear{h,
                             {{matrix(embedding, s.ffn), kNoWeight, gate, false},
                              {matrix(embedding, s.ffn), kNoWeight, up, false}}});
      p.ops.push_back(GatedActivation{gate, up, gate, s.activation});
      add_output(gate, s.ffn, x, h);
    }
    p.ops.push_back(GatherRows{x, last});
    p.ops.push_back(RmsNorm{last, norm(embedding), normed, 1e-5f, false});
    p.ops.push_back(Linear{normed, {{table, kNoWeight, logits, false}}});
    if (s.soft_cap > 0) p.ops.push_back(SoftCap{logits, s.soft_cap});
  }

  // x += in * matrix^T, through a norm of its own if the shape says so.
  void add_output(int in, int columns, int x, int h) {
    const bool direct = !shape_.has_post_norms;
    program_.ops.push_back(Linear{in, {{matrix(columns, 256), kNoWeight, direct ? x : h, direct}}});
    if (!direct) program_.ops.push_back(RmsNorm{h, norm(256), x, 1e-5f, true});
  }

  TinyShape shape_;
  std::mt19937 random_;
  Program program_;
  std::vector<std::unique_ptr<std::vector<std::byte>>> storage_;
};

constexpr int kNumBlocks = 64;

// Sequences with shuffled block tables, advanced in steps of the given sizes.
class Steps {
 public:
  Steps(int num_sequences, int vocab, uint32_t seed) : random_(seed), vocab_(vocab) {
    std::vector<int32_t> blocks(kNumBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random_);
    const size_t each = kNumBlocks / static_cast<size_t>(num_sequences);
    for (size_t s = 0; s < static_cast<size_t>(num_sequences); ++s) {
      tables_.emplace_back(blocks.begin() + static_cast<ptrdiff_t>(s * each),
                           blocks.begin() + static_cast<ptrdiff_t>((s + 1) * each));
    }
    cached_.assign(static_cast<size_t>(num_sequences), 0);
  }

  // sizes[s] tokens of sequence s; logits of every row or only of the last of each sequence.
  Batch next(const std::vector<int>& sizes, bool all_logits) {
    Batch batch;
    for (size_t s = 0; s < sizes.size(); ++s) {
      if (sizes[s] == 0) continue;
      const int first = static_cast<int>(batch.tokens.size());
      for (int i = 0; i < sizes[s]; ++i) {
        batch.tokens.push_back(static_cast<int32_t>(random_() % static_cast<unsigned>(vocab_)));
        if (all_logits || i + 1 == sizes[s]) batch.logit_rows.push_back(first + i);
      }
      batch.sequences.push_back({first, sizes[s], cached_[s], tables_[s]});
      cached_[s] += sizes[s];
    }
    return batch;
  }

 private:
  std::mt19937 random_;
  int vocab_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<int> cached_;
};

class CpuBackendOn : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> make(int threads = 2) { return make_cpu_backend({threads, GetParam()}); }

  static LoadOptions options() {
    LoadOptions o;
    o.max_batch_tokens = 128;
    o.max_logit_rows = 128;
    return o;
  }

  // Runs the same steps here and on the reference; returns the relative error of each step's
  // logits.
  std::vector<double> errors(const TinyShape& shape, const std::vector<std::vector<int>>& steps,
                             int threads = 2) {
    const TinyModel model(shape, 7);
    auto reference = make_reference_backend(1);
    auto backend = make(threads);
    for (Backend* b : {reference.get(), backend.get()}) {
      b->load(model.program(), options());
      b->allocate_cache(kNumBlocks);
    }
    Steps sequences(static_cast<int>(steps.front().size()), shape.vocab, 11);
    std::vector<double> result;
    for (const std::vector<int>& sizes : steps) {
      const Batch batch = sequences.next(sizes, true);
      const std::span<float> expected = reference->forward(batch).logits;
      const std::span<float> got = backend->forward(batch).logits;
      EXPECT_EQ(got.size(), expected.size());
      double difference = 0, size = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        difference += std::pow(double{got[i]} - expected[i], 2);
        size += std::pow(double{expected[i]}, 2);
      }
      EXPECT_TRUE(std::isfinite(difference));
      result.push_back(std::sqrt(difference / size));
    }
    return result;
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

TEST_P(CpuBackendOn, ThreadsDoNotChangeTheResult) {
  const TinyModel model(TinyShape{}, 3);
  std::vector<std::vector<float>> logits;
  for (int threads : {1, 2, 5}) {
    auto backend = make(threads);
    backend->load(model.program(), options());
    backend->allocate_cache(kNumBlocks);
    Steps steps(2, 200, 5);
    backend->forward(steps.next({30, 9}, false));
    const std::span<float> last = backend->forward(steps.next({1, 1}, false)).logits;
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

TEST(CpuBackend, PassesOnWhatProgressThrows) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cpu_backend({2, ""});
  LoadOptions options;
  options.on_progress = [](double) { throw Error(ErrorCode::kCancelled, "enough"); };
  EXPECT_THROW(backend->load(model.program(), options), Error);
}

TEST(CpuBackend, RefusesWhatItCannotRun) {
  const TinyModel model(TinyShape{}, 3);
  auto backend = make_cpu_backend({1, ""});
  LoadOptions options;
  options.cache_type = CacheType::kF32;
  EXPECT_THROW(backend->load(model.program(), options), Error);
  Program program = model.program();
  program.weights[1].data = program.weights[1].data.subspan(4);
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
