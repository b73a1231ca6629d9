#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cuda/cache_layout.h"
#include "backend/cuda/gated.h"
#include "backend/cuda/packing.h"
#include "backend/cuda/step.h"

// What the kernels of this folder take, but for the products' (linear.h). Rows of floats have a
// stride of a multiple of 4, rows of halves of 8; strides count numbers.
namespace sluice::backend::cuda {

struct LoadStepArgs {
  const std::byte* host;  // pinned: StepPieces, then what they point to, from its start on
  std::byte* device;      // mirror of it
};

// out[t] = table[token[t]] * scale. Grid: (columns / 256 rounded up, tokens), blocks of 32.
struct EmbedArgs {
  MatrixLayout layout;
  const std::byte* table;
  const int32_t* tokens;
  float* out;
  int64_t out_stride;
  float scale;
};

// Grid: rows, blocks of 256.
struct NormArgs {
  const float* in;
  int64_t in_stride;
  const float* weight;  // [width]
  float* out;           // null: not wanted
  int64_t out_stride;
  uint16_t* halves;  // null: not wanted; else the same once more
  int64_t halves_stride;
  int width;
  float eps;
  bool accumulates;  // into out
};

// Cosines and sines of each token. Grid: tokens, blocks of 64.
struct RopeTableArgs {
  const int32_t* positions;
  const float* inverse_frequency;  // [pairs]
  float* table;                    // [tokens, pairs, 2]
  int pairs;
};

// Grid: (tokens, (heads + 2 kv heads) / 4 rounded up), blocks of 128, a warp a head.
struct RopeStoreArgs {
  float* q;
  const float* k;
  const float* v;
  int64_t q_stride, k_stride, v_stride;
  const float* table;
  const float* q_norm;  // [head_dim]; null: none
  const float* k_norm;
  float norm_eps;
  const int32_t* slots;
  std::byte* cache;  // of the layer
  CacheLayout layout;
  int num_heads, head_dim, pairs;
  bool is_interleaved;
};

// Scores of keys cut into splits, whose results the last one to come puts together.
struct AttentionArgs {
  const float* q;  // [tokens, heads * head_dim]
  int64_t q_stride;
  uint16_t* out;  // [tokens, heads * head_dim], halves
  int64_t out_stride;
  const std::byte* cache;  // of the layer
  StepView step;
  float* partials;  // [single tokens, heads, splits][head_size + 2]: sums, then maximum and total
  uint32_t* counters;  // [single tokens, kv heads, row groups]; zero between steps
  float scale;
  int window;  // 0: none
  int num_heads, num_kv_heads, head_dim;
  int most_splits;  // of a token; grid.z may be fewer when none has so many
};

// out = activation(gate) * up / kGatedScale, as halves. Grid: (width / 1024 rounded up, rows),
// blocks of 128. Where the product of gate and up does not do it itself.
struct GatedArgs {
  const float* gate;
  const float* up;
  int64_t stride;
  uint16_t* halves;
  int64_t halves_stride;
  float* out;  // not scaled; null: not wanted
  int width;
  GateCurve curve;
};

// out[i] = in[output_rows[i]]. Grid: rows, blocks of 256.
struct GatherArgs {
  const float* in;
  int64_t in_stride;
  const int32_t* output_rows;
  float* out;
  int64_t out_stride;
  int width;
};

// Grid: (width / 1024 rounded up, rows), blocks of 128.
struct SoftCapArgs {
  float* values;
  int64_t stride;
  int width;
  float cap;
};
struct ToHalvesArgs {
  const float* in;
  int64_t in_stride;
  uint16_t* halves;
  int64_t halves_stride;
  int width;
};

}  // namespace sluice::backend::cuda
