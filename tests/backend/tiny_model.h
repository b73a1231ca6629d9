#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu_test_util.h"

namespace sluice::backend {

using quant::Type;

// A small decoder with everything an architecture may ask for.
struct TinyShape {
  Type type = Type::kQ4_0;
  std::optional<Type> other_type;  // of v and up, where it is another one
  int num_layers = 2, num_heads = 8, num_kv_heads = 2, head_dim = 32;
  int ffn = 512, vocab = 200;
  int window = 0;  // of every second layer
  bool is_interleaved = false, has_qk_norm = false, has_bias = false, has_post_norms = false;
  bool gathers_early = false;  // behind the last attention, as the decoder does
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
  int matrix(int columns, int rows) { return matrix(columns, rows, shape_.type); }
  int matrix(int columns, int rows, Type type) {
    const float size = type == Type::kF32 ? 1.0f : 2.5f;  // normal and uniform values
    return add(type, columns, rows, size / std::sqrt(static_cast<float>(columns)));
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
    int x = buffer(embedding), h = buffer(embedding), a = buffer(q_width), gate = buffer(s.ffn),
        up = buffer(s.ffn);
    const int q = buffer(q_width), k = buffer(kv_width), v = buffer(kv_width),
              last = buffer(embedding, RowKind::kOutputs),
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
    p.state = x;
    const Type other = s.other_type.value_or(s.type);
    for (int layer = 0; layer < s.num_layers; ++layer) {
      p.layer_starts.push_back(p.ops.size());
      p.ops.push_back(RmsNorm{x, norm(embedding), h, 1e-5f, false});
      const auto bias = [&](int rows) {
        return s.has_bias ? add(Type::kF32, rows, 1, 0.2f) : kNoWeight;
      };
      p.ops.push_back(Linear{h,
                             {{matrix(embedding, q_width), bias(q_width), q, false},
                              {matrix(embedding, kv_width), bias(kv_width), k, false},
                              {matrix(embedding, kv_width, other), kNoWeight, v, false}}});
      const int q_norm = s.has_qk_norm ? norm(s.head_dim) : kNoWeight;
      const int k_norm = s.has_qk_norm ? norm(s.head_dim) : kNoWeight;
      p.ops.push_back(RopeStore{q, k, v, layer, 0, q_norm, k_norm, 1e-6f});
      p.ops.push_back(Attention{q, a, layer, 1.0f / std::sqrt(static_cast<float>(s.head_dim)),
                                layer % 2 == 1 ? s.window : 0});
      if (s.gathers_early && layer + 1 == s.num_layers) {
        const auto gathered = [&](int& in, int width) {
          const int out = buffer(width, RowKind::kOutputs);
          p.ops.push_back(GatherRows{in, out});
          in = out;
        };
        gathered(a, q_width);
        gathered(x, embedding);
        h = buffer(embedding, RowKind::kOutputs);
        gate = buffer(s.ffn, RowKind::kOutputs);
        up = buffer(s.ffn, RowKind::kOutputs);
      }
      add_output(a, q_width, x, h);
      p.ops.push_back(RmsNorm{x, norm(embedding), h, 1e-5f, false});
      p.ops.push_back(Linear{h,
                             {{matrix(embedding, s.ffn), bias(s.ffn), gate, false},
                              {matrix(embedding, s.ffn, other), bias(s.ffn), up, false}}});
      p.ops.push_back(GatedActivation{gate, up, gate, s.activation});
      add_output(gate, s.ffn, x, h);
    }
    if (!s.gathers_early) p.ops.push_back(GatherRows{x, last});
    p.ops.push_back(RmsNorm{s.gathers_early ? x : last, norm(embedding), normed, 1e-5f, false});
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

inline constexpr int kNumBlocks = 64;

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

}  // namespace sluice::backend
