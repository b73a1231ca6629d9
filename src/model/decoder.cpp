#include <cmath>
#include <string>

#include "base/error.h"
#include "model/model.h"

namespace sluice::model {
namespace {

using backend::Attention;
using backend::BufferId;
using backend::Embed;
using backend::GatedActivation;
using backend::GatherRows;
using backend::kNoWeight;
using backend::Linear;
using backend::Program;
using backend::RmsNorm;
using backend::RopeStore;
using backend::RowKind;
using backend::SoftCap;
using backend::WeightId;

backend::Rope make_rope(const RopeSpec& spec) {
  backend::Rope rope;
  rope.is_interleaved = spec.is_interleaved;
  for (int i = 0; i < spec.num_dims / 2; ++i) {
    const double exponent = 2.0 * i / spec.num_dims;
    double frequency = std::pow(static_cast<double>(spec.freq_base), -exponent) * spec.freq_scale;
    if (!spec.freq_divisors.empty()) frequency /= spec.freq_divisors[static_cast<size_t>(i)];
    rope.inverse_frequency.push_back(static_cast<float>(frequency));
  }
  return rope;
}

// Writes the operations down. Reads as the forward pass does; a buffer's name is what it holds.
class DecoderBuilder {
 public:
  DecoderBuilder(const ModelSpec& spec, const gguf::File& file) : spec_(spec), file_(file) {
    q_width_ = spec.num_heads * spec.head_dim;
    kv_width_ = spec.num_kv_heads * spec.head_dim;
    program_.num_layers = spec.num_layers;
    program_.num_heads = spec.num_heads;
    program_.num_kv_heads = spec.num_kv_heads;
    program_.head_dim = spec.head_dim;
    program_.vocab_size = spec.vocab_size;
    program_.ropes.push_back(make_rope(spec.rope));
    if (spec.local_rope) program_.ropes.push_back(make_rope(*spec.local_rope));
  }

  Program build() {
    const WeightId embedding =
        weight("token_embd.weight", spec_.embedding_length, spec_.vocab_size);
    residual_ = buffer(spec_.embedding_length, RowKind::kTokens);
    normed_ = buffer(spec_.embedding_length, RowKind::kTokens);
    attended_ = buffer(q_width_, RowKind::kTokens);
    q_ = buffer(q_width_, RowKind::kTokens);
    k_ = buffer(kv_width_, RowKind::kTokens);
    v_ = buffer(kv_width_, RowKind::kTokens);
    allocate_feed_forward(RowKind::kTokens);

    program_.ops.push_back(Embed{embedding, residual_, spec_.embedding_scale});
    program_.state = residual_;
    for (int layer = 0; layer < spec_.num_layers; ++layer) {
      program_.layer_starts.push_back(program_.ops.size());
      attention(layer);
      if (layer == spec_.num_layers - 1) keep_wanted_rows();
      attention_output(layer);
      feed_forward(layer);
    }
    norm(residual_, "output_norm.weight", normed_, false);
    head(embedding);
    return std::move(program_);
  }

 private:
  void attention(int layer) {
    norm(residual_, block(layer, "attn_norm.weight"), normed_, false);
    Linear qkv{normed_, {}};
    add_projection(qkv, layer, "attn_q", q_width_, q_);
    add_projection(qkv, layer, "attn_k", kv_width_, k_);
    add_projection(qkv, layer, "attn_v", kv_width_, v_);
    program_.ops.push_back(std::move(qkv));

    const bool has_window = spec_.layer_has_window(layer);
    const int rope = has_window && spec_.local_rope ? 1 : 0;
    WeightId q_norm = kNoWeight, k_norm = kNoWeight;
    if (spec_.has_qk_norm) {
      q_norm = weight(block(layer, "attn_q_norm.weight"), spec_.head_dim, 1);
      k_norm = weight(block(layer, "attn_k_norm.weight"), spec_.head_dim, 1);
    }
    program_.ops.push_back(RopeStore{q_, k_, v_, layer, rope, q_norm, k_norm, spec_.norm_eps});
    program_.ops.push_back(Attention{q_, attended_, layer, spec_.attention_scale,
                                     has_window ? spec_.sliding_window : 0});
  }

  // After the last attention only the tokens that something is wanted of are needed.
  void keep_wanted_rows() {
    const BufferId attended = buffer(q_width_, RowKind::kOutputs);
    const BufferId residual = buffer(spec_.embedding_length, RowKind::kOutputs);
    program_.ops.push_back(GatherRows{attended_, attended});
    program_.ops.push_back(GatherRows{residual_, residual});
    attended_ = attended;
    residual_ = residual;
    normed_ = buffer(spec_.embedding_length, RowKind::kOutputs);
    allocate_feed_forward(RowKind::kOutputs);
  }

  void attention_output(int layer) {
    const WeightId matrix =
        weight(block(layer, "attn_output.weight"), q_width_, spec_.embedding_length);
    const WeightId bias =
        optional_weight(block(layer, "attn_output.bias"), spec_.embedding_length, 1);
    add_to_residual(attended_, matrix, bias, layer, "post_attention_norm.weight");
  }

  void feed_forward(int layer) {
    norm(residual_, block(layer, "ffn_norm.weight"), normed_, false);
    Linear gate_up{normed_, {}};
    add_projection(gate_up, layer, "ffn_gate", spec_.feed_forward_length, gate_);
    add_projection(gate_up, layer, "ffn_up", spec_.feed_forward_length, up_);
    program_.ops.push_back(std::move(gate_up));
    program_.ops.push_back(GatedActivation{gate_, up_, gate_, spec_.activation});
    const WeightId down =
        weight(block(layer, "ffn_down.weight"), spec_.feed_forward_length, spec_.embedding_length);
    add_to_residual(gate_, down, kNoWeight, layer, "post_ffw_norm.weight");
  }

  // residual += in * matrix^T, with Gemma's norm in between.
  void add_to_residual(BufferId in, WeightId matrix, WeightId bias, int layer,
                       const std::string& post_norm) {
    if (!spec_.has_post_norms) {
      program_.ops.push_back(Linear{in, {{matrix, bias, residual_, true}}});
      return;
    }
    program_.ops.push_back(Linear{in, {{matrix, bias, normed_, false}}});
    norm(normed_, block(layer, post_norm), residual_, true);
  }

  void head(WeightId embedding) {
    WeightId matrix = optional_weight("output.weight", spec_.embedding_length, spec_.vocab_size);
    if (matrix == kNoWeight) matrix = embedding;
    program_.hidden = normed_;
    program_.logits = buffer(spec_.vocab_size, RowKind::kLogits);
    program_.ops.push_back(Linear{normed_, {{matrix, kNoWeight, program_.logits, false}}});
    if (spec_.logit_softcap > 0.0f) {
      program_.ops.push_back(SoftCap{program_.logits, spec_.logit_softcap});
    }
  }

  void allocate_feed_forward(RowKind rows) {
    gate_ = buffer(spec_.feed_forward_length, rows);
    up_ = buffer(spec_.feed_forward_length, rows);
  }

  void norm(BufferId in, const std::string& name, BufferId out, bool accumulate) {
    const WeightId scale = weight(name, spec_.embedding_length, 1);
    program_.ops.push_back(RmsNorm{in, scale, out, spec_.norm_eps, accumulate});
  }

  void add_projection(Linear& linear, int layer, const std::string& name, int width, BufferId out) {
    const WeightId matrix = weight(block(layer, name + ".weight"), spec_.embedding_length, width);
    const bool needs_bias = spec_.has_qkv_bias && name.starts_with("attn_");
    const WeightId bias = needs_bias ? weight(block(layer, name + ".bias"), width, 1) : kNoWeight;
    linear.parts.push_back({matrix, bias, out, false});
  }

  static std::string block(int layer, const std::string& name) {
    return "blk." + std::to_string(layer) + "." + name;
  }

  BufferId buffer(int width, RowKind rows) {
    program_.buffers.push_back({width, rows});
    return static_cast<BufferId>(program_.buffers.size() - 1);
  }

  WeightId weight(const std::string& name, int64_t columns, int64_t rows) {
    const WeightId id = optional_weight(name, columns, rows);
    if (id == kNoWeight) {
      throw Error(ErrorCode::kCorruptData, "the tensor " + name + " is missing");
    }
    return id;
  }

  WeightId optional_weight(const std::string& name, int64_t columns, int64_t rows) {
    const gguf::Tensor* tensor = file_.find_tensor(name);
    if (!tensor) return kNoWeight;
    if (tensor->columns() != columns || tensor->rows() != rows) {
      throw Error(ErrorCode::kCorruptData,
                  "the tensor " + name + " is " + std::to_string(tensor->columns()) + " x " +
                      std::to_string(tensor->rows()) + ", expected " + std::to_string(columns) +
                      " x " + std::to_string(rows));
    }
    program_.weights.push_back({name, tensor->type, columns, rows, tensor->data});
    return static_cast<WeightId>(program_.weights.size() - 1);
  }

  const ModelSpec& spec_;
  const gguf::File& file_;
  Program program_;
  int q_width_ = 0;
  int kv_width_ = 0;
  BufferId residual_ = 0, normed_ = 0, attended_ = 0, q_ = 0, k_ = 0, v_ = 0, gate_ = 0, up_ = 0;
};

}  // namespace

backend::Program build_program(const ModelSpec& spec, const gguf::File& file) {
  return DecoderBuilder(spec, file).build();
}

}  // namespace sluice::model
