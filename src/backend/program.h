#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/byte_range.h"
#include "quant/types.h"

// The forward pass as data: a model is turned into one list of coarse operations when it is loaded
// (model/decoder.cpp), and a backend walks that list for every step. Nothing is decided a token at
// a time, so an operation is a phase or two of the CPU team's work, and CUDA can record a graph.
namespace sluice::backend {

using WeightId = int32_t;  // index into Program::weights
using BufferId = int32_t;  // index into Program::buffers
inline constexpr WeightId kNoWeight = -1;

// A tensor of the model file. `data` need not outlive Backend::load().
struct Weight {
  std::string name;
  quant::Type type = quant::Type::kF32;
  int64_t columns = 0;  // length of one row: the input width of a matrix, the size of a vector
  int64_t rows = 1;     // the output width of a matrix
  ByteRange data;
};

// What the rows of a buffer are: one a token of the batch, one a token that something is wanted of
// (Batch::logit_rows, then Batch::embedding_rows), or one a row of logits, the first of those.
enum class RowKind { kTokens, kOutputs, kLogits };

// An activation matrix [rows of its kind, width], f32.
struct Buffer {
  int width = 0;
  RowKind rows = RowKind::kTokens;
};

// out[t] = table[token[t]] * scale
struct Embed {
  WeightId table;
  BufferId out;
  float scale;
};

// out[t] = Batch::received[t], the rows that another device has computed (pipeline.h).
struct Receive {
  BufferId out;
};

// out = in / rms(in) * weight, or out += that when `accumulate`. Zhang and Sennrich 2019.
struct RmsNorm {
  BufferId in;
  WeightId weight;
  BufferId out;
  float eps;
  bool accumulate;
};

// out = in * weight^T (+ bias), or out += that. Several parts read the same input: q, k and v; gate
// and up. Every weight of one Linear has `columns` equal to the width of `in`. All rows of `in` are
// taken, but for the head: from kOutputs to kLogits the first ones are.
struct LinearPart {
  WeightId weight;
  WeightId bias;  // [rows] f32, or kNoWeight
  BufferId out;
  bool accumulate;
};
struct Linear {
  BufferId in;
  std::vector<LinearPart> parts;
};

// Normalises each head of q and k if norms are given (weights [head_dim]), rotates q (in place) and
// k by position, and stores k and v into the cache blocks of `layer`.
struct RopeStore {
  BufferId q;  // [tokens, num_heads * head_dim]
  BufferId k;  // [tokens, num_kv_heads * head_dim]
  BufferId v;  // [tokens, num_kv_heads * head_dim]
  int layer;
  int rope;  // index into Program::ropes
  WeightId q_norm;
  WeightId k_norm;
  float norm_eps;
};

// Causal attention of q over the cache of `layer`, this step's tokens included. Grouped-query:
// query head h reads kv head h / (num_heads / num_kv_heads).
struct Attention {
  BufferId q;
  BufferId out;  // [tokens, num_heads * head_dim]
  int layer;
  float scale;
  int window;  // a token sees itself and the window - 1 before it; 0: all
};

enum class Activation { kSilu, kGeluTanh };

// out = activation(gate) * up; out may be gate.
struct GatedActivation {
  BufferId gate;
  BufferId up;
  BufferId out;
  Activation activation;
};

// out[i] = in[output row i]: from here on only the tokens that something is wanted of.
struct GatherRows {
  BufferId in;   // kTokens
  BufferId out;  // kOutputs
};

// x = cap * tanh(x / cap)
struct SoftCap {
  BufferId buffer;
  float cap;
};

using Op = std::variant<Embed, Receive, RmsNorm, Linear, RopeStore, Attention, GatedActivation,
                        GatherRows, SoftCap>;

// Rotary embedding (Su et al. 2021): pair i of a head turns by position * inverse_frequency[i].
struct Rope {
  std::vector<float> inverse_frequency;  // [rotated dims / 2], scaling already applied
  bool is_interleaved;  // pairs are (2i, 2i+1); otherwise (i, i + rotated dims / 2)
};

struct Program {
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  std::vector<Weight> weights;
  std::vector<Buffer> buffers;
  std::vector<Rope> ropes;
  std::vector<Op> ops;
  // Where each layer begins in `ops`. There the pass can be cut: of what was computed before, what
  // follows needs the rows of `state` (kTokens) and nothing else.
  std::vector<size_t> layer_starts;
  BufferId state = 0;
  BufferId logits = 0;  // [logit rows, vocab_size]
  BufferId hidden = 0;  // [output rows, embedding_length]: what the head reads, final norm applied
};

}  // namespace sluice::backend
