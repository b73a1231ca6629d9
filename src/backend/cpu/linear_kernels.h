#pragma once

#include <bit>

#include "backend/cpu/kernels.h"

// One group of 16 rows times one tile of tokens, for every packed format. Activations are rounded
// to x = s * c + z with signed codes c: of 8 bits, or of 16 with z = 0. Weights are w = d * q (+ m)
// with signed codes q. A block's part of a dot product is
//   d * s * sum(q c) + d * z * sum(q) + m * sum(x)
// vpdpbusd wants one side unsigned: the weights' codes are unpacked with a bias b added, and sums
// start from -b * sum(c), which lies beside c. So the inner loop is integer, and equals the product
// with the rounded x exactly (up to the rounding of f32): rounding x is the only loss.
namespace sluice::backend::cpu {

// A block's scales for V::kLanes rows.
template <class V>
struct BlockScales {
  typename V::F d[2];    // of columns 0..15 and 16..31; only [0] if they are one
  typename V::F min[2];  // likewise
};

// What makes a format's codes unsigned.
template <class Fmt>
constexpr int code_bias() {
  switch (Fmt::kCodes) {
    case Codes::k4:
      return 8;
    case Codes::k4Plus1:
      return 16;
    case Codes::k4Plus2:
      return 32;
    default:
      return 128;
  }
}

// What unpacking multiplied the codes by, as a factor that takes it back.
template <class V, class Fmt>
constexpr float unpack_scale() {
  if constexpr (Fmt::kCodes == Codes::k4) return V::template unpack_scale<0>();
  if constexpr (Fmt::kCodes == Codes::k4Plus1) return V::template unpack_scale<1>();
  if constexpr (Fmt::kCodes == Codes::k4Plus2) return V::template unpack_scale<2>();
  return 1.0f;
}

template <class V, class Fmt>
struct ScaleReader {
  using F = typename V::F;

  static F corrected(F d) {
    constexpr float factor = unpack_scale<V, Fmt>();
    if constexpr (factor == 1.0f) return d;
    return V::mul(d, V::set1(factor));
  }
  // The minimum that belongs to signed codes.
  static F shifted(F min, F d) {
    if constexpr (Fmt::kOffset == 0) return min;
    return V::fma(d, V::set1(static_cast<float>(Fmt::kOffset)), min);
  }
  static F f16(const uint8_t* p, int row) {
    return V::load_f16(reinterpret_cast<const uint16_t*>(p) + row);
  }

  // What the blocks of a record share.
  struct Shared {
    F d;    // times unpack_scale()
    F min;  // -dmin
    F original_d;
  };
  static Shared read_shared(const uint8_t* record, int row) {
    Shared shared;
    if constexpr (scale_blocks(Fmt::kScales) > 1) {
      shared.original_d = f16(record, row);
      shared.d = corrected(shared.original_d);
      if constexpr (Fmt::kHasMin) shared.min = V::sub(V::zero(), f16(record + 32, row));
    }
    return shared;
  }

  static BlockScales<V> read(const Shared& shared, const uint8_t* record, int part, int row) {
    constexpr Scales kind = Fmt::kScales;
    BlockScales<V> s;
    if constexpr (kind == Scales::kF16) {
      s.d[0] = corrected(f16(record, row));
    } else if constexpr (kind == Scales::kF16Min) {
      const F d = f16(record, row);
      s.d[0] = corrected(d);
      s.min[0] = shifted(f16(record + 32, row), d);
    } else if constexpr (kind == Scales::kE8M0) {
      s.d[0] = corrected(V::mul(V::load_e8m0(record + row), V::set1(0.5f)));
    } else if constexpr (kind == Scales::kSuper) {
      s.d[0] = V::mul(shared.d, V::load_i8(record + 32 + 16 * part + row));
    } else if constexpr (kind == Scales::kSuperMin) {
      const uint8_t* own = record + 64 + 32 * part + row;
      const F scale = V::load_u8(own);
      s.d[0] = V::mul(shared.d, scale);
      s.min[0] = V::mul(shared.min, V::load_u8(own + 16));
      s.min[0] = shifted(s.min[0], V::mul(shared.original_d, scale));
    } else if constexpr (kind == Scales::kSuperHalf) {
      const uint8_t* own = record + 32 + 32 * part + row;
      s.d[0] = V::mul(shared.d, V::load_i8(own));
      s.d[1] = V::mul(shared.d, V::load_i8(own + 16));
    } else {
      const uint8_t* own = record + 64 + 64 * part + row;
      for (int half = 0; half < 2; ++half) {
        s.d[half] = V::mul(shared.d, V::load_u8(own + 16 * half));
        s.min[half] = V::mul(shared.min, V::load_u8(own + 32 + 16 * half));
      }
    }
    return s;
  }
};

// kUnsigned: with the bias.
template <class V, class Fmt, bool kUnsigned = false>
inline void unpack_codes(const uint8_t* codes, const int8_t* table, typename V::B (&w)[8]) {
  if constexpr (Fmt::kCodes == Codes::k4) {
    V::template unpack<0, kUnsigned>(codes, w);
  } else if constexpr (Fmt::kCodes == Codes::k4Plus1) {
    V::template unpack<1, kUnsigned>(codes, w);
  } else if constexpr (Fmt::kCodes == Codes::k4Plus2) {
    V::template unpack<2, kUnsigned>(codes, w);
  } else {
    if constexpr (Fmt::kCodes == Codes::kTable) {
      V::unpack_table(codes, table, w);
    } else {
      for (int j = 0; j < 8; ++j) w[j] = V::load_codes(codes + 64 * j);
    }
    if constexpr (kUnsigned) {
      for (int j = 0; j < 8; ++j) w[j] = V::flip_signs(w[j]);
    }
  }
}

enum class CacheLevel { kFirst, kSecond };

// The hardware's prefetchers alone leave much of the bandwidth unused beside arithmetic. (Inlined
// by force: GCC drops calls of functions that do nothing but prefetch.)
template <class V, CacheLevel kLevel>
inline __attribute__((always_inline)) void prefetch(const uint8_t* from, size_t num_bytes) {
  for (size_t i = 0; i < num_bytes; i += 64) {
    kLevel == CacheLevel::kFirst ? V::prefetch(from + i) : V::prefetch_far(from + i);
  }
}

constexpr size_t kAheadBytes = 4608;  // of the weights that are being read

// Adds a block's minima, times the sum of a token's x there, to `acc`. scale: the token's.
template <class V, class Fmt, int kTokens>
inline __attribute__((always_inline)) typename V::F add_minimum(
    const TokenNumbers<kTokens>& numbers, int t, const BlockScales<V>& s, typename V::F scale,
    typename V::F acc) {
  using F = typename V::F;
  if constexpr (Fmt::kIsHalved) {
    // The halves' sums of x, from where their products start.
    const F factor = V::mul(scale, V::set1(-1.0f / kStartBias));
    const F middles = V::set1(16.0f * numbers.middle[t]);
    const auto sum_from = [&](int32_t start) {
      return V::fma(V::to_float(V::int_set1(start)), factor, middles);
    };
    acc = V::fma(s.min[0], sum_from(numbers.first_start[t]), acc);
    return V::fma(s.min[1], sum_from(numbers.second_start[t]), acc);
  } else {
    return V::fma(s.min[0], V::set1(numbers.sum[t]), acc);
  }
}

// A token's sums are taken in the same order for any kTokens. kPrefetches: weights may come from
// memory. AVX2 has a tile of its own (linear_avx2.h).
template <class V, class Fmt, int kTokens, bool kWide, bool kPrefetches = true>
struct QuantizedTile {
  using F = typename V::F;
  using I = typename V::I;
  using B = typename V::B;
  using Reader = ScaleReader<V, Fmt>;
  static constexpr ActivationForm kForm =
      kWide ? ActivationForm::kCodes16 : ActivationForm::kCodes8;
  static constexpr size_t kRecord = activation_record_bytes(kForm, kTokens);
  // The bias as unpacked is kStartBias / 2^kStartShift.
  static constexpr int kStartShift = std::countr_zero(static_cast<unsigned>(
      kStartBias * unpack_scale<V, Fmt>() / static_cast<float>(code_bias<Fmt>())));

  template <size_t kBytes>
  static inline __attribute__((always_inline)) void prefetch_ahead(const uint8_t* weights) {
    if constexpr (kPrefetches) prefetch<V, CacheLevel::kFirst>(weights + kAheadBytes, kBytes);
  }

  static inline __attribute__((always_inline)) void add_block(const uint8_t* codes,
                                                              const int8_t* table,
                                                              const BlockScales<V>& s,
                                                              const uint8_t* record,
                                                              F (&acc)[kTokens]) {
    B w[8];
    prefetch_ahead<Fmt::kCodeBytes>(codes);
    unpack_codes<V, Fmt, true>(codes, table, w);
    F d_sum;  // d * sum(q)
    if constexpr (!kWide && Fmt::kIsHalved) {
      d_sum = V::fma(code_sum<4>(w), s.d[0], V::mul(code_sum<4>(w + 4), s.d[1]));
    } else if constexpr (!kWide) {
      d_sum = V::mul(code_sum<8>(w), s.d[0]);
    }
    for_tokens([&](int t) { add_token(record, t, w, s, d_sum, acc[t]); });
  }

  template <class Function>
  static inline __attribute__((always_inline)) void for_tokens(Function f) {
    if constexpr (V::kUnrolls) {
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) f(t);
    } else {
      for (int t = 0; t < kTokens; ++t) f(t);
    }
  }

  // Sum of signed codes over kCount vectors. Codes that were unpacked to the top of their byte have
  // zeros below: averages of pairs are exact, leave the multipliers alone (unlike products with
  // ones), and that of all vectors holds their sum.
  template <int kCount>
  static F code_sum(const B* w) {
    constexpr uint8_t kOnes[4] = {1, 1, 1, 1};
    constexpr int kBias = -4 * kCount * (kStartBias >> kStartShift);
    if constexpr (kCount * unpack_scale<V, Fmt>() <= 1.0f) {
      B average = V::average(V::average(w[0], w[1]), V::average(w[2], w[3]));
      if constexpr (kCount == 8) {
        average = V::average(average, V::average(V::average(w[4], w[5]), V::average(w[6], w[7])));
      }
      const I sum = V::dot(V::int_set1(kBias / kCount), kOnes, average);
      return V::to_float(V::template shift_left<std::countr_zero(unsigned{kCount})>(sum));
    }
    I sum = V::int_set1(kBias);
    for (int j = 0; j < kCount; ++j) sum = V::dot(sum, kOnes, w[j]);
    return V::to_float(sum);
  }

  // Sum of products of signed codes over kCount vectors; 16-bit codes are 256 * high + low.
  template <int kCount>
  static inline __attribute__((always_inline)) F dot(int32_t start, const uint8_t* low,
                                                     const uint8_t* high, const B* w) {
    I sum = V::template shift_right<kStartShift>(V::int_set1(start));
    if constexpr (kWide) {
      // Two chains of dependent instructions, not one of twice the length: few tokens leave few
      // others to run beside it.
      I high_sum = V::int_zero();
      for (int j = 0; j < kCount; ++j) {
        high_sum = V::dot(high_sum, high + 4 * j, w[j]);
        sum = V::dot(sum, low + 4 * j, w[j]);
      }
      return V::to_float(V::int_add(V::template shift_left<8>(high_sum), sum));
    }
    for (int j = 0; j < kCount; ++j) sum = V::dot(sum, low + 4 * j, w[j]);
    return V::to_float(sum);
  }

  static inline __attribute__((always_inline)) void add_token(const uint8_t* record, int t,
                                                              const B (&w)[8],
                                                              const BlockScales<V>& s, F d_sum,
                                                              F& acc) {
    const uint8_t* low = record + t * kBlockColumns;
    const uint8_t* high = low + kTokens * kBlockColumns;
    const auto* numbers = reinterpret_cast<const TokenNumbers<kTokens>*>(
        record + code_bytes_of_record(kForm, kTokens));
    F y;
    if constexpr (Fmt::kIsHalved) {
      y = V::mul(dot<4>(numbers->first_start[t], low, high, w), s.d[0]);
      y = V::fma(dot<4>(numbers->second_start[t], low + 16, high + 16, w + 4), s.d[1], y);
    } else {
      y = V::mul(dot<8>(numbers->start[t], low, high, w), s.d[0]);
    }
    const F scale = V::set1(numbers->scale[t]);
    acc = V::fma(y, scale, acc);
    if constexpr (!kWide) acc = V::fma(d_sum, V::set1(numbers->middle[t]), acc);
    if constexpr (Fmt::kHasMin) acc = add_minimum<V, Fmt>(*numbers, t, s, scale, acc);
  }

  static void run(const TileArgs& args) {
    for (int row = 0; row < kGroupRows; row += V::kLanes) {
      F acc[kTokens];
      for (int t = 0; t < kTokens; ++t) acc[t] = V::zero();
      const uint8_t* scales = args.group;
      const uint8_t* record = args.tile;
      for (int block = 0; block < args.num_blocks; block += Fmt::kUnitBlocks) {
        prefetch_ahead<scale_bytes(Fmt::kScales)>(scales);
        const auto shared = Reader::read_shared(scales, row);
        const uint8_t* codes = scales + scale_bytes(Fmt::kScales) + 4 * row;
        for (int part = 0; part < Fmt::kUnitBlocks; ++part) {
          add_block(codes, args.table, Reader::read(shared, scales, part, row), record, acc);
          codes += Fmt::kCodeBytes;
          record += kRecord;
        }
        scales += Fmt::kUnitBytes;
      }
      for (int t = 0; t < kTokens; ++t) V::store(args.out + t * kGroupRows + row, acc[t]);
    }
  }
};

// Matrices of floats, packed as [columns][16].
enum class FloatKind { kF32, kF16, kBF16 };

template <class V, FloatKind kKind, int kTokens>
struct FloatTile {
  using F = typename V::F;
  // Few tokens leave few sums in flight: take every second column into a sum of its own. Alike
  // for all sizes up to 8, so that a token's result does not depend on its neighbours.
  static constexpr int kSums = kTokens <= 8 ? 2 : 1;

  static F load(const uint8_t* values, int column, int row) {
    const int index = column * kGroupRows + row;
    if constexpr (kKind == FloatKind::kF32)
      return V::load(reinterpret_cast<const float*>(values) + index);
    if constexpr (kKind == FloatKind::kF16) {
      return V::load_f16(reinterpret_cast<const uint16_t*>(values) + index);
    }
    return V::load_bf16(reinterpret_cast<const uint16_t*>(values) + index);
  }

  static void run(const TileArgs& args) {
    for (int row = 0; row < kGroupRows; row += V::kLanes) {
      F acc[kSums][kTokens];
      for (auto& sums : acc) {
        for (F& sum : sums) sum = V::zero();
      }
      const float* x = reinterpret_cast<const float*>(args.tile);
      for (int block = 0; block < args.num_blocks; ++block, x += kTokens * kBlockColumns) {
        for (int i = 0; i < kBlockColumns; i += kSums) {
          for (int k = 0; k < kSums; ++k) {
            const F w = load(args.group, block * kBlockColumns + i + k, row);
#pragma GCC unroll 16
            for (int t = 0; t < kTokens; ++t) {
              acc[k][t] = V::fma(w, V::set1(x[t * kBlockColumns + i + k]), acc[k][t]);
            }
          }
        }
      }
      for (int t = 0; t < kTokens; ++t) {
        F sum = acc[0][t];
        for (int k = 1; k < kSums; ++k) sum = V::add(sum, acc[k][t]);
        V::store(args.out + t * kGroupRows + row, sum);
      }
    }
  }
};

template <class V, class Fmt>
TileKernel quantized_tile_kernel(ActivationForm form, int tile_tokens) {
  const bool is_wide = form == ActivationForm::kCodes16;
  switch (tile_tokens) {
    case 1:
      return is_wide ? QuantizedTile<V, Fmt, 1, true>::run : nullptr;
    case 2:
      return is_wide ? QuantizedTile<V, Fmt, 2, true>::run : nullptr;
    case 4:
      return is_wide ? QuantizedTile<V, Fmt, 4, true>::run : QuantizedTile<V, Fmt, 4, false>::run;
    case 6:
      return is_wide ? QuantizedTile<V, Fmt, 6, true>::run : QuantizedTile<V, Fmt, 6, false>::run;
    case 8:
      return is_wide ? QuantizedTile<V, Fmt, 8, true>::run : QuantizedTile<V, Fmt, 8, false>::run;
    case 12:
      return is_wide ? nullptr : QuantizedTile<V, Fmt, 12, false>::run;
    case 16:
      return is_wide ? nullptr : QuantizedTile<V, Fmt, 16, false>::run;
    default:
      return nullptr;
  }
}

template <class V, FloatKind kKind>
TileKernel float_tile_kernel(int tile_tokens) {
  switch (tile_tokens) {
    case 1:
      return FloatTile<V, kKind, 1>::run;
    case 2:
      return FloatTile<V, kKind, 2>::run;
    case 4:
      return FloatTile<V, kKind, 4>::run;
    case 6:
      return FloatTile<V, kKind, 6>::run;
    case 8:
      return FloatTile<V, kKind, 8>::run;
    case 12:
      return FloatTile<V, kKind, 12>::run;
    case 16:
      return FloatTile<V, kKind, 16>::run;
    default:
      return nullptr;
  }
}

template <class V>
TileKernel tile_kernel_of(quant::Type type, ActivationForm form, int tile_tokens) {
  using quant::Type;
  switch (type) {
    case Type::kF32:
      return float_tile_kernel<V, FloatKind::kF32>(tile_tokens);
    case Type::kF16:
      return float_tile_kernel<V, FloatKind::kF16>(tile_tokens);
    case Type::kBF16:
      return float_tile_kernel<V, FloatKind::kBF16>(tile_tokens);
    case Type::kQ4_0:
      return quantized_tile_kernel<V, FormatQ4_0>(form, tile_tokens);
    case Type::kQ4_1:
      return quantized_tile_kernel<V, FormatQ4_1>(form, tile_tokens);
    case Type::kQ5_0:
      return quantized_tile_kernel<V, FormatQ5_0>(form, tile_tokens);
    case Type::kQ5_1:
      return quantized_tile_kernel<V, FormatQ5_1>(form, tile_tokens);
    case Type::kQ8_0:
      return quantized_tile_kernel<V, FormatQ8_0>(form, tile_tokens);
    case Type::kQ2_K:
      return quantized_tile_kernel<V, FormatQ2_K>(form, tile_tokens);
    case Type::kQ3_K:
      return quantized_tile_kernel<V, FormatQ3_K>(form, tile_tokens);
    case Type::kQ4_K:
      return quantized_tile_kernel<V, FormatQ4_K>(form, tile_tokens);
    case Type::kQ5_K:
      return quantized_tile_kernel<V, FormatQ5_K>(form, tile_tokens);
    case Type::kQ6_K:
      return quantized_tile_kernel<V, FormatQ6_K>(form, tile_tokens);
    case Type::kIQ4_NL:
      return quantized_tile_kernel<V, FormatIQ4_NL>(form, tile_tokens);
    case Type::kIQ4_XS:
      return quantized_tile_kernel<V, FormatIQ4_XS>(form, tile_tokens);
    case Type::kMXFP4:
      return quantized_tile_kernel<V, FormatMXFP4>(form, tile_tokens);
  }
  return nullptr;
}

// Columns of one token into its lane of a tile.
template <class V>
struct Quantizer {
  using F = typename V::F;
  using I = typename V::I;
  static constexpr int kVectors = kBlockColumns / V::kLanes;

  // min and max return their second operand for a NaN: it must not reach the conversion.
  static I to_code(F x, float lowest, float highest) {
    return V::to_int(V::min(V::max(x, V::set1(lowest)), V::set1(highest)));
  }

  // 8 bits: around a middle, as blocks are often far from symmetric; 16 bits have plenty.
  template <ActivationForm kForm>
  static void to_codes(const float* x, uint8_t* record, int lane, int tile_tokens) {
    constexpr bool kWide = kForm == ActivationForm::kCodes16;
    constexpr float kLargest = kWide ? 127.0f * 256.0f + 127.0f : 127.0f;  // of signed digits
    constexpr float kLowest = kWide ? -kLargest : -128.0f;
    F v[kVectors];
    for (int i = 0; i < kVectors; ++i) v[i] = V::load(x + i * V::kLanes);
    F low = v[0], high = v[0];
    for (int i = 1; i < kVectors; ++i) {
      low = V::min(low, v[i]);
      high = V::max(high, v[i]);
    }
    float lowest = V::smallest(low), highest = V::largest(high);
    if constexpr (kWide) {
      highest = highest > -lowest ? highest : -lowest;
      lowest = -highest;
    }
    const float scale = (highest - lowest) / (kLargest - kLowest);
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    const float middle = kWide ? 0.0f : lowest - scale * kLowest;
    uint8_t* codes = record + lane * kBlockColumns;
    I totals[2] = {V::int_zero(), V::int_zero()};  // of the halves
    for (int i = 0; i < kVectors; ++i) {
      const F scaled = V::mul(V::sub(v[i], V::set1(middle)), V::set1(inverse));
      const I code = to_code(scaled, kLowest, kLargest);
      I& total = totals[i * 2 / kVectors];
      total = V::int_add(total, code);
      if constexpr (kWide) {
        V::store_digits(codes + i * V::kLanes, codes + tile_tokens * kBlockColumns + i * V::kLanes,
                        code);
      } else {
        V::store_u8(codes + i * V::kLanes, code);
      }
    }
    const int first = V::int_sum(totals[0]), second = V::int_sum(totals[1]);
    auto* numbers =
        reinterpret_cast<float*>(record + code_bytes_of_record(kForm, tile_tokens)) + lane;
    numbers[0] = scale;
    numbers[tile_tokens] = middle;
    numbers[2 * tile_tokens] = scale * static_cast<float>(first + second) + kBlockColumns * middle;
    auto* starts = reinterpret_cast<int32_t*>(numbers + 3 * tile_tokens);
    starts[0] = -kStartBias * (first + second);
    starts[tile_tokens] = -kStartBias * first;
    starts[2 * tile_tokens] = -kStartBias * second;
  }

  static void to_bf16(const float* from, uint16_t* to) {
    for (int i = 0; i < kBlockColumns; ++i) {
      uint32_t bits;
      __builtin_memcpy(&bits, from + i, 4);
      to[i] = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
  }

  static void run(const float* x, int first_block, int end_block, uint8_t* tile, int lane,
                  int tile_tokens, ActivationForm form) {
    const size_t record_bytes = activation_record_bytes(form, tile_tokens);
    for (int b = first_block; b < end_block; ++b) {
      uint8_t* record = tile + static_cast<size_t>(b) * record_bytes;
      const float* from = x + static_cast<ptrdiff_t>(b) * kBlockColumns;
      if (form == ActivationForm::kBf16) {
        to_bf16(from, reinterpret_cast<uint16_t*>(record) + lane * kBlockColumns);
      } else if (form == ActivationForm::kFloats) {
        float* to = reinterpret_cast<float*>(record) + lane * kBlockColumns;
        __builtin_memcpy(to, from, kBlockColumns * sizeof(float));
      } else if (form == ActivationForm::kCodes16) {
        to_codes<ActivationForm::kCodes16>(from, record, lane, tile_tokens);
      } else {
        to_codes<ActivationForm::kCodes8>(from, record, lane, tile_tokens);
      }
    }
  }
};

}  // namespace sluice::backend::cpu
