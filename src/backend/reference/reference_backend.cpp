#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>
#include <variant>

#include "backend/backend.h"
#include "backend/check.h"
#include "base/error.h"
#include "base/target_clones.h"
#include "quant/codec.h"

namespace sluice::backend {
namespace {

// Sixteen partial sums: they keep the rounding error small and let the compiler use vectors.
SLUICE_TARGET_CLONES float dot(const float* a, const float* b, int64_t n) {
  constexpr int kLanes = 16;
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0.0f;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (const float partial : sums) sum += partial;
  return sum;
}

void add_scaled(float* out, const float* in, float factor, int n) {
  for (int i = 0; i < n; ++i) out[i] += factor * in[i];
}

void rms_norm(const float* in, const float* weight, float eps, int n, float* out, bool accumulate) {
  const float mean_square = dot(in, in, n) / static_cast<float>(n);
  const float scale = 1.0f / std::sqrt(mean_square + eps);
  for (int i = 0; i < n; ++i) {
    const float value = in[i] * scale * weight[i];
    out[i] = accumulate ? out[i] + value : value;
  }
}

float activate(Activation activation, float x) {
  if (activation == Activation::kSilu) return x / (1.0f + std::exp(-x));
  constexpr float kSqrt2OverPi = 0.79788456080286535588f;
  return 0.5f * x * (1.0f + std::tanh(kSqrt2OverPi * (x + 0.044715f * x * x * x)));
}

// Rotates one head in place; cosines and sines are [rotated dims / 2].
void rotate(float* head, const Rope& rope, const float* cosines, const float* sines) {
  const size_t half = rope.inverse_frequency.size();
  for (size_t i = 0; i < half; ++i) {
    float& a = head[rope.is_interleaved ? 2 * i : i];
    float& b = head[rope.is_interleaved ? 2 * i + 1 : i + half];
    const float rotated_a = a * cosines[i] - b * sines[i];
    b = a * sines[i] + b * cosines[i];
    a = rotated_a;
  }
}

class ReferenceBackend final : public Backend {
 public:
  explicit ReferenceBackend(int num_threads) : num_threads_(std::max(1, num_threads)) {}

  // Every row is computed by itself, the same in a step of any size.
  Traits traits() const override { return {kManyRows, kManyRows, 1, true}; }

  std::string description() const override {
    return "reference f32, " + std::to_string(num_threads_) + " threads";
  }

  MemoryUse plan(const Program& program, const LoadOptions& options,
                 int num_blocks) const override {
    MemoryUse use;
    for (const Weight& weight : program.weights) use.weights += weight.data.size();
    use.cache = static_cast<size_t>(num_blocks) * block_bytes(program);
    for (const Buffer& buffer : program.buffers) {
      use.workspace += buffer_floats(buffer, options) * sizeof(float);
    }
    return use;
  }

  void load(Program program, const LoadOptions& options) override {
    program_ = std::move(program);
    options_ = options;
    buffers_.clear();
    for (const Buffer& buffer : program_.buffers) {
      buffers_.emplace_back(buffer_floats(buffer, options));
    }
    bytes_.clear();
    vectors_.clear();
    for (Weight& weight : program_.weights) {
      bytes_.push_back(weight.data.read());
      weight.data = bytes_.back();
      std::vector<float> values;
      if (weight.rows == 1) values = dequantized_rows(weight, 0, 1);
      vectors_.push_back(std::move(values));
    }
    if (options.on_progress) options.on_progress(1.0);
  }

  size_t cache_block_bytes() const override { return block_bytes(program_); }

  void allocate_cache(int num_blocks) override {
    num_blocks_ = num_blocks;
    const size_t floats = static_cast<size_t>(num_blocks) * block_floats(program_);
    keys_.assign(static_cast<size_t>(program_.num_layers), std::vector<float>(floats));
    values_ = keys_;
  }

  void submit(const Batch& batch) override {
    check_batch(batch, program_, options_, num_blocks_);
    batch_ = &batch;
  }

  StepResult wait() override {
    for (const Op& op : program_.ops) {
      std::visit([this](const auto& typed) { run(typed); }, op);
    }
    const size_t num_logit_rows = batch_->logit_rows.size();
    const std::span<float> logits(data(program_.logits), num_logit_rows * width(program_.logits));
    sample_rows(logits, batch_->samplings, sampled_);
    StepResult result;
    result.tokens = sampled_;
    if (batch_->samplings.empty()) result.logits = logits;
    result.embeddings = {row(program_.hidden, num_logit_rows),
                         batch_->embedding_rows.size() * width(program_.hidden)};
    return result;
  }

  MemoryUse memory() const override { return plan(program_, options_, num_blocks_); }

 private:
  static constexpr int kManyRows = 64;

  static size_t buffer_floats(const Buffer& buffer, const LoadOptions& options) {
    return static_cast<size_t>(buffer.width) * static_cast<size_t>(max_rows(buffer.rows, options));
  }
  // Floats that one block takes in one layer, for keys or for values.
  static size_t block_floats(const Program& program) {
    return static_cast<size_t>(kBlockTokens) * static_cast<size_t>(program.num_kv_heads) *
           static_cast<size_t>(program.head_dim);
  }
  static size_t block_bytes(const Program& program) {
    return 2 * static_cast<size_t>(program.num_layers) * block_floats(program) * sizeof(float);
  }

  float* data(BufferId id) { return buffers_[static_cast<size_t>(id)].data(); }
  float* row(BufferId id, size_t index) { return data(id) + index * width(id); }
  size_t width(BufferId id) const {
    return static_cast<size_t>(program_.buffers[static_cast<size_t>(id)].width);
  }
  size_t num_rows(BufferId id) const {
    return count_rows(program_.buffers[static_cast<size_t>(id)].rows, *batch_);
  }
  const Weight& weight(WeightId id) const { return program_.weights[static_cast<size_t>(id)]; }
  const float* vector(WeightId id) const { return vectors_[static_cast<size_t>(id)].data(); }

  // Where the key or value of `position` starts: [num_kv_heads, head_dim].
  size_t cache_offset(const BatchSequence& sequence, int position) const {
    const size_t block =
        static_cast<size_t>(sequence.block_table[static_cast<size_t>(position / kBlockTokens)]);
    return (block * kBlockTokens + static_cast<size_t>(position % kBlockTokens)) *
           static_cast<size_t>(program_.num_kv_heads) * static_cast<size_t>(program_.head_dim);
  }

  static std::vector<float> dequantized_rows(const Weight& weight, int64_t first, int64_t count) {
    std::vector<float> values(static_cast<size_t>(count * weight.columns));
    const size_t row_bytes = quant::size_bytes(weight.type, weight.columns);
    quant::dequantize(weight.type,
                      weight.data.memory().data() + static_cast<size_t>(first) * row_bytes,
                      values.data(), count * weight.columns);
    return values;
  }

  // Calls body(i) for i in [0, count), split over the threads in ranges.
  template <typename Body>
  void parallel_for(int64_t count, const Body& body) {
    const auto run_range = [&](int64_t thread) {
      const int64_t begin = count * thread / num_threads_;
      const int64_t end = count * (thread + 1) / num_threads_;
      for (int64_t i = begin; i < end; ++i) body(i);
    };
    std::vector<std::jthread> threads;
    for (int thread = 1; thread < num_threads_; ++thread) threads.emplace_back(run_range, thread);
    run_range(0);
  }

  void run(const Embed& op) {
    const Weight& table = weight(op.table);
    for (size_t t = 0; t < batch_->tokens.size(); ++t) {
      const std::vector<float> embedding = dequantized_rows(table, batch_->tokens[t], 1);
      float* out = row(op.out, t);
      for (size_t i = 0; i < embedding.size(); ++i) out[i] = embedding[i] * op.scale;
    }
  }

  void run(const Receive& op) {
    std::copy(batch_->received.begin(), batch_->received.end(), data(op.out));
  }

  void run(const RmsNorm& op) {
    for (size_t t = 0; t < num_rows(op.in); ++t) {
      rms_norm(row(op.in, t), vector(op.weight), op.eps, static_cast<int>(width(op.in)),
               row(op.out, t), op.accumulate);
    }
  }

  void run(const Linear& op) {
    for (const LinearPart& part : op.parts) run_part(op.in, part);
  }

  void run_part(BufferId in, const LinearPart& part) {
    const Weight& matrix = weight(part.weight);
    const size_t rows = num_rows(part.out);
    if (rows == 0) return;
    parallel_for(matrix.rows, [&](int64_t r) {
      const std::vector<float> values = dequantized_rows(matrix, r, 1);
      const float bias = part.bias == kNoWeight ? 0.0f : vector(part.bias)[r];
      for (size_t t = 0; t < rows; ++t) {
        const float result = dot(values.data(), row(in, t), matrix.columns) + bias;
        float& out = row(part.out, t)[r];
        out = part.accumulate ? out + result : result;
      }
    });
  }

  void run(const RopeStore& op) {
    const Rope& rope = program_.ropes[static_cast<size_t>(op.rope)];
    std::vector<float> cosines(rope.inverse_frequency.size()), sines(cosines.size());
    for (const BatchSequence& sequence : batch_->sequences) {
      for (int i = 0; i < sequence.num_tokens; ++i) {
        const int position = sequence.num_cached + i;
        const size_t t = static_cast<size_t>(sequence.first_token + i);
        for (size_t pair = 0; pair < cosines.size(); ++pair) {
          const double angle = static_cast<double>(position) * rope.inverse_frequency[pair];
          cosines[pair] = static_cast<float>(std::cos(angle));
          sines[pair] = static_cast<float>(std::sin(angle));
        }
        normalise_and_rotate(row(op.q, t), program_.num_heads, op, op.q_norm, rope, cosines, sines);
        normalise_and_rotate(row(op.k, t), program_.num_kv_heads, op, op.k_norm, rope, cosines,
                             sines);
        const size_t offset = cache_offset(sequence, position);
        const size_t layer = static_cast<size_t>(op.layer);
        std::copy_n(row(op.k, t), width(op.k),
                    keys_[layer].begin() + static_cast<ptrdiff_t>(offset));
        std::copy_n(row(op.v, t), width(op.v),
                    values_[layer].begin() + static_cast<ptrdiff_t>(offset));
      }
    }
  }

  void normalise_and_rotate(float* heads, int num_heads, const RopeStore& op, WeightId norm,
                            const Rope& rope, const std::vector<float>& cosines,
                            const std::vector<float>& sines) {
    for (int h = 0; h < num_heads; ++h) {
      float* head = heads + h * program_.head_dim;
      if (norm != kNoWeight) {
        rms_norm(head, vector(norm), op.norm_eps, program_.head_dim, head, false);
      }
      rotate(head, rope, cosines.data(), sines.data());
    }
  }

  void run(const Attention& op) {
    for (const BatchSequence& sequence : batch_->sequences) {
      parallel_for(int64_t{sequence.num_tokens} * program_.num_heads, [&](int64_t job) {
        attend(op, sequence, static_cast<int>(job / program_.num_heads),
               static_cast<int>(job % program_.num_heads));
      });
    }
  }

  // One query head of one token over all it may see.
  void attend(const Attention& op, const BatchSequence& sequence, int i, int head) {
    const int head_dim = program_.head_dim;
    const int position = sequence.num_cached + i;
    const int first = op.window > 0 ? std::max(0, position - op.window + 1) : 0;
    const size_t kv_offset =
        static_cast<size_t>(head / (program_.num_heads / program_.num_kv_heads) * head_dim);
    const size_t t = static_cast<size_t>(sequence.first_token + i);
    const float* query = row(op.q, t) + head * head_dim;
    const std::vector<float>& keys = keys_[static_cast<size_t>(op.layer)];
    const std::vector<float>& values = values_[static_cast<size_t>(op.layer)];

    std::vector<float> scores(static_cast<size_t>(position - first + 1));
    for (int p = first; p <= position; ++p) {
      const float* key = keys.data() + cache_offset(sequence, p) + kv_offset;
      scores[static_cast<size_t>(p - first)] = dot(query, key, head_dim) * op.scale;
    }
    const float max = *std::max_element(scores.begin(), scores.end());
    double sum = 0.0;
    for (float& score : scores) {
      score = std::exp(score - max);
      sum += score;
    }
    float* out = row(op.out, t) + head * head_dim;
    std::fill_n(out, head_dim, 0.0f);
    for (int p = first; p <= position; ++p) {
      const float* value = values.data() + cache_offset(sequence, p) + kv_offset;
      const float probability = static_cast<float>(scores[static_cast<size_t>(p - first)] / sum);
      add_scaled(out, value, probability, head_dim);
    }
  }

  void run(const GatedActivation& op) {
    for (size_t t = 0; t < num_rows(op.gate); ++t) {
      const float* gate = row(op.gate, t);
      const float* up = row(op.up, t);
      float* out = row(op.out, t);
      for (size_t i = 0; i < width(op.gate); ++i) out[i] = activate(op.activation, gate[i]) * up[i];
    }
  }

  void run(const GatherRows& op) {
    for (size_t i = 0; i < batch_->num_output_rows(); ++i) {
      std::copy_n(row(op.in, static_cast<size_t>(batch_->output_row(i))), width(op.in),
                  row(op.out, i));
    }
  }

  void run(const SoftCap& op) {
    const size_t count = num_rows(op.buffer) * width(op.buffer);
    float* values = data(op.buffer);
    for (size_t i = 0; i < count; ++i) values[i] = op.cap * std::tanh(values[i] / op.cap);
  }

  int num_threads_;
  Program program_;
  LoadOptions options_;
  int num_blocks_ = 0;
  std::vector<std::vector<float>> buffers_;
  std::vector<std::vector<std::byte>> bytes_;  // of the weights, in file form
  std::vector<std::vector<float>> vectors_;    // decoded norms and biases, by weight id
  std::vector<std::vector<float>> keys_;       // one a layer: [block, token in block, kv head, dim]
  std::vector<std::vector<float>> values_;
  const Batch* batch_ = nullptr;
  std::vector<SampledToken> sampled_;  // of batch_->samplings
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend(int num_threads) {
  return std::make_unique<ReferenceBackend>(num_threads);
}

}  // namespace sluice::backend
