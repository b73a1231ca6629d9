#pragma once

#include "backend/cpu/kernels.h"

// One group of 16 rows times one tile of tokens, for every packed format. With 8 bits, x = s * u +
// m, where u are unsigned codes, and w = d * q (+ mw), where q are signed codes: a block's part of
// a dot product is
//   d * (s * sum(u q) + m * sum(q)) + mw * sum(x)
// With 16 bits ("wide") no minimum is needed: x = s * c, where c are signed, and the weights' codes
// are made unsigned by a bias b. That saves sum(q):
//   d * (s * sum((q + b) c) - b * sum(x)) + mw * sum(x)
// Either way the inner loop is integer, and equals the product with the rounded x exactly (up to
// the rounding of f32): rounding x is the only loss.
namespace sluice::backend::cpu {

// A block's scales for V::kLanes rows. Wide: d times the bias, and minus the minimum that belongs
// to the unsigned codes.
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

template <class V, class Fmt, bool kWide = false>
struct ScaleReader {
  using F = typename V::F;

  static F corrected(F d) {
    constexpr float factor = kWide ? static_cast<float>(code_bias<Fmt>()) : unpack_scale<V, Fmt>();
    if constexpr (factor == 1.0f) return d;
    return V::mul(d, V::set1(factor));
  }
  // The minimum that belongs to the codes as they are unpacked; wide: minus that.
  static F shifted(F min, F d) {
    constexpr int offset = Fmt::kOffset - (kWide ? code_bias<Fmt>() : 0);
    if constexpr (kWide) {
      if constexpr (offset == 0) return V::sub(V::zero(), min);
      return V::sub(V::mul(d, V::set1(static_cast<float>(-offset))), min);
    }
    if constexpr (offset == 0) return min;
    return V::fma(d, V::set1(static_cast<float>(offset)), min);
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
        if constexpr (kWide) s.min[half] = V::sub(s.d[half], s.min[half]);
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

// Products of codes over vectors [first, first + count) of a block; 16-bit codes as 256 * high +
// low.
template <class V, bool kSmall, bool kWide, int kCount>
inline typename V::F dot_codes(const uint8_t* low, const uint8_t* high, const typename V::B* w) {
  typename V::I acc = V::int_zero();
  if constexpr (kWide) {
    // Two chains of dependent instructions, not one of twice the length: few tokens leave few
    // others to run beside it.
    typename V::I high_acc = V::int_zero();
    for (int j = 0; j < kCount; ++j) {
      high_acc = V::template dot_signed<kSmall>(high_acc, high + 4 * j, w[j]);
      acc = V::template dot_signed<kSmall>(acc, low + 4 * j, w[j]);
    }
    return V::to_float(V::int_add(V::shift_left_8(high_acc), acc));
  }
  for (int j = 0; j < kCount; ++j) acc = V::template dot<kSmall>(acc, low + 4 * j, w[j]);
  return V::to_float(acc);
}

// A token's sums are taken in the same order for any kTokens. kPrefetches: weights may come from
// memory.
template <class V, class Fmt, int kTokens, bool kWide, bool kPrefetches = true>
struct QuantizedTile {
  using F = typename V::F;
  using B = typename V::B;
  using Reader = ScaleReader<V, Fmt, kWide>;
  // |code| <= 64 as the lanes that care unpack them (AVX2, where nothing is scaled up).
  static constexpr bool kSmall = Fmt::kCodes != Codes::k8 && Fmt::kCodes != Codes::kTable;
  static constexpr size_t kRecord =
      activation_record_bytes(kWide ? ActivationForm::kCodes16 : ActivationForm::kCodes8, kTokens);

  static constexpr size_t kAheadBytes = 4608;

  template <int kCount>
  static F code_sum(const B* w) {
    typename V::I acc = V::int_zero();
    for (int j = 0; j < kCount; ++j) acc = V::template add_codes<kSmall>(acc, w[j]);
    return V::to_float(acc);
  }

  // Sum of x over columns 0..15 of a block (only formats with minimums of half blocks need it).
  static float first_half_sum(const uint8_t* codes, float scale, float min) {
    int total = 0;
    for (int i = 0; i < 16; ++i) total += codes[i];
    return scale * static_cast<float>(total) + 16.0f * min;
  }

  // The hardware's prefetchers alone leave much of the bandwidth unused beside arithmetic. (Inlined
  // by force: GCC drops calls of functions that do nothing but prefetch.)
  template <size_t kBytes>
  static inline __attribute__((always_inline)) void prefetch_ahead(const uint8_t* weights) {
    if constexpr (!kPrefetches) return;
    for (size_t i = 0; i < kBytes; i += 64) V::prefetch(weights + kAheadBytes + i);
  }

  static inline __attribute__((always_inline)) void add_block(const uint8_t* codes,
                                                              const int8_t* table,
                                                              const BlockScales<V>& s,
                                                              const uint8_t* record,
                                                              F (&acc)[kTokens]) {
    B w[8];
    prefetch_ahead<Fmt::kCodeBytes>(codes);
    unpack_codes<V, Fmt, kWide>(codes, table, w);
    if constexpr (kWide) {
      const WideScales scales(s);
      for_tokens([&](int t) { add_wide_token(record, t, w, scales, acc[t]); });
    } else {
      F d_sum;  // d * sum(q)
      if constexpr (Fmt::kIsHalved) {
        d_sum = V::fma(code_sum<4>(w), s.d[0], V::mul(code_sum<4>(w + 4), s.d[1]));
      } else {
        d_sum = V::mul(code_sum<8>(w), s.d[0]);
      }
      for_tokens([&](int t) { add_token(record, t, w, s, d_sum, acc[t]); });
    }
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

  // Numbers of a tile's token: scale / 128, minus the sum of its first half, minus the sum.
  struct WideScales {
    F d[2];    // for the sums of codes
    F min[2];  // minus the minimums; where they are two, [0] is their difference
    explicit WideScales(const BlockScales<V>& s) {
      // One for the lanes that unpack codes into the top of their byte.
      constexpr float factor = 128.0f * unpack_scale<V, Fmt>() / code_bias<Fmt>();
      const auto scaled = [](F x) {
        if constexpr (factor == 1.0f) return x;
        return V::mul(x, V::set1(factor));
      };
      for (int half = 0; half < (Fmt::kIsHalved ? 2 : 1); ++half) {
        d[half] = scaled(s.d[half]);
        min[half] = Fmt::kHasMin ? s.min[half] : s.d[half];
      }
      if constexpr (Fmt::kIsHalved) min[0] = V::sub(min[0], min[1]);
    }
  };

  static inline __attribute__((always_inline)) void add_wide_token(const uint8_t* record, int t,
                                                                   const B (&w)[8],
                                                                   const WideScales& s, F& acc) {
    const float* numbers = reinterpret_cast<const float*>(record + kTokens * kBlockColumns * 2) + t;
    const F scale = V::set1(numbers[0]), minus_sum = V::set1(numbers[2 * kTokens]);
    const uint8_t* low = record + t * kBlockColumns;
    const uint8_t* high = low + kTokens * kBlockColumns;
    if constexpr (Fmt::kIsHalved) {
      F y = V::mul(dot_codes<V, kSmall, true, 4>(low, high, w), s.d[0]);
      y = V::fma(dot_codes<V, kSmall, true, 4>(low + 16, high + 16, w + 4), s.d[1], y);
      acc = V::fma(y, scale, acc);
      acc = V::fma(s.min[0], V::set1(numbers[kTokens]), acc);
      acc = V::fma(s.min[1], minus_sum, acc);
    } else if constexpr (Fmt::kHasMin || !kFoldsBias) {
      acc = V::fma(V::mul(dot_codes<V, kSmall, true, 8>(low, high, w), scale), s.d[0], acc);
      acc = V::fma(s.min[0], minus_sum, acc);
    } else {
      const F y = V::fma(dot_codes<V, kSmall, true, 8>(low, high, w), scale, minus_sum);
      acc = V::fma(y, s.d[0], acc);
    }
  }
  // d and the bias times d are the same number.
  static constexpr bool kFoldsBias = 128.0f * unpack_scale<V, Fmt>() == code_bias<Fmt>();

  static inline __attribute__((always_inline)) void add_token(const uint8_t* record, int t,
                                                              const B (&w)[8],
                                                              const BlockScales<V>& s, F d_sum,
                                                              F& acc) {
    const float* numbers = reinterpret_cast<const float*>(record + kTokens * kBlockColumns) + t;
    const uint8_t* codes = record + t * kBlockColumns;
    F y;
    if constexpr (Fmt::kIsHalved) {
      y = V::mul(dot_codes<V, kSmall, false, 4>(codes, nullptr, w), s.d[0]);
      y = V::fma(dot_codes<V, kSmall, false, 4>(codes + 16, nullptr, w + 4), s.d[1], y);
    } else {
      y = V::mul(dot_codes<V, kSmall, false, 8>(codes, nullptr, w), s.d[0]);
    }
    acc = V::fma(y, V::set1(numbers[0]), acc);
    acc = V::fma(d_sum, V::set1(numbers[kTokens]), acc);
    if constexpr (Fmt::kHasMin && !Fmt::kIsHalved) {
      acc = V::fma(s.min[0], V::set1(numbers[2 * kTokens]), acc);
    } else if constexpr (Fmt::kHasMin) {
      const float first = first_half_sum(codes, numbers[0], numbers[kTokens]);
      acc = V::fma(s.min[0], V::set1(first), acc);
      acc = V::fma(s.min[1], V::set1(numbers[2 * kTokens] - first), acc);
    }
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
  // Few tokens leave few sums in flight: take every second column into a sum of its own. Alike for
  // all sizes up to 8, so that a token's result does not depend on its neighbours.
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

  struct Block {
    F v[kVectors];
    float smallest, largest;
    explicit Block(const float* x) {
      for (int i = 0; i < kVectors; ++i) v[i] = V::load(x + i * V::kLanes);
      F low = v[0], high = v[0];
      for (int i = 1; i < kVectors; ++i) {
        low = V::min(low, v[i]);
        high = V::max(high, v[i]);
      }
      smallest = V::smallest(low);
      largest = V::largest(high);
    }
  };

  // min and max return their second operand for a NaN: it must not reach the conversion.
  static I to_code(F x, float lowest, float highest) {
    return V::to_int(V::min(V::max(x, V::set1(lowest)), V::set1(highest)));
  }

  static void narrow(const float* x, uint8_t* record, int lane, int tile_tokens) {
    const Block block(x);
    constexpr float kLevels = 255.0f;
    const float minimum = block.smallest;
    const float scale = (block.largest - minimum) / kLevels;
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    uint8_t* codes = record + lane * kBlockColumns;
    I total = V::int_zero();
    for (int i = 0; i < kVectors; ++i) {
      const F u = V::mul(V::sub(block.v[i], V::set1(minimum)), V::set1(inverse));
      const I code = to_code(u, 0.0f, kLevels);
      total = V::int_add(total, code);
      V::store_u8(codes + i * V::kLanes, code);
    }
    float* numbers = reinterpret_cast<float*>(record + tile_tokens * kBlockColumns) + lane;
    numbers[0] = scale;
    numbers[tile_tokens] = minimum;
    numbers[2 * tile_tokens] =
        scale * static_cast<float>(V::int_sum(total)) + kBlockColumns * minimum;
  }

  static void wide(const float* x, uint8_t* record, int lane, int tile_tokens) {
    const Block block(x);
    constexpr float kLargest = 127.0f * 256.0f + 127.0f;  // of two signed digits
    const float size = block.largest > -block.smallest ? block.largest : -block.smallest;
    const float scale = size / kLargest;
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    uint8_t* codes = record + lane * kBlockColumns;
    uint8_t* high_codes = codes + tile_tokens * kBlockColumns;
    I totals[2] = {V::int_zero(), V::int_zero()};  // of the halves
    for (int i = 0; i < kVectors; ++i) {
      const I code = to_code(V::mul(block.v[i], V::set1(inverse)), -kLargest, kLargest);
      I& total = totals[i * 2 / kVectors];
      total = V::int_add(total, code);
      V::store_digits(codes + i * V::kLanes, high_codes + i * V::kLanes, code);
    }
    const int first = V::int_sum(totals[0]);
    float* numbers = reinterpret_cast<float*>(record + tile_tokens * kBlockColumns * 2) + lane;
    numbers[0] = scale / 128.0f;
    numbers[tile_tokens] = -scale * static_cast<float>(first);
    numbers[2 * tile_tokens] = -scale * static_cast<float>(first + V::int_sum(totals[1]));
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
        wide(from, record, lane, tile_tokens);
      } else {
        narrow(from, record, lane, tile_tokens);
      }
    }
  }
};

}  // namespace sluice::backend::cpu
