#pragma once

#include <cstddef>

#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.h"

namespace sluice::backend::cuda {

// ---- what kernels and launches agree on ----

inline constexpr int kPrefillWarps = 8, kPrefillStages = 3;
inline constexpr int kPrefillRows = 16 * kPrefillWarps;
template <int kGroups>  // of 32 dimensions
inline constexpr int kPrefillStageUnits = kGroups <= 4 ? 4 : 2;

// Tokens of one step over splits of their keys; see attention_decode.cu.
struct AttentionShape {
  int num_heads = 1, num_kv_heads = 1, head_size = 64;  // padded
  bool is_q8 = false;
};

// Tokens of a prompt that a tile has; 0: no tile holds a token's heads, so that such a model has no
// prefill kernel.
int prefill_tile_tokens(const AttentionShape& shape);

// Into how many splits the keys of a step of so many tokens may be cut: many where few tokens would
// leave multiprocessors idle. Steps of up to kExactAttentionTokens are all cut alike.
inline constexpr int kExactAttentionTokens = 8;
int most_key_splits(int num_tokens);

// Of AttentionArgs, for steps of up to `max_tokens`.
size_t attention_partial_bytes(const AttentionShape& shape, int max_tokens);
size_t attention_counter_bytes(const AttentionShape& shape, int max_tokens);

// `args` but for what is chosen here (most_splits, tokens). Tokens of a step: those that tiles have
// (StepView::tiles, num_tiles of them), and the others (StepView::single_tokens, num_singles).
// longest: most keys that a token of the step reads, or more.
void add_attention(LaunchList& list, const AttentionShape& shape, AttentionArgs args, int num_tiles,
                   int num_singles, int longest);

}  // namespace sluice::backend::cuda
