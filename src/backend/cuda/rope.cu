// What stands between the products of q, k, v and attention: each head is normalised if the model
// does so, turned by its position (Su et al. 2021), and keys and values go into the cache, in the
// places that cache_layout.h gives them.
//
//   rope_table   cosines and sines of a step's tokens, once for all layers: angles in double, since
//                position * frequency has no fraction left in a float when contexts are long
//   rope_store   a warp has a head of a token; it lies in shared memory meanwhile, for the pairs
//   that
//                turn together may be half a head apart, and a key's eight dimensions make 16 bytes
//
// Tested by tests/simt/rope_test.cpp against the reference backend's formulas.

#include "backend/cuda/kernels.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kGroup = 32;  // dimensions that share a scale

__device__ void normalise(float* head, const float* weight, float eps, int head_dim) {
  float squares = 0.0f;
  for (int d = ptx::lane(); d < head_dim; d += ptx::kWarp) squares += head[d] * head[d];
  for (int distance = 16; distance > 0; distance /= 2) {
    squares += ptx::shuffle_xor(squares, distance);
  }
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(head_dim) + eps);
  for (int d = ptx::lane(); d < head_dim; d += ptx::kWarp) head[d] = head[d] * scale * weight[d];
  ptx::sync_warp();
}

__device__ void turn(float* head, const float* table, int pairs, bool is_interleaved) {
  for (int i = ptx::lane(); i < pairs; i += ptx::kWarp) {
    const float2 turned = ptx::load(reinterpret_cast<const float2*>(table) + i);
    float& a = head[is_interleaved ? 2 * i : i];
    float& b = head[is_interleaved ? 2 * i + 1 : i + pairs];
    const float new_a = a * turned.x - b * turned.y;
    b = a * turned.y + b * turned.x;
    a = new_a;
  }
  ptx::sync_warp();
}

// What other sequences' probabilities of zero may be multiplied with: no infinity, no NaN.
__device__ float finite_half(float value) {
  constexpr float kLargestHalf = 65504.0f;
  return fminf(fmaxf(value, -kLargestHalf), kLargestHalf);
}

// The scale of the 32 dimensions of which this lane's number is one; 127 of it reach the largest.
__device__ float group_scale(float value) {
  float most = fabsf(value);
  for (int distance = 16; distance > 0; distance /= 2) {
    most = fmaxf(most, ptx::shuffle_xor(most, distance));
  }
  return ptx::half_to_float(ptx::float_to_half(finite_half(most / 127.0f)));
}
__device__ int8_t quantized(float value, float scale) {
  const float code = scale > 0.0f ? rintf(value / scale) : 0.0f;
  return static_cast<int8_t>(fminf(fmaxf(code, -127.0f), 127.0f));
}

// head [head_size], as key or value `token` of a unit.
__device__ void store(const float* head, std::byte* unit, const CacheLayout& layout, int token,
                      bool is_value) {
  const int size = layout.head_size;
  for (int d = ptx::lane(); d < size; d += ptx::kWarp) {
    const int place =
        is_value ? value_place(layout.is_q8, size, token, d) : key_place(layout.is_q8, token, d);
    if (!layout.is_q8) {
      *reinterpret_cast<uint16_t*>(unit + place) = ptx::float_to_half(finite_half(head[d]));
      continue;
    }
    const float scale = group_scale(head[d]);
    *reinterpret_cast<int8_t*>(unit + place) = quantized(head[d], scale);
    if (d % kGroup == 0) {
      const int scale_place =
          is_value ? value_scale_place(size, token, d) : key_scale_place(size, token, d);
      *reinterpret_cast<uint16_t*>(unit + scale_place) = ptx::float_to_half(scale);
    }
  }
}

}  // namespace

SLUICE_KERNEL(rope_table, RopeTableArgs, 64, 8) {
  const auto token = static_cast<int64_t>(blockIdx.x);
  const double position = args.positions[token];
  for (int i = static_cast<int>(threadIdx.x); i < args.pairs; i += 64) {
    const double angle = position * static_cast<double>(args.inverse_frequency[i]);
    ptx::store(reinterpret_cast<float2*>(args.table) + token * args.pairs + i,
               float2{static_cast<float>(cos(angle)), static_cast<float>(sin(angle))});
  }
}

SLUICE_KERNEL(rope_store, RopeStoreArgs, kWarps * 32, 4) {
  __shared__ float heads[kWarps][kMostHeadSize];
  const int num_kv_heads = args.layout.num_kv_heads;
  const auto token = static_cast<int64_t>(blockIdx.x);
  const int index = static_cast<int>(blockIdx.y) * kWarps + ptx::warp();
  if (index >= args.num_heads + 2 * num_kv_heads) return;
  float* const head = heads[ptx::warp()];
  const float* const table = args.table + token * args.pairs * 2;

  const bool is_q = index < args.num_heads;
  const bool is_value = index >= args.num_heads + num_kv_heads;
  const int kv_head = is_value ? index - args.num_heads - num_kv_heads : index - args.num_heads;
  const float* from = is_q       ? args.q + token * args.q_stride + index * args.head_dim
                      : is_value ? args.v + token * args.v_stride + kv_head * args.head_dim
                                 : args.k + token * args.k_stride + kv_head * args.head_dim;
  for (int d = ptx::lane(); d < args.layout.head_size; d += ptx::kWarp) {
    head[d] = d < args.head_dim ? from[d] : 0.0f;
  }
  ptx::sync_warp();
  if (!is_value) {
    const float* const norm = is_q ? args.q_norm : args.k_norm;
    if (norm) normalise(head, norm, args.norm_eps, args.head_dim);
    turn(head, table, args.pairs, args.is_interleaved);
  }
  if (is_q) {
    float* const to = args.q + token * args.q_stride + index * args.head_dim;
    for (int d = ptx::lane(); d < args.head_dim; d += ptx::kWarp) to[d] = head[d];
    return;
  }
  const int slot = args.slots[token];
  std::byte* const unit =
      args.cache + (static_cast<int64_t>(slot / kTokensPerBlock) * num_kv_heads + kv_head) *
                       args.layout.unit_bytes();
  store(head, unit, args.layout, slot % kTokensPerBlock, is_value);
}

}  // namespace sluice::backend::cuda
