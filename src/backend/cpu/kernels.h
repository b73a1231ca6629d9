#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/formats.h"
#include "quant/types.h"

// The kernels of one instruction set, as functions over plain memory. Each set is a translation
// unit of its own (kernels_*.cpp); dispatch.h picks one.
namespace sluice::backend::cpu {

// Activations of a matrix product lie in tiles of up to 16 tokens, a tile block by block of 32
// columns. With T tokens a tile, a block's record is, by ActivationForm:
//   kCodes8   i8 code[T][32], TokenNumbers<T>
//   kCodes16  i8 low[T][32], high[T][32], TokenNumbers<T>; the code is 256 * high + low
//   kFloats   f32 x[T][32]
//   kBf16     bf16 x[16][32]
// x is about scale * code + middle; the middle is 0 for 16 bits.
inline constexpr int kTileTokens = 16;
enum class ActivationForm { kCodes8, kCodes16, kFloats, kBf16 };

// What goes with a block's codes. The starts: -kStartBias times the sum of the codes, of the first
// 16, and of the second 16: where sums of products with weights start if a bias of kStartBias makes
// these unsigned.
inline constexpr int kStartBias = 128;
template <int kTokens>
struct TokenNumbers {
  float scale[kTokens];
  float middle[kTokens];
  float sum[kTokens];  // of x as rounded
  int32_t start[kTokens];
  int32_t first_start[kTokens];
  int32_t second_start[kTokens];
};

// Bytes of a record's codes.
constexpr size_t code_bytes_of_record(ActivationForm form, int tile_tokens) {
  const int digits = form == ActivationForm::kCodes16 ? 2 : 1;
  return static_cast<size_t>(tile_tokens) * kBlockColumns * static_cast<size_t>(digits);
}
constexpr size_t activation_record_bytes(ActivationForm form, int tile_tokens) {
  if (form == ActivationForm::kBf16) return size_t{kTileTokens} * kBlockColumns * 2;
  const auto tokens = static_cast<size_t>(tile_tokens);
  if (form == ActivationForm::kFloats) return tokens * kBlockColumns * sizeof(float);
  return code_bytes_of_record(form, tile_tokens) + tokens * sizeof(TokenNumbers<1>);
}

// One group of rows times one tile of activations.
struct TileArgs {
  const uint8_t* group;  // as it lies packed; floats: its values, [columns][16]
  int num_blocks;        // of 32 columns
  const uint8_t* tile;
  const int8_t* table;  // Codes::kTable
  float* out;           // [tile tokens, 16]
};
using TileKernel = void (*)(const TileArgs&);

// The tile sizes that kernels exist for; a tile is padded to the next one.
constexpr int round_up_tile(int tokens) {
  return tokens <= 1    ? 1
         : tokens <= 2  ? 2
         : tokens <= 4  ? 4
         : tokens <= 6  ? 6
         : tokens <= 8  ? 8
         : tokens <= 12 ? 12
                        : 16;
}

// Products on a matrix unit (panel_kernels.h).
inline constexpr size_t kPanelTileBytes = 1024;
struct PanelSource {
  const uint8_t* group;  // as in TileArgs
  const int8_t* table;
  int first_block;  // multiple of 8
  int num_blocks;   // likewise, or up to the end of the row
};
// Writes num_blocks weight tiles.
using DecodePanel = void (*)(const PanelSource&, uint16_t* out);
struct PanelArgs {
  const uint8_t* activations;  // of the first token tile and block
  size_t token_tile_stride;    // bytes
  int num_token_tiles;
  const uint16_t* panel;  // weight tiles [num_groups][num_blocks]
  int num_groups;
  int num_blocks;
  float* results;   // result tiles [num_token_tiles][num_groups]
  bool accumulate;  // add to them
};

// Attention of up to kAttentionRows queries that share a kv head, over a range of its keys
// (attention_kernels.h).
inline constexpr int kAttentionRows = 16;
// Keys of one softmax. Chunks start at multiples of this position, whoever asks: so a row's result
// depends on its own keys alone, and not on its neighbours or on how the work is cut.
inline constexpr int kAttentionChunk = 256;
// Keys and values of a sequence's tokens [begin, end), for one layer and kv head.
struct CacheRange {
  const std::byte* cache;      // block 0
  const int32_t* block_table;  // from token 0 on
  int32_t begin, end;          // begin is a multiple of the block's tokens
};
struct AttentionArgs {
  int num_rows;
  const float* q[kAttentionRows];    // [head_dim]
  int32_t position[kAttentionRows];  // a row sees the keys up to its position,
  int32_t window;                    // and no more than that many of them (0: all)
  CacheRange keys;
  CacheRange next;      // what is likely to be asked for after this; empty: not known
  size_t block_stride;  // bytes from one block to the next
  int head_dim;
  int padded_dim;  // as the cache stores it: a multiple of 16 (f16) or 32 (q8_0)
  bool is_q8;
  float scale;
  // Results: acc [num_rows, padded_dim] not yet divided by sum, and for each row the largest score
  // and the sum of the exponentials.
  float* acc;
  float* largest;
  float* sum;
  float* scratch;  // attention_scratch_floats(padded_dim)
};
// Queries, their rounded form (at most as large), scores, and what one chunk gives.
constexpr size_t attention_scratch_floats(int padded_dim) {
  return static_cast<size_t>(kAttentionRows) *
         (size_t{3} * static_cast<size_t>(padded_dim) + kAttentionChunk);
}
// What a range of keys gave one row.
struct AttentionPart {
  float* acc;  // [padded_dim]
  float* largest;
  float* sum;
};

struct Kernels {
  const char* name;
  // Null where the combination is never asked for.
  TileKernel (*tile_kernel)(quant::Type type, ActivationForm form, int tile_tokens);
  // Columns [32 * first_block, 32 * end_block) of row x, the `lane`-th token of a tile.
  void (*quantize)(const float* x, int first_block, int end_block, uint8_t* tile, int lane,
                   int tile_tokens, ActivationForm form);
  float (*sum_of_squares)(const float* x, int count);
  // out[i] = x[i] * factor * weight[i], or out[i] += that.
  void (*scale_by)(const float* x, float factor, const float* weight, float* out, int count,
                   bool accumulate);
  void (*silu_times)(const float* gate, const float* up, float* out, int count);
  void (*gelu_times)(const float* gate, const float* up, float* out, int count);
  void (*soft_cap)(float* x, float cap, int count);
  // Rotates one head in place by cos and sin [num_pairs].
  void (*rotate)(float* x, const float* cosines, const float* sines, int num_pairs,
                 bool is_interleaved);
  void (*to_f16)(const float* x, uint16_t* out, int count);  // count: multiple of 16
  // Rounds 32 numbers to scale * code + middle, codes from -127 to 127, scale and middle f16 and
  // finite.
  void (*to_q8)(const float* x, uint8_t* codes, uint16_t* scale, uint16_t* middle);
  void (*attend)(const AttentionArgs& args);
  // Adds what the next range of keys gave to what those before it gave. attend() folds chunk by
  // chunk in the same way: in order, the result is the same to the last bit.
  void (*fold)(const AttentionPart& next, int padded_dim, const AttentionPart& total);
  // Null without a matrix unit.
  DecodePanel (*panel_decoder)(quant::Type type) = nullptr;
  void (*multiply_panel)(const PanelArgs& args) = nullptr;
};

const Kernels& generic_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& amx_kernels();
// The generic kernels with a plain twin of the matrix unit, for tests.
const Kernels& generic_tile_kernels();

}  // namespace sluice::backend::cpu
