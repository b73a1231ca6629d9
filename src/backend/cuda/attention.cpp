#include "backend/cuda/attention.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace sluice::backend::cuda {
namespace {

// As in attention_decode.cu.
constexpr int kDecodeWarps = 4;
constexpr int kDecodeRows = 16;

int row_groups(const AttentionShape& shape) {
  return (shape.num_heads / shape.num_kv_heads + kDecodeRows - 1) / kDecodeRows;
}

struct AttentionKernels {
  int head_size;
  const char* decode[2];  // f16, q8_0
  const char* prefill[2];
};
constexpr AttentionKernels kAttentionKernels[] = {
    {64,
     {"attention_decode_64_f16", "attention_decode_64_q8"},
     {"attention_prefill_64_f16", "attention_prefill_64_q8"}},
    {96,
     {"attention_decode_96_f16", "attention_decode_96_q8"},
     {"attention_prefill_96_f16", "attention_prefill_96_q8"}},
    {128,
     {"attention_decode_128_f16", "attention_decode_128_q8"},
     {"attention_prefill_128_f16", "attention_prefill_128_q8"}},
    {192,
     {"attention_decode_192_f16", "attention_decode_192_q8"},
     {"attention_prefill_192_f16", "attention_prefill_192_q8"}},
    {256,
     {"attention_decode_256_f16", "attention_decode_256_q8"},
     {"attention_prefill_256_f16", "attention_prefill_256_q8"}}};

const AttentionKernels& kernels_for(const AttentionShape& shape) {
  for (const AttentionKernels& kernels : kAttentionKernels) {
    if (kernels.head_size == shape.head_size) return kernels;
  }
  throw Error(ErrorCode::kInternal,
              "no attention kernel for heads of " + std::to_string(shape.head_size));
}

void add_decode(LaunchList& list, const AttentionShape& shape, AttentionArgs args, int num_tokens,
                int longest) {
  args.most_splits = most_key_splits(num_tokens);
  // Windows move: their keys may touch one unit more.
  const int keys = args.window > 0 ? std::min(longest, args.window + kTokensPerBlock) : longest;
  const int units = (keys + kTokensPerBlock - 1) / kTokensPerBlock;
  const int splits = std::min(args.most_splits, (units + kDecodeWarps - 1) / kDecodeWarps);
  const size_t shared = static_cast<size_t>(kDecodeWarps * kDecodeRows) *
                        static_cast<size_t>((shape.head_size + 8) * 4 + 8);
  add_launch(list, kernels_for(shape).decode[shape.is_q8],
             {static_cast<uint32_t>(shape.num_kv_heads * row_groups(shape)),
              static_cast<uint32_t>(num_tokens), static_cast<uint32_t>(splits)},
             {kDecodeWarps * 32}, static_cast<uint32_t>(shared), args);
}

void add_prefill(LaunchList& list, const AttentionShape& shape, const AttentionArgs& args,
                 int num_tiles) {
  const CacheLayout unit = {1, shape.head_size, shape.is_q8};
  const bool is_large = shape.head_size > 128;
  const int stage_bytes =
      (is_large ? kPrefillStageUnits<8> : kPrefillStageUnits<4>)*unit.unit_bytes();
  const int query_bytes = is_large ? kPrefillWarps * shape.head_size * 32 : 0;
  add_launch(list, kernels_for(shape).prefill[shape.is_q8],
             {static_cast<uint32_t>(shape.num_kv_heads), static_cast<uint32_t>(num_tiles)},
             {kPrefillWarps * 32},
             static_cast<uint32_t>(kPrefillStages * stage_bytes + query_bytes), args);
}

}  // namespace

int most_key_splits(int num_tokens) {
  if (num_tokens <= kExactAttentionTokens) return 64;
  if (num_tokens <= 32) return 16;
  if (num_tokens <= 128) return 4;
  return 1;
}

size_t attention_partial_bytes(const AttentionShape& shape, int max_tokens) {
  size_t most = 0;
  for (const int tokens : {kExactAttentionTokens, 32, 128}) {
    const int count = std::min(tokens, max_tokens);
    most = std::max(most, static_cast<size_t>(count) * static_cast<size_t>(most_key_splits(count)));
  }
  return most * static_cast<size_t>(shape.num_heads) * static_cast<size_t>(shape.head_size + 2) *
         sizeof(float);
}

size_t attention_counter_bytes(const AttentionShape& shape, int max_tokens) {
  return static_cast<size_t>(max_tokens) *
         static_cast<size_t>(shape.num_kv_heads * row_groups(shape)) * sizeof(uint32_t);
}

int prefill_tile_tokens(const AttentionShape& shape) {
  return kPrefillRows / (shape.num_heads / shape.num_kv_heads);
}

void add_attention(LaunchList& list, const AttentionShape& shape, AttentionArgs args, int num_tiles,
                   int num_singles, int longest) {
  if (num_singles > 0) add_decode(list, shape, args, num_singles, longest);
  if (num_tiles > 0) add_prefill(list, shape, args, num_tiles);
}

}  // namespace sluice::backend::cuda
