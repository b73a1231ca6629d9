#pragma once

#include "backend/cpu/lanes_avx2.h"
#include "backend/cpu/linear_kernels.h"

// QuantizedTile for AVX2: the same sums, taken another way, as no instruction adds four products of
// bytes to 32 bits, registers are few, and a vector of activations is a load of its own.
//
// vpmaddubsw adds two products in 16 bits. As many of its results as fit there are added up before
// vpmaddwd widens them: all of a block's for codes of 4 bits.
//
// A block goes by in two phases of 16 columns. A phase holds two planes of four vectors of codes in
// registers, so that a load of activations serves two products. Codes of up to 6 bits: the planes
// are both halves of the rows. Codes of 8 bits, whose products do not fit: the low and the high
// nibbles of one half of the rows.
namespace sluice::backend::cpu {

template <class Fmt, int kTokens, bool kWide, bool kPrefetches>
struct QuantizedTile<Avx2, Fmt, kTokens, kWide, kPrefetches> {
  using V = Avx2;
  using F = V::F;
  using I = V::I;
  using B = V::B;
  using Reader = ScaleReader<V, Fmt>;
  static constexpr ActivationForm kForm =
      kWide ? ActivationForm::kCodes16 : ActivationForm::kCodes8;
  static constexpr size_t kRecord = activation_record_bytes(kForm, kTokens);
  static constexpr bool kHasNibbles = Fmt::kCodes == Codes::k8 || Fmt::kCodes == Codes::kTable;
  static constexpr int kBias = code_bias<Fmt>();
  static constexpr int kStartShift = std::countr_zero(static_cast<unsigned>(kStartBias / kBias));
  static constexpr int kPlanes = 2, kPhaseVectors = 4;
  static constexpr int kRowVectors = kHasNibbles ? 1 : 2;  // of a unit of planes
  // Results of vpmaddubsw that 16 bits hold: a phase's and the whole block's, or two.
  static constexpr int kMostPending = 32767 / (2 * 128 * (kHasNibbles ? 15 : 2 * kBias - 1));
  static constexpr bool kStaysNarrow = kMostPending >= 2 * kPhaseVectors;
  static_assert(kMostPending >= 2 && !(kHasNibbles && Fmt::kIsHalved));
  using Codes4 = B[kPlanes][kPhaseVectors];
  using Numbers = TokenNumbers<kTokens>;

  // A phase's sums of products, of each plane: 16 bits if kStaysNarrow, or 32.
  struct Sums {
    I plane[kPlanes];
  };

  static inline __attribute__((always_inline)) I widen(I pairs, int16_t factor = 1) {
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(factor));
  }

  static inline __attribute__((always_inline)) Sums products(const Codes4& w, const uint8_t* x) {
    Sums sums;
    for (int p = 0; p < kPlanes; ++p) sums.plane[p] = _mm256_setzero_si256();
    I pairs[kPlanes];
#pragma GCC unroll 4
    for (int j = 0; j < kPhaseVectors; ++j) {
      int32_t four;
      __builtin_memcpy(&four, x + 4 * j, 4);
      const I columns = _mm256_set1_epi32(four);
#pragma GCC unroll 2
      for (int p = 0; p < kPlanes; ++p) {
        const I more = _mm256_maddubs_epi16(w[p][j], columns);
        pairs[p] = j % kMostPending == 0 ? more : _mm256_add_epi16(pairs[p], more);
        if constexpr (!kStaysNarrow) {
          const bool is_full = (j + 1) % kMostPending == 0 || j + 1 == kPhaseVectors;
          if (is_full) sums.plane[p] = _mm256_add_epi32(sums.plane[p], widen(pairs[p]));
        }
      }
    }
    if constexpr (kStaysNarrow) {
      for (int p = 0; p < kPlanes; ++p) sums.plane[p] = pairs[p];
    }
    return sums;
  }

  static inline __attribute__((always_inline)) Sums add(const Sums& a, const Sums& b) {
    Sums sums;
    for (int p = 0; p < kPlanes; ++p) {
      sums.plane[p] = kStaysNarrow ? _mm256_add_epi16(a.plane[p], b.plane[p])
                                   : _mm256_add_epi32(a.plane[p], b.plane[p]);
    }
    return sums;
  }

  // Sums of a vector of rows, in 32 bits.
  static inline __attribute__((always_inline)) I row_sums(const Sums& sums, int v) {
    if constexpr (kHasNibbles) {
      return _mm256_add_epi32(widen(sums.plane[0]), widen(sums.plane[1], 16));
    } else {
      return kStaysNarrow ? widen(sums.plane[v]) : sums.plane[v];
    }
  }

  // From memory each time: the compiler would keep constants in registers that codes need more.
  template <int8_t kByte>
  static inline __attribute__((always_inline)) B bytes() {
    alignas(32) static constexpr struct Bytes {
      int8_t byte[32];
      constexpr Bytes() : byte() {
        for (int8_t& b : byte) b = kByte;
      }
    } kBytes;
    B v;
    asm volatile("vmovdqa %1, %0" : "=x"(v) : "m"(kBytes));
    return v;
  }

  // The codes of 16 columns, made unsigned. `codes` is where the block's begin for these rows.
  template <int kPhase>
  static inline __attribute__((always_inline)) void unpack(const uint8_t* codes,
                                                           const int8_t* table, Codes4& w) {
    const B low_half = bytes<0x0f>();
    const auto nibbles = [&](const uint8_t* from, int j) {
      const B v = V::load_codes(from + 64 * j);
      return _mm256_and_si256(kPhase == 0 ? v : _mm256_srli_epi16(v, 4), low_half);
    };
    if constexpr (kHasNibbles) {
      for (int j = 0; j < kPhaseVectors; ++j) {
        B code;
        if constexpr (Fmt::kCodes == Codes::k8) {
          code = V::load_codes(codes + 64 * (kPhaseVectors * kPhase + j));
        } else {
          const auto* values = reinterpret_cast<const __m128i*>(table);
          code = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(values)),
                                     nibbles(codes, j));
        }
        code = V::flip_signs(code);
        w[0][j] = _mm256_and_si256(code, low_half);
        w[1][j] = _mm256_and_si256(_mm256_srli_epi16(code, 4), low_half);
      }
    } else {
      // A nibble of two's complement, with the bits of its plane below, plus the bias.
      constexpr int kLowBits = Fmt::kCodes == Codes::k4 ? 0 : Fmt::kCodes == Codes::k4Plus1 ? 1 : 2;
      const B bias = bytes<(8 << kLowBits)>();
      for (int p = 0; p < kPlanes; ++p) {
        const uint8_t* from = codes + 32 * p;
        for (int j = 0; j < kPhaseVectors; ++j) {
          w[p][j] = _mm256_xor_si256(_mm256_slli_epi16(nibbles(from, j), kLowBits), bias);
        }
        if constexpr (kLowBits > 0) {
          const B low_bits = bytes<(1 << kLowBits) - 1>();
          const B plane = V::load_codes(from + 256 + (kLowBits == 2 ? 64 * kPhase : 0));
          for (int j = 0; j < kPhaseVectors; ++j) {
            const int shift = kLowBits == 2 ? 2 * j : kPhaseVectors * kPhase + j;
            w[p][j] = _mm256_or_si256(w[p][j],
                                      _mm256_and_si256(_mm256_srli_epi16(plane, shift), low_bits));
          }
        }
      }
    }
  }

  // What a phase leaves for the next: sums, or results where the phases have scales of their own.
  struct Carried {
    Sums low;
    Sums high;  // kWide
    F y[kRowVectors];
  };

  static inline __attribute__((always_inline)) I total(const Sums& low, const Sums& high, int v,
                                                       const int32_t& start) {
    const I from = _mm256_srai_epi32(_mm256_set1_epi32(start), kStartShift);
    I sum = _mm256_add_epi32(row_sums(low, v), from);
    if constexpr (kWide) sum = _mm256_add_epi32(sum, _mm256_slli_epi32(row_sums(high, v), 8));
    return sum;
  }

  template <class Function>
  static inline __attribute__((always_inline)) void for_tokens(Function f) {
    if constexpr (kTokens <= 2) {
#pragma GCC unroll 2
      for (int t = 0; t < kTokens; ++t) f(t);
    } else {
#pragma GCC unroll 1
      for (int t = 0; t < kTokens; ++t) f(t);
    }
  }

  // One block, for kRowVectors vectors of rows.
  static inline __attribute__((always_inline)) void add_block(const uint8_t* codes,
                                                              const int8_t* table,
                                                              const BlockScales<V>* scales,
                                                              const uint8_t* record,
                                                              F (*acc)[kTokens]) {
    const auto* numbers =
        reinterpret_cast<const Numbers*>(record + code_bytes_of_record(kForm, kTokens));
    const auto low_of = [&](int t) { return record + t * kBlockColumns; };
    const auto high_of = [&](int t) { return low_of(t) + kTokens * kBlockColumns; };
    alignas(16) static constexpr uint8_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1,
                                                      1, 1, 1, 1, 1, 1, 1, 1};
    constexpr int kColumns = 4 * kPhaseVectors;
    Carried carried[kTokens];
    Codes4 w;
    F code_sums[kRowVectors];  // d * sum(q)

    unpack<0>(codes, table, w);
    Sums ones;
    if constexpr (!kWide) ones = products(w, kOnes);
    for_tokens([&](int t) {
      Carried& c = carried[t];
      c.low = products(w, low_of(t));
      if constexpr (kWide) c.high = products(w, high_of(t));
      if constexpr (Fmt::kIsHalved) {
        for (int v = 0; v < kRowVectors; ++v) {
          c.y[v] =
              V::mul(V::to_float(total(c.low, c.high, v, numbers->first_start[t])), scales[v].d[0]);
        }
      }
    });
    if constexpr (!kWide && Fmt::kIsHalved) {
      for (int v = 0; v < kRowVectors; ++v) {
        code_sums[v] = V::mul(code_sum(ones, v, kColumns), scales[v].d[0]);
      }
    }

    unpack<1>(codes, table, w);
    if constexpr (!kWide && Fmt::kIsHalved) {
      ones = products(w, kOnes);
      for (int v = 0; v < kRowVectors; ++v) {
        code_sums[v] = V::fma(code_sum(ones, v, kColumns), scales[v].d[1], code_sums[v]);
      }
    } else if constexpr (!kWide) {
      ones = add(ones, products(w, kOnes));
      for (int v = 0; v < kRowVectors; ++v) {
        code_sums[v] = V::mul(code_sum(ones, v, 2 * kColumns), scales[v].d[0]);
      }
    }
    for_tokens([&](int t) {
      const Carried& c = carried[t];
      Sums low = products(w, low_of(t) + kColumns), high;
      if constexpr (kWide) high = products(w, high_of(t) + kColumns);
      if constexpr (!Fmt::kIsHalved) {
        low = add(low, c.low);
        if constexpr (kWide) high = add(high, c.high);
      }
      const F scale = V::set1(numbers->scale[t]);
      for (int v = 0; v < kRowVectors; ++v) {
        F& sum = acc[v][t];
        F y;
        if constexpr (Fmt::kIsHalved) {
          y = V::fma(V::to_float(total(low, high, v, numbers->second_start[t])), scales[v].d[1],
                     c.y[v]);
        } else {
          y = V::mul(V::to_float(total(low, high, v, numbers->start[t])), scales[v].d[0]);
        }
        sum = V::fma(y, scale, sum);
        if constexpr (!kWide) sum = V::fma(code_sums[v], V::set1(numbers->middle[t]), sum);
        if constexpr (Fmt::kHasMin) sum = add_minimum<V, Fmt>(*numbers, t, scales[v], scale, sum);
      }
    });
  }

  static inline __attribute__((always_inline)) F code_sum(const Sums& ones, int v, int columns) {
    return V::to_float(_mm256_sub_epi32(row_sums(ones, v), _mm256_set1_epi32(columns * kBias)));
  }

  template <size_t kBytes>
  static inline __attribute__((always_inline)) void prefetch_ahead(const uint8_t* weights) {
    if constexpr (kPrefetches) prefetch<V, CacheLevel::kFirst>(weights + kAheadBytes, kBytes);
  }

  // Weights and activations go by once, for both halves of the rows.
  static void run(const TileArgs& args) {
    constexpr int kHalves = kGroupRows / V::kLanes;
    F acc[kHalves][kTokens];
    for (auto& sums : acc) {
      for (F& sum : sums) sum = V::zero();
    }
    const uint8_t* record_of_scales = args.group;
    const uint8_t* record = args.tile;
    for (int block = 0; block < args.num_blocks; block += Fmt::kUnitBlocks) {
      prefetch_ahead<scale_bytes(Fmt::kScales)>(record_of_scales);
      typename Reader::Shared shared[kHalves];
      for (int h = 0; h < kHalves; ++h) {
        shared[h] = Reader::read_shared(record_of_scales, h * V::kLanes);
      }
      const uint8_t* codes = record_of_scales + scale_bytes(Fmt::kScales);
      for (int part = 0; part < Fmt::kUnitBlocks; ++part) {
        prefetch_ahead<Fmt::kCodeBytes>(codes);
        BlockScales<V> scales[kHalves];
        for (int h = 0; h < kHalves; ++h) {
          scales[h] = Reader::read(shared[h], record_of_scales, part, h * V::kLanes);
        }
        for (int h = 0; h < kHalves; h += kRowVectors) {
          add_block(codes + 4 * V::kLanes * h, args.table, scales + h, record, acc + h);
        }
        codes += Fmt::kCodeBytes;
        record += kRecord;
      }
      record_of_scales += Fmt::kUnitBytes;
    }
    for (int h = 0; h < kHalves; ++h) {
      for (int t = 0; t < kTokens; ++t) {
        V::store(args.out + t * kGroupRows + h * V::kLanes, acc[h][t]);
      }
    }
  }
};

}  // namespace sluice::backend::cpu
