#pragma once

#include <cstddef>
#include <cstdint>

// How keys and values lie in the paged cache. The smallest piece is a unit: 16 tokens, a block, of
// one kv head in one layer; a layer is [block][kv head][unit]. In a unit everything lies as the
// lanes of a warp want it for mma (ptx.cuh), so that attention reads whole units with 16 bytes a
// lane, nothing through shared memory, nothing transposed.
//
//   f16     | keys | values |
//   q8_0    | keys | their scales | values | their scales |        a scale for 32 dimensions of a
//   token
//
// Keys are the B operand of scores = Q K^T: 8 keys (a column each, g = lane / 4) and 32 dimensions,
// of which lane t = lane % 4 has eight in a row. Which token is which column is chosen so that a
// lane's four scores of a unit are those of tokens 4 t .. 4 t + 3: column g of tile j is token 4 (g
// / 2) + 2 j + g % 2.
//
//   f16     [32 dimensions][tile j][lane] 16 bytes: dimensions 8 t .. 8 t + 7 of token (j, g)
//   q8_0    [32 dimensions][lane] 16 bytes: the same as bytes, of (0, g) and of (1, g);
//           scales [tile j][g][32 dimensions]
//
// Values are the B operand of P V: rows are tokens, columns dimensions. Lane (g, t) has tokens
// 4 t .. 4 t + 3 of dimensions g, g + 8 (and g + 16, g + 24).
//
//   f16     [16 dimensions][lane] 16 bytes: tokens of dimension g, tokens of dimension g + 8
//   q8_0    [32 dimensions][lane] 16 bytes: of g, g + 8, g + 16, g + 24;  scales [32 dims][16
//   tokens]
//
// Heads are padded with zeros to a size that there is a kernel for.
namespace sluice::backend::cuda {

#ifdef __CUDACC__
#define SLUICE_EVERYWHERE __host__ __device__ inline
#else
#define SLUICE_EVERYWHERE inline
#endif

// Head sizes that attention has kernels for.
constexpr int kHeadSizes[] = {64, 96, 128, 192, 256};
inline constexpr int kMostHeadSize = 256;

// The first of kHeadSizes that is large enough; 0: none.
constexpr int padded_head_size(int head_dim) {
  for (const int size : kHeadSizes) {
    if (head_dim <= size) return size;
  }
  return 0;
}

struct CacheLayout {
  int num_kv_heads = 1;
  int head_size = 64;  // padded
  bool is_q8 = false;

  // Bytes of all keys (or all values) of a unit.
  SLUICE_EVERYWHERE constexpr int half_unit_bytes() const {
    return is_q8 ? 17 * head_size : 32 * head_size;
  }
  SLUICE_EVERYWHERE constexpr int unit_bytes() const { return 2 * half_unit_bytes(); }
  SLUICE_EVERYWHERE constexpr size_t block_bytes() const {  // of one layer
    return static_cast<size_t>(num_kv_heads) * static_cast<size_t>(unit_bytes());
  }
};

// Places of one number, in bytes from the unit's start; `token` is 0 to 15.
SLUICE_EVERYWHERE constexpr int key_lane(int token, int dim) {
  const int g = token / 4 * 2 + token % 2;
  return 4 * g + dim % 32 / 8;
}
SLUICE_EVERYWHERE constexpr int key_tile(int token) { return token % 4 / 2; }
SLUICE_EVERYWHERE constexpr int key_place(bool is_q8, int token, int dim) {
  const int lane = key_lane(token, dim), tile = key_tile(token);
  if (is_q8) return (dim / 32 * 32 + lane) * 16 + tile * 8 + dim % 8;
  return ((dim / 32 * 2 + tile) * 32 + lane) * 16 + dim % 8 * 2;
}
SLUICE_EVERYWHERE constexpr int key_scale_place(int head_size, int token, int dim) {
  const int g = token / 4 * 2 + token % 2;
  return 16 * head_size + ((key_tile(token) * 8 + g) * (head_size / 32) + dim / 32) * 2;
}
SLUICE_EVERYWHERE constexpr int value_place(bool is_q8, int head_size, int token, int dim) {
  const int lane = 4 * (dim % 8) + token / 4;
  if (is_q8) return 17 * head_size + (dim / 32 * 32 + lane) * 16 + dim % 32 / 8 * 4 + token % 4;
  return 32 * head_size + (dim / 16 * 32 + lane) * 16 + dim % 16 / 8 * 8 + token % 4 * 2;
}
SLUICE_EVERYWHERE constexpr int value_scale_place(int head_size, int token, int dim) {
  return 33 * head_size + (dim / 32 * 16 + token) * 2;
}

}  // namespace sluice::backend::cuda
