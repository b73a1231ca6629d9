#pragma once

#include "backend/cpu/op_kernels.h"

// Attention with the softmax taken online (Milakov and Gimelshein 2018; Dao et al. 2022): keys go
// by in chunks, and what was summed before is rescaled when a larger score turns up. Rows are
// queries that share a kv head, whatever token or head they are of, so that every key and value is
// converted from f16 once for all of them.
//
// A cache block of one kv head: keys [padded_dim][16 tokens], values [16 tokens][padded_dim], f16.
// Keys lie dimension by dimension so that a vector of scores is a sum over dimensions.
namespace sluice::backend::cpu {

inline constexpr int kCacheBlock = 16;

template <class V>
struct AttentionKernel {
  using F = typename V::F;

  // scores[r][0..15] = q[r] . keys for kRows rows.
  template <int kRows>
  static void score_block(const float* q, int padded_dim, const uint16_t* keys, float* scores) {
    for (int lane = 0; lane < kCacheBlock; lane += V::kLanes) {
      // With few rows, even and odd dimensions go into sums of their own to hide latency.
      constexpr int kSums = kRows <= 4 ? 4 : 1;
      F acc[kSums][kRows];
      for (auto& sums : acc) {
        for (F& sum : sums) sum = V::zero();
      }
      for (int d = 0; d < padded_dim; d += kSums) {
        for (int k = 0; k < kSums; ++k) {
          const F key = V::load_f16(keys + (d + k) * kCacheBlock + lane);
#pragma GCC unroll 16
          for (int r = 0; r < kRows; ++r) {
            acc[k][r] = V::fma(key, V::set1(q[r * padded_dim + d + k]), acc[k][r]);
          }
        }
      }
      for (int r = 0; r < kRows; ++r) {
        F sum = acc[0][r];
        for (int k = 1; k < kSums; ++k) sum = V::add(sum, acc[k][r]);
        V::store(scores + r * kAttentionChunk + lane, sum);
      }
    }
  }

  // acc[r][0 .. kVectors * lanes) += sum over tokens of p[r][token] * values[token].
  template <int kRows, int kVectors>
  static void add_values(const AttentionArgs& a, int first_key, int end_key, int dim,
                         const float* p, float* acc) {
    F sums[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = V::load(acc + r * a.padded_dim + dim + v * V::kLanes);
      }
    }
    for (int key = first_key; key < end_key; key += kCacheBlock) {
      const uint16_t* values =
          a.cache + static_cast<size_t>(a.block_table[key / kCacheBlock]) * a.block_stride +
          static_cast<size_t>(a.padded_dim) * kCacheBlock + dim;
      const int count = end_key - key < kCacheBlock ? end_key - key : kCacheBlock;
      for (int t = 0; t < count; ++t) {
        F value[kVectors];
        for (int v = 0; v < kVectors; ++v) {
          value[v] = V::load_f16(values + t * a.padded_dim + v * V::kLanes);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const F weight = V::set1(p[r * kAttentionChunk + key - first_key + t]);
          for (int v = 0; v < kVectors; ++v) sums[r][v] = V::fma(value[v], weight, sums[r][v]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        V::store(acc + r * a.padded_dim + dim + v * V::kLanes, sums[r][v]);
      }
    }
  }

  template <int kRows>
  static void add_values_of_rows(const AttentionArgs& a, int first_key, int end_key, const float* p,
                                 float* acc) {
    constexpr int kVectors = kRows <= 4 ? 4 : 2;
    int dim = 0;
    for (; dim + kVectors * V::kLanes <= a.padded_dim; dim += kVectors * V::kLanes) {
      add_values<kRows, kVectors>(a, first_key, end_key, dim, p, acc);
    }
    for (; dim < a.padded_dim; dim += V::kLanes) {
      add_values<kRows, 1>(a, first_key, end_key, dim, p, acc);
    }
  }

  // Splits rows into the sizes there are kernels for.
  template <class Function>
  static void for_rows(int num_rows, Function f) {
    int r = 0;
    for (; r + 8 <= num_rows; r += 8) f.template operator()<8>(r);
    if (r + 4 <= num_rows) {
      f.template operator()<4>(r);
      r += 4;
    }
    if (r + 2 <= num_rows) {
      f.template operator()<2>(r);
      r += 2;
    }
    if (r < num_rows) f.template operator()<1>(r);
  }

  // Turns one row's scores of keys [first, end) into exponentials, masking what the row does not
  // see, and rescales what the row summed before.
  static void softmax_row(const AttentionArgs& a, int r, int first, int end, float* scores) {
    int low = a.window > 0 ? a.position[r] - a.window + 1 : 0;
    low = (low > first ? low : first) - first;
    const int high = (a.position[r] + 1 < end ? a.position[r] + 1 : end) - first;
    const int padded = (end - first + kCacheBlock - 1) / kCacheBlock * kCacheBlock;
    if (low >= high) {
      for (int i = 0; i < padded; ++i) scores[i] = 0.0f;
      return;
    }
    constexpr float kMasked = -3.0e38f;
    for (int i = 0; i < low; ++i) scores[i] = kMasked;
    for (int i = high; i < padded; ++i) scores[i] = kMasked;
    F best = V::load(scores);
    for (int i = V::kLanes; i < padded; i += V::kLanes) best = V::max(best, V::load(scores + i));
    const float largest = V::largest(best);
    if (largest > a.largest[r]) {
      alignas(64) float factor[V::kLanes];
      V::store(factor, Math<V>::exp(V::set1(a.largest[r] - largest)));
      a.sum[r] *= factor[0];
      float* acc = a.acc + static_cast<ptrdiff_t>(r) * a.padded_dim;
      for (int d = 0; d < a.padded_dim; d += V::kLanes) {
        V::store(acc + d, V::mul(V::load(acc + d), V::set1(factor[0])));
      }
      a.largest[r] = largest;
    }
    F total = V::zero();
    for (int i = 0; i < padded; i += V::kLanes) {
      const F p = Math<V>::exp(V::sub(V::load(scores + i), V::set1(a.largest[r])));
      total = V::add(total, p);
      V::store(scores + i, p);
    }
    a.sum[r] += V::sum(total);
  }

  static void attend(const AttentionArgs& a) {
    float* q = a.scratch;
    float* scores = q + kAttentionRows * a.padded_dim;
    for (int r = 0; r < a.num_rows; ++r) {
      for (int d = 0; d < a.head_dim; ++d) q[r * a.padded_dim + d] = a.q[r][d] * a.scale;
      for (int d = a.head_dim; d < a.padded_dim; ++d) q[r * a.padded_dim + d] = 0.0f;
      for (int d = 0; d < a.padded_dim; ++d) a.acc[r * a.padded_dim + d] = 0.0f;
      a.largest[r] = -1.0e38f;
      a.sum[r] = 0.0f;
    }
    for (int first = a.begin; first < a.end; first += kAttentionChunk) {
      const int end = a.end - first < kAttentionChunk ? a.end : first + kAttentionChunk;
      for (int key = first; key < end; key += kCacheBlock) {
        const uint16_t* keys =
            a.cache + static_cast<size_t>(a.block_table[key / kCacheBlock]) * a.block_stride;
        for_rows(a.num_rows, [&]<int kRows>(int r) {
          score_block<kRows>(q + r * a.padded_dim, a.padded_dim, keys,
                             scores + r * kAttentionChunk + key - first);
        });
      }
      for (int r = 0; r < a.num_rows; ++r) {
        softmax_row(a, r, first, end, scores + r * kAttentionChunk);
      }
      for_rows(a.num_rows, [&]<int kRows>(int r) {
        add_values_of_rows<kRows>(a, first, end, scores + r * kAttentionChunk,
                                  a.acc + r * a.padded_dim);
      });
    }
  }

  static void merge(const float* const* acc, const float* largest, const float* sum, int num_parts,
                    float* out, int head_dim) {
    float best = largest[0];
    for (int i = 1; i < num_parts; ++i) best = largest[i] > best ? largest[i] : best;
    for (int d = 0; d < head_dim; ++d) out[d] = 0.0f;
    float total = 0.0f;
    for (int i = 0; i < num_parts; ++i) {
      alignas(64) float factor[V::kLanes];
      V::store(factor, Math<V>::exp(V::set1(largest[i] - best)));
      total += sum[i] * factor[0];
      for (int d = 0; d < head_dim; ++d) out[d] += acc[i][d] * factor[0];
    }
    const float inverse = 1.0f / total;
    for (int d = 0; d < head_dim; ++d) out[d] *= inverse;
  }
};

}  // namespace sluice::backend::cpu
