#pragma once

#include "backend/cpu/linear_kernels.h"
#include "backend/cpu/op_kernels.h"

// Attention with the softmax taken online (Milakov and Gimelshein 2018; Dao et al. 2022): keys go
// by in chunks, each with a softmax of its own, folded together in order. Rows are queries that
// share a kv head, whatever token or head they are of, so that every key and value is converted
// once for all of them.
//
// A cache block of one kv head holds 16 tokens, keys then values (P = padded_dim):
//   f16:   keys    f16 [P][16 tokens]                       dimension by dimension, so that a
//          values  f16 [16 tokens][P]                       vector of scores is a sum over them
//   q8_0:  keys    for every 32 dimensions a record of scales, f16 scale[16 tokens],
//                  middle[16 tokens], and i8 [32 / 4][16 tokens][4]; x is scale * code + middle.
//                  That is how a group of 16 rows of a packed matrix lies (formats.h): scores are a
//                  matrix product with queries of 16 bits.
//          values  i8 [16 tokens][P], then for every 32 dimensions a record as above
// (A middle besides the scale takes 2 bytes of 36 and most of the loss: min and max of 32 numbers
// seldom lie alike on both sides of zero.)
//
// Loops over rows and vectors are unrolled by force: otherwise GCC 12 keeps sums in memory.
namespace sluice::backend::cpu {

inline constexpr int kCacheBlock = 16;
using FormatOfKeys = Format<Codes::k8, Scales::kF16Min>;

// Bytes of the keys, or of the values, of a block of one kv head.
constexpr size_t cache_half_bytes(int padded_dim, bool is_q8) {
  const auto dims = static_cast<size_t>(padded_dim);
  return is_q8 ? kCacheBlock * dims + dims / kBlockColumns * scale_bytes(Scales::kF16Min)
               : kCacheBlock * dims * 2;
}

template <class V>
struct AttentionKernel {
  using F = typename V::F;
  static constexpr float kNothing = -1.0e38f;  // the largest score of no keys
  // Rows at once, as many as registers hold.
  static constexpr int kMostRows = V::kLanes == 8 ? 4 : 8;

  // Parts of AttentionArgs::scratch.
  struct Scratch {
    float* q;        // [rows][P], scaled
    uint8_t* tiles;  // the same in tiles of for_rows' sizes, 16-bit codes (q8_0)
    float* scores;   // [rows][kAttentionChunk]
    float* acc;      // [rows][P], of a chunk
    explicit Scratch(const AttentionArgs& a)
        : q(a.scratch),
          tiles(reinterpret_cast<uint8_t*>(q + kAttentionRows * a.padded_dim)),
          scores(q + 2 * kAttentionRows * a.padded_dim),
          acc(scores + kAttentionRows * kAttentionChunk) {}
  };

  static const uint8_t* block_of(const AttentionArgs& a, const CacheRange& range, int key) {
    return reinterpret_cast<const uint8_t*>(range.cache) +
           static_cast<size_t>(range.block_table[key / kCacheBlock]) * a.block_stride;
  }
  static const uint8_t* block_of(const AttentionArgs& a, int key) {
    return block_of(a, a.keys, key);
  }

  // scores[r][0..15] = q[r] . keys for kRows rows. Even and odd dimensions go into sums of their
  // own to hide latency; as many for any number of rows, so that it does not change the result.
  // Line by line, asks for the block's values and for the keys of `ahead`.
  template <int kRows>
  static void score_f16(const float* q, int padded_dim, const uint8_t* block, const uint8_t* ahead,
                        float* scores) {
    const auto* keys = reinterpret_cast<const uint16_t*>(block);
    constexpr int kSums = 2, kKeyBytes = kCacheBlock * 2;  // of a dimension
    static_assert(kSums * kKeyBytes == 64);                // a line
    for (int lane = 0; lane < kCacheBlock; lane += V::kLanes) {
      F acc[kSums][kRows];
      for (auto& sums : acc) {
        for (F& sum : sums) sum = V::zero();
      }
      for (int d = 0; d < padded_dim; d += kSums) {
        if (lane == 0) {
          V::prefetch_far(block + (padded_dim + d) * kKeyBytes);
          V::prefetch_far(ahead + d * kKeyBytes);
        }
        for (int k = 0; k < kSums; ++k) {
          const F key = V::load_f16(keys + (d + k) * kCacheBlock + lane);
#pragma GCC unroll 16
          for (int r = 0; r < kRows; ++r) {
            acc[k][r] = V::fma(key, V::set1(q[r * padded_dim + d + k]), acc[k][r]);
          }
        }
      }
      for (int r = 0; r < kRows; ++r) {
        V::store(scores + r * kAttentionChunk + lane, V::add(acc[0][r], acc[1][r]));
      }
    }
  }

  template <int kRows>
  static constexpr size_t tile_bytes(int padded_dim) {
    return static_cast<size_t>(padded_dim / kBlockColumns) *
           activation_record_bytes(ActivationForm::kCodes16, kRows);
  }

  template <int kRows>
  static void score_q8(const uint8_t* tile, int padded_dim, const uint8_t* block, float* scores) {
    alignas(64) float results[kRows * kCacheBlock];
    const TileArgs args{block, padded_dim / kBlockColumns, tile, nullptr, results};
    QuantizedTile<V, FormatOfKeys, kRows, true, false>::run(args);
    for (int r = 0; r < kRows; ++r) {
      for (int lane = 0; lane < kCacheBlock; lane += V::kLanes) {
        V::store(scores + r * kAttentionChunk + lane, V::load(results + r * kCacheBlock + lane));
      }
    }
  }

  // The keys that come next after a pass over [first, end), at the same place as `key`.
  static const uint8_t* keys_after(const AttentionArgs& a, int first, int end, int key) {
    const int after = end + key - first;
    if (after < a.keys.end) return block_of(a, after);
    const int next = a.next.begin + after - a.keys.end;
    return next < a.next.end ? block_of(a, a.next, next) : block_of(a, key);
  }

  // acc[r][dim .. dim + kVectors * lanes) = sum over tokens of p[r][token] * values[token].
  template <int kRows, int kVectors>
  static void add_values_f16(const AttentionArgs& a, int first_key, int end_key, int dim,
                             const float* p, float* acc) {
    F sums[kRows][kVectors];
#pragma GCC unroll 8
    for (auto& row : sums) {
#pragma GCC unroll 4
      for (F& sum : row) sum = V::zero();
    }
    for (int key = first_key; key < end_key; key += kCacheBlock) {
      const auto* values = reinterpret_cast<const uint16_t*>(block_of(a, key)) +
                           static_cast<ptrdiff_t>(a.padded_dim) * kCacheBlock + dim;
      const int count = end_key - key < kCacheBlock ? end_key - key : kCacheBlock;
      const uint8_t* after = keys_after(a, first_key, end_key, key) + dim * 2;
      for (int t = 0; t < count; ++t) {
        F value[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          const int at = t * a.padded_dim + v * V::kLanes;
          value[v] = V::load_f16(values + at);
          if (v * V::kLanes % 32 == 0) V::prefetch_far(after + at * 2);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const F weight = V::set1(p[r * kAttentionChunk + key - first_key + t]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) sums[r][v] = V::fma(value[v], weight, sums[r][v]);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        V::store(acc + r * a.padded_dim + dim + v * V::kLanes, sums[r][v]);
      }
    }
  }

  // The same for 32 dimensions in q8_0: their scales go into the weights.
  template <int kRows>
  static void add_values_q8(const AttentionArgs& a, int first_key, int end_key, int dim,
                            const float* p, float* acc) {
    constexpr int kVectors = kBlockColumns / V::kLanes;
    F sums[kRows][kVectors], middles[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (F& sum : sums[r]) sum = V::zero();
      middles[r] = V::zero();
    }
    const size_t values_at = cache_half_bytes(a.padded_dim, true);
    const ptrdiff_t record_at = static_cast<ptrdiff_t>(a.padded_dim) * kCacheBlock +
                                dim / kBlockColumns * ptrdiff_t{scale_bytes(Scales::kF16Min)};
    for (int key = first_key; key < end_key; key += kCacheBlock) {
      const uint8_t* values = block_of(a, key) + values_at;
      const auto* scales = reinterpret_cast<const uint16_t*>(values + record_at);
      alignas(64) float weights[kRows][kCacheBlock];
      for (int lane = 0; lane < kCacheBlock; lane += V::kLanes) {
        const F scale = V::load_f16(scales + lane);
        const F middle = V::load_f16(scales + kCacheBlock + lane);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const F weight = V::load(p + r * kAttentionChunk + key - first_key + lane);
          middles[r] = V::fma(weight, middle, middles[r]);
          V::store(weights[r] + lane, V::mul(weight, scale));
        }
      }
      const int count = end_key - key < kCacheBlock ? end_key - key : kCacheBlock;
      const uint8_t* after = keys_after(a, first_key, end_key, key);
      V::prefetch_far(after + record_at);
      for (int t = 0; t < count; ++t) {
        F value[kVectors];
        V::prefetch_far(after + t * a.padded_dim + dim);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          value[v] = V::load_i8(values + t * a.padded_dim + dim + v * V::kLanes);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const F weight = V::set1(weights[r][t]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) sums[r][v] = V::fma(value[v], weight, sums[r][v]);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F middle = V::set1(V::sum(middles[r]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        V::store(acc + r * a.padded_dim + dim + v * V::kLanes, V::add(sums[r][v], middle));
      }
    }
  }

  template <int kRows>
  static void add_values(const AttentionArgs& a, int first_key, int end_key, const float* p,
                         float* acc) {
    int dim = 0;
    if (a.is_q8) {
      for (; dim < a.padded_dim; dim += kBlockColumns) {
        add_values_q8<kRows>(a, first_key, end_key, dim, p, acc);
      }
      return;
    }
    constexpr int kVectors = kRows <= 4 && kMostRows > 4 ? 4 : 2;
    for (; dim + kVectors * V::kLanes <= a.padded_dim; dim += kVectors * V::kLanes) {
      add_values_f16<kRows, kVectors>(a, first_key, end_key, dim, p, acc);
    }
    for (; dim < a.padded_dim; dim += V::kLanes) {
      add_values_f16<kRows, 1>(a, first_key, end_key, dim, p, acc);
    }
  }

  // Splits rows into the sizes there are kernels for.
  template <class Function>
  static void for_rows(int num_rows, Function f) {
    int r = 0;
    for (; r + kMostRows <= num_rows; r += kMostRows) f.template operator()<kMostRows>(r);
    if constexpr (kMostRows > 4) {
      if (r + 4 <= num_rows) {
        f.template operator()<4>(r);
        r += 4;
      }
    }
    switch (num_rows - r) {
      case 3:
        return f.template operator()<3>(r);
      case 2:
        return f.template operator()<2>(r);
      case 1:
        return f.template operator()<1>(r);
    }
  }

  // Turns one row's scores of keys [first, end) into exponentials, masking what the row does not
  // see.
  static void softmax_row(const AttentionArgs& a, int r, int first, int end, float* scores,
                          float* largest, float* sum) {
    int low = a.window > 0 ? a.position[r] - a.window + 1 : 0;
    low = (low > first ? low : first) - first;
    const int high = (a.position[r] + 1 < end ? a.position[r] + 1 : end) - first;
    const int padded = (end - first + kCacheBlock - 1) / kCacheBlock * kCacheBlock;
    *largest = kNothing;
    *sum = 0.0f;
    if (low >= high) {
      for (int i = 0; i < padded; ++i) scores[i] = 0.0f;
      return;
    }
    constexpr float kMasked = -3.0e38f;
    for (int i = 0; i < low; ++i) scores[i] = kMasked;
    for (int i = high; i < padded; ++i) scores[i] = kMasked;
    F best = V::load(scores);
    for (int i = V::kLanes; i < padded; i += V::kLanes) best = V::max(best, V::load(scores + i));
    *largest = V::largest(best);
    F total = V::zero();
    for (int i = 0; i < padded; i += V::kLanes) {
      const F p = Math<V>::exp(V::sub(V::load(scores + i), V::set1(*largest)));
      total = V::add(total, p);
      V::store(scores + i, p);
    }
    *sum = V::sum(total);
  }

  static float exp_of(float x) {
    alignas(64) float result[V::kLanes];
    V::store(result, Math<V>::exp(V::set1(x)));
    return result[0];
  }

  // One copy of the code for all callers, whatever the compiler makes of it.
  __attribute__((noinline)) static void fold(const AttentionPart& next, int padded_dim,
                                             const AttentionPart& total) {
    if (*next.sum == 0.0f) return;  // the row saw none of the keys
    const bool is_larger = *next.largest > *total.largest;
    const float factor =
        exp_of(is_larger ? *total.largest - *next.largest : *next.largest - *total.largest);
    const float keep = is_larger ? factor : 1.0f, take = is_larger ? 1.0f : factor;
    if (is_larger) *total.largest = *next.largest;
    *total.sum = *total.sum * keep + *next.sum * take;
    for (int d = 0; d < padded_dim; d += V::kLanes) {
      const F kept = V::mul(V::load(total.acc + d), V::set1(keep));
      V::store(total.acc + d, V::fma(V::load(next.acc + d), V::set1(take), kept));
    }
  }

  static void prepare_queries(const AttentionArgs& a, const Scratch& scratch) {
    for (int r = 0; r < a.num_rows; ++r) {
      float* q = scratch.q + r * a.padded_dim;
      for (int d = 0; d < a.head_dim; ++d) q[d] = a.q[r][d] * a.scale;
      for (int d = a.head_dim; d < a.padded_dim; ++d) q[d] = 0.0f;
    }
    if (!a.is_q8) return;
    for_rows(a.num_rows, [&]<int kRows>(int first) {
      for (int r = 0; r < kRows; ++r) {
        Quantizer<V>::run(scratch.q + (first + r) * a.padded_dim, 0, a.padded_dim / kBlockColumns,
                          scratch.tiles + first * tile_bytes<1>(a.padded_dim), r, kRows,
                          ActivationForm::kCodes16);
      }
    });
  }

  // One chunk of keys [first, end): its results go to `acc`, `largest` and `sum`. Blocks lie
  // anywhere, and the processor's prefetchers stop at the end of a page. So that memory is never
  // idle, the first pass, over keys, asks for the values, and the second for the keys that come
  // next; line by line, as many lines at once would make the pass wait (keys in q8_0 go through the
  // kernel of matrix products, which asks for nothing beside them).
  static void attend_chunk(const AttentionArgs& a, const Scratch& scratch, int first, int end,
                           float* acc, float* largest, float* sum) {
    constexpr int kAhead = 2 * kCacheBlock;
    const size_t half = cache_half_bytes(a.padded_dim, a.is_q8);
    for (int key = first; key < end; key += kCacheBlock) {
      const uint8_t* block = block_of(a, key);
      const uint8_t* ahead = key + kAhead < a.keys.end ? block_of(a, key + kAhead) : block;
      if (a.is_q8) {
        prefetch<V, CacheLevel::kSecond>(ahead, half);
        prefetch<V, CacheLevel::kSecond>(block + half, half);
      }
      for_rows(a.num_rows, [&]<int kRows>(int r) {
        float* scores = scratch.scores + r * kAttentionChunk + key - first;
        if (a.is_q8) {
          score_q8<kRows>(scratch.tiles + r * tile_bytes<1>(a.padded_dim), a.padded_dim, block,
                          scores);
        } else {
          score_f16<kRows>(scratch.q + r * a.padded_dim, a.padded_dim, block, ahead, scores);
        }
      });
    }
    for (int r = 0; r < a.num_rows; ++r) {
      softmax_row(a, r, first, end, scratch.scores + r * kAttentionChunk, largest + r, sum + r);
    }
    for_rows(a.num_rows, [&]<int kRows>(int r) {
      add_values<kRows>(a, first, end, scratch.scores + r * kAttentionChunk,
                        acc + r * a.padded_dim);
    });
  }

  static void attend(const AttentionArgs& a) {
    if (a.keys.begin == a.keys.end) return;
    const Scratch scratch(a);
    prepare_queries(a, scratch);
    for (int first = a.keys.begin; first < a.keys.end;) {
      const int next = (first / kAttentionChunk + 1) * kAttentionChunk;
      const int end = a.keys.end < next ? a.keys.end : next;
      if (first == a.keys.begin) {
        attend_chunk(a, scratch, first, end, a.acc, a.largest, a.sum);
      } else {
        float largest[kAttentionRows], sum[kAttentionRows];
        attend_chunk(a, scratch, first, end, scratch.acc, largest, sum);
        for (int r = 0; r < a.num_rows; ++r) {
          const auto at = static_cast<ptrdiff_t>(r) * a.padded_dim;
          fold({scratch.acc + at, largest + r, sum + r}, a.padded_dim,
               {a.acc + at, a.largest + r, a.sum + r});
        }
      }
      first = end;
    }
  }
};

}  // namespace sluice::backend::cpu
