#pragma once

// From a chunk of a tile in shared memory (packing_layout.h) to operands of mma: what all products
// with packed matrices share. A chunk's product with activations is
//
//   w x = sum over groups of columns: scale * (sum of code * x)  -  sum over groups: low * (sum of
//   x)
//
// with low = offset * scale, or the group's minimum. The sums over codes are one mma or two a group
// (fresh sums each; scales are f32 factors of the result), the whole second half is one or two more
// mma: `low` as A, sums of x as B. Codes are exact as halves, scales exact in f32: what is rounded
// is x alone.

#include "backend/cuda/packing_layout.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {

// Codes are halves code * 2^-24: results are to be multiplied by that.
template <quant::Type kType>
constexpr bool codes_are_denormal() {
  return Format<kType>::kScales != Scales::kNone && Format<kType>::kScales != Scales::kExponent;
}
template <quant::Type kType>
constexpr float code_unit() {
  return codes_are_denormal<kType>() ? 0x1p24f : 1.0f;
}
// Columns whose sums are wanted in one piece by lows(); 0: nothing is subtracted.
template <quant::Type kType>
constexpr int sum_group() {
  return codes_are_denormal<kType>() ? Format<kType>::kGroup : 0;
}

// A operands of the two k16 steps of a block of 32 columns.
struct BlockCodes {
  uint32_t a[2][4];
};

SLUICE_DEVICE int lesser(int a, int b) { return a < b ? a : b; }
SLUICE_DEVICE int greater(int a, int b) { return a > b ? a : b; }

SLUICE_DEVICE uint4 shared16(const uint8_t* from) {
  return ptx::load(reinterpret_cast<const uint4*>(from));
}
SLUICE_DEVICE uint2 shared8(const uint8_t* from) {
  return ptx::load(reinterpret_cast<const uint2*>(from));
}
SLUICE_DEVICE uint32_t shared4(const uint8_t* from) {
  return *reinterpret_cast<const uint32_t*>(from);
}
SLUICE_DEVICE uint32_t shared2(const uint8_t* from) {
  return *reinterpret_cast<const uint16_t*>(from);
}

SLUICE_DEVICE float half_of(const uint8_t* from) {
  return ptx::half_to_float(static_cast<uint16_t>(shared2(from)));
}

// An octet of 4-bit codes.
SLUICE_DEVICE void spread_nibbles(uint32_t word, uint32_t (&pairs)[4]) {
  pairs[0] = word & 0x000f000fu;
  pairs[1] = word & 0x00f000f0u;
  pairs[2] = word >> 8 & 0x000f000fu;
  pairs[3] = word >> 8 & 0x00f000f0u;
}
// An octet of indices into 16 bytes: a byte of `first` a pair's first, of `second` its second.
SLUICE_DEVICE void look_up_nibbles(uint32_t word, const uint32_t (&table)[4], uint32_t& first,
                                   uint32_t& second) {
  const uint32_t low = word & 0x77777777u;
  const uint32_t side = (word >> 1 & 0x44444444u) | 0x32103210u;
  first = ptx::permute_bytes(ptx::permute_bytes(table[0], table[1], low),
                             ptx::permute_bytes(table[2], table[3], low), side);
  second = ptx::permute_bytes(ptx::permute_bytes(table[0], table[1], low >> 16),
                              ptx::permute_bytes(table[2], table[3], low >> 16), side >> 16);
}

SLUICE_DEVICE void place_octets(const uint32_t (&u)[4], const uint32_t (&v)[4], BlockCodes& codes) {
  codes.a[0][0] = u[0];
  codes.a[0][1] = v[0];
  codes.a[0][2] = u[1];
  codes.a[0][3] = v[1];
  codes.a[1][0] = u[2];
  codes.a[1][1] = v[2];
  codes.a[1][2] = u[3];
  codes.a[1][3] = v[3];
}

// Bytes of a table for indices 0..15, as little-endian words: what is looked up plus 128, or the
// high byte of a half (MXFP4's codes: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives).
template <quant::Type kType>
constexpr uint32_t table_word(int w) {
  constexpr uint8_t kHalves[8] = {0x00, 0x38, 0x3c, 0x3e, 0x40, 0x42, 0x44, 0x46};
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) {
    const int index = 4 * w + i;
    uint32_t byte = 0;
    if constexpr (kType == quant::Type::kMXFP4) {
      byte = kHalves[index % 8] | (index >= 8 ? 0x80u : 0u);
    } else {
      byte = static_cast<uint32_t>(quant::kIQ4Values[index] + 128);
    }
    word |= byte << (8 * i);
  }
  return word;
}

// What a lane has of a quarter's codes: two blocks. `quarter` is in shared memory.
template <quant::Type kType>
SLUICE_DEVICE void load_quarter(const uint8_t* quarter, int lane, BlockCodes (&blocks)[2]) {
  constexpr Codes kCodes = Format<kType>::kCodes;
  if constexpr (kCodes == Codes::kBits4 || kCodes == Codes::kBits5) {
    const uint4 words = shared16(quarter + lane * 16);
    const uint32_t octets[4] = {words.x, words.y, words.z, words.w};
    uint32_t pairs[4][4];
    if constexpr (Format<kType>::kLooksUp) {
      constexpr uint32_t kTable[4] = {table_word<kType>(0), table_word<kType>(1),
                                      table_word<kType>(2), table_word<kType>(3)};
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        uint32_t first, second;
        look_up_nibbles(octets[w], kTable, first, second);
        const uint32_t even = ptx::permute_bytes(first, second, 0x5410);  // pairs 0 and 1
        const uint32_t odd = ptx::permute_bytes(first, second, 0x7632);
        if constexpr (kType == quant::Type::kMXFP4) {
          pairs[w][0] = even << 8 & 0xff00ff00u;
          pairs[w][1] = even & 0xff00ff00u;
          pairs[w][2] = odd << 8 & 0xff00ff00u;
          pairs[w][3] = odd & 0xff00ff00u;
        } else {
          pairs[w][0] = even & 0x00ff00ffu;
          pairs[w][1] = even >> 8 & 0x00ff00ffu;
          pairs[w][2] = odd & 0x00ff00ffu;
          pairs[w][3] = odd >> 8 & 0x00ff00ffu;
        }
      }
    } else {
#pragma unroll
      for (int w = 0; w < 4; ++w) spread_nibbles(octets[w], pairs[w]);
    }
    if constexpr (kCodes == Codes::kBits5) {
      const uint32_t high = shared4(quarter + 512 + lane * 4);
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const uint32_t low_pairs = high << (4 - w), high_pairs = high >> (4 + w);
        pairs[w][0] |= low_pairs & 0x00100010u;
        pairs[w][1] |= low_pairs & 0x01000100u;
        pairs[w][2] |= high_pairs & 0x00100010u;
        pairs[w][3] |= high_pairs & 0x01000100u;
      }
    }
    place_octets(pairs[0], pairs[1], blocks[0]);
    place_octets(pairs[2], pairs[3], blocks[1]);
  }
  if constexpr (kCodes == Codes::kBits2 || kCodes == Codes::kBits3) {
    const uint2 words = shared8(quarter + lane * 8);
    uint32_t high = 0;
    if constexpr (kCodes == Codes::kBits3) high = shared4(quarter + 256 + lane * 4);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t word = i == 0 ? words.x : words.y;
      uint32_t u[4], v[4];
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        u[p] = word & 0x00030003u << (2 * p);
        v[p] = word >> 8 & 0x00030003u << (2 * p);
        if constexpr (kCodes == Codes::kBits3) {
          u[p] |= (i == 0 ? high << 2 : high >> 6) & 0x00040004u << (2 * p);
          v[p] |= (i == 0 ? high << 1 : high >> 7) & 0x00040004u << (2 * p);
        }
      }
      place_octets(u, v, blocks[i]);
    }
  }
  if constexpr (kCodes == Codes::kBits6) {
    const uint4 four = shared16(quarter + lane * 16);
    const uint2 two = shared8(quarter + 512 + lane * 8);
    const uint32_t words[6] = {four.x, four.y, four.z, four.w, two.x, two.y};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t a = words[3 * i], b = words[3 * i + 1], c = words[3 * i + 2];
      const uint32_t u[4] = {(a & 0x000f000fu) | (c << 4 & 0x00300030u), a & 0x03f003f0u,
                             c & 0x03f003f0u, b & 0x03f003f0u};
      const uint32_t v[4] = {(b & 0x000f000fu) | (c << 2 & 0x00300030u), a >> 6 & 0x03f003f0u,
                             c >> 6 & 0x03f003f0u, b >> 6 & 0x03f003f0u};
      place_octets(u, v, blocks[i]);
    }
  }
  if constexpr (kCodes == Codes::kBits8) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4 words = shared16(quarter + i * 512 + lane * 16);
      const uint32_t u[4] = {
          ptx::permute_bytes(words.x, 0, 0x4140), ptx::permute_bytes(words.x, 0, 0x4342),
          ptx::permute_bytes(words.y, 0, 0x4140), ptx::permute_bytes(words.y, 0, 0x4342)};
      const uint32_t v[4] = {
          ptx::permute_bytes(words.z, 0, 0x4140), ptx::permute_bytes(words.z, 0, 0x4342),
          ptx::permute_bytes(words.w, 0, 0x4140), ptx::permute_bytes(words.w, 0, 0x4342)};
      place_octets(u, v, blocks[i]);
    }
  }
  if constexpr (kCodes == Codes::kHalves) {
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const uint4 words = shared16(quarter + step * 512 + lane * 16);
      uint32_t(&a)[4] = blocks[step / 2].a[step % 2];
      a[0] = words.x;
      a[1] = words.y;
      a[2] = words.z;
      a[3] = words.w;
    }
  }
}

// Until but the newest num_slots - 2 groups of copies are there. kUsual: what that most often is.
template <int kUsual = 0>
SLUICE_DEVICE void wait_for_stage(int num_slots) {
  if constexpr (kUsual > 2) {
    if (num_slots == kUsual) return ptx::cp_async_wait<kUsual - 2>();
  }
  switch (num_slots) {
    case 3:
      return ptx::cp_async_wait<1>();
    case 4:
      return ptx::cp_async_wait<2>();
    case 5:
      return ptx::cp_async_wait<3>();
    case 6:
      return ptx::cp_async_wait<4>();
    case 7:
      return ptx::cp_async_wait<5>();
    case 8:
      return ptx::cp_async_wait<6>();
    case 9:
      return ptx::cp_async_wait<7>();
    case 10:
      return ptx::cp_async_wait<8>();
    case 11:
      return ptx::cp_async_wait<9>();
    case 12:
      return ptx::cp_async_wait<10>();
    default:
      return ptx::cp_async_wait<0>();
  }
}

// ---- scales -----------------------------------------------------------------------------------

// Byte `index` of a word as a float, plus 2^15: exact, and what is wanted of it is one fma away.
// `float_bits` is kFloatBits, in a register.
SLUICE_DEVICE float byte_above_32768(uint32_t word, int index, uint32_t float_bits) {
  return ptx::bits_float(
      ptx::permute_bytes(word, float_bits, 0x7404u | static_cast<uint32_t>(index) << 4));
}

// What scales the sums of rows g and g + 8, from a chunk's record of scales.
template <quant::Type kType>
struct RowScales {
  using F = Format<kType>;
  static constexpr Scales kScales = F::kScales;
  static constexpr int kWords =
      kScales == Scales::kHalf || kScales == Scales::kHalfMin || kScales == Scales::kFourMin ||
              kScales == Scales::kEightHalves || kScales == Scales::kSixHalves
          ? 4
          : 2;
  // Integers are above_zero more than they stand for.
  static constexpr float kAboveZero =
      32768.0f + (kScales == Scales::kEightHalves                            ? 128.0f
                  : kScales == Scales::kSix || kScales == Scales::kSixHalves ? 32.0f
                                                                             : 0.0f);
  uint32_t words[2][kWords];
  float d[2], zero[2];
  uint32_t float_bits;

  SLUICE_DEVICE void load(const uint8_t* record, int g, uint32_t kept_float_bits) {
    float_bits = kept_float_bits;
    if constexpr (kScales == Scales::kHalf || kScales == Scales::kHalfMin) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const uint4 four = shared16(record + (g + 8 * r) * 16);
        words[r][0] = four.x;
        words[r][1] = four.y;
        words[r][2] = four.z;
        words[r][3] = four.w;
      }
    }
    if constexpr (kScales == Scales::kExponent) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const uint2 two = shared8(record + (g + 8 * r) * 8);
        words[r][0] = two.x;
        words[r][1] = two.y;
      }
    }
    if constexpr (kScales == Scales::kSixMin) {
      const uint4 pair = shared16(record + 16 * g);
      const uint4 minima = shared16(record + 128 + 16 * g);
      const uint32_t high = (minima.x >> 12 & 0x000f000fu) | (minima.y >> 8 & 0x00f000f0u) |
                            (minima.z >> 4 & 0x0f000f00u) | (minima.w & 0xf000f000u);
      join(pair.z, pair.w, high);
      d[0] = ptx::low_half(pair.x);
      d[1] = ptx::low_half(pair.y);
    }
    if constexpr (kScales == Scales::kSix) {
      const uint2 low = shared8(record + 8 * g);
      join(low.x, low.y, shared4(record + 64 + 4 * g));
      const uint32_t halves = shared4(record + 96 + 4 * g);
      d[0] = ptx::low_half(halves);
      d[1] = ptx::high_half(halves);
    }
    if constexpr (kScales == Scales::kFourMin || kScales == Scales::kEightHalves) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const uint4 four = shared16(record + (g + 8 * r) * 16);
        words[r][0] = four.x;
        words[r][1] = four.y;
        words[r][2] = four.z;
        words[r][3] = four.w;
        if constexpr (kScales == Scales::kFourMin) {
          d[r] = half_of(record + 256 + (g + 8 * r) * 4);
#pragma unroll
          for (int w = 0; w < 4; ++w) words[r][w] &= 0x0f0f0f0fu;
        } else {
          d[r] = half_of(record + 256 + (g + 8 * r) * 2);
        }
      }
    }
    if constexpr (kScales == Scales::kSixHalves) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const uint2 low = shared8(record + (g + 8 * r) * 8);
        const uint32_t high = shared4(record + 128 + (g + 8 * r) * 4);
        words[r][0] = (low.x & 0x0f0f0f0fu) | (high << 4 & 0x30303030u);
        words[r][1] = (low.x >> 4 & 0x0f0f0f0fu) | (high << 2 & 0x30303030u);
        words[r][2] = (low.y & 0x0f0f0f0fu) | (high & 0x30303030u);
        words[r][3] = (low.y >> 4 & 0x0f0f0f0fu) | (high >> 2 & 0x30303030u);
        d[r] = half_of(record + 192 + (g + 8 * r) * 2);
      }
    }
    if constexpr (codes_are_denormal<kType>() && kScales != Scales::kHalf &&
                  kScales != Scales::kHalfMin) {
      zero[0] = -kAboveZero * d[0];  // exact
      zero[1] = -kAboveZero * d[1];
    }
  }

  // Of row g + 8 r and a group of F::kGroup columns.
  SLUICE_DEVICE float at(int r, int group) const {
    if constexpr (kScales == Scales::kHalf || kScales == Scales::kHalfMin) {
      const uint32_t word = words[r][group / 2];
      return group % 2 == 0 ? ptx::low_half(word) : ptx::high_half(word);
    } else if constexpr (kScales == Scales::kExponent) {
      return ptx::bits_float(ptx::permute_bytes(words[r][group / 4], 0,
                                                static_cast<uint32_t>(group % 4) << 12 | 0x444u) >>
                             1);
    } else if constexpr (kScales == Scales::kSixMin || kScales == Scales::kSix) {
      return fmaf(byte_above_32768(words[r][group % 2], group / 2, float_bits), d[r], zero[r]);
    } else {
      return fmaf(byte_above_32768(words[r][group / 4], group % 4, float_bits), d[r], zero[r]);
    }
  }

 private:
  SLUICE_DEVICE void join(uint32_t low0, uint32_t low1, uint32_t high) {
    words[0][0] = (low0 & 0x0f0f0f0fu) | (high << 4 & 0x30303030u);
    words[0][1] = (low0 >> 4 & 0x0f0f0f0fu) | (high << 2 & 0x30303030u);
    words[1][0] = (low1 & 0x0f0f0f0fu) | (high & 0x30303030u);
    words[1][1] = (low1 >> 4 & 0x0f0f0f0fu) | (high >> 2 & 0x30303030u);
  }
};

// ---- what is subtracted -----------------------------------------------------------------------

// Of rows g and g + 8: `low` of the groups that a lane has as A operand, and the factor (a row's)
// of the product with the sums of x. Groups of 32: a0 = row g, groups 2 t and 2 t + 1, a1 = row g +
// 8 alike; a2, a3 = a0, a1, as B has what the sums lose as halves there. Groups of 16: a0, a1
// groups 4 t, 4 t + 1, a2, a3 the next two; what the sums lose is another product.
template <quant::Type kType>
SLUICE_DEVICE void load_lows(const uint8_t* record, int g, int t, uint32_t (&a)[4]) {
  using F = Format<kType>;
  constexpr Scales kScales = F::kScales;
  if constexpr (kScales == Scales::kHalf || kScales == Scales::kHalfMin) {
    const uint8_t* from = record + (kScales == Scales::kHalfMin ? 256 : 0) + 4 * t;
    a[0] = shared4(from + g * 16);
    a[1] = shared4(from + (g + 8) * 16);
    a[2] = a[0];
    a[3] = a[1];
  }
  if constexpr (kScales == Scales::kSixMin) {
    const uint32_t word = shared4(record + 128 + (4 * g + t) * 4);
    a[0] = word & 0x003f003fu;
    a[1] = word >> 6 & 0x003f003fu;
    a[2] = a[0];
    a[3] = a[1];
  }
  if constexpr (kScales == Scales::kSix) {  // byte t of low and high bits
    const uint2 low = shared8(record + 8 * g);
    const uint32_t high = record[64 + 4 * g + t];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const uint32_t byte = (r == 0 ? low.x : low.y) >> (8 * t);
      const uint32_t scales = (byte & 0xfu) | (byte << 12 & 0xf0000u) |
                              (high >> (4 * r) & 3u) << 4 | (high >> (4 * r + 2) & 3u) << 20;
      a[r] = ptx::add_halves(scales | 0x64006400u, 0xe420e420u);  // 1024 + s, less 1056
    }
    a[2] = a[0];
    a[3] = a[1];
  }
  if constexpr (kScales == Scales::kFourMin) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const uint32_t word = shared4(record + (g + 8 * r) * 16 + 4 * t) >> 4 & 0x0f0f0f0fu;
      a[r] = ptx::permute_bytes(word, 0, 0x4140);
      a[2 + r] = ptx::permute_bytes(word, 0, 0x4342);
    }
  }
  if constexpr (kScales == Scales::kEightHalves || kScales == Scales::kSixHalves) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      uint32_t word = 0;
      if constexpr (kScales == Scales::kEightHalves) {
        word = shared4(record + (g + 8 * r) * 16 + 4 * t);
      } else {
        const uint32_t low = shared4(record + (g + 8 * r) * 8 + t / 2 * 4);
        const uint32_t high = shared4(record + 128 + (g + 8 * r) * 4);
        word = (low >> (4 * (t % 2)) & 0x0f0f0f0fu) | (high >> (2 * t) & 0x03030303u) << 4;
      }
      // 1024 + s, less 1024 + 128 or 32.
      constexpr uint32_t kLess = kScales == Scales::kEightHalves ? 0xe480e480u : 0xe420e420u;
      a[r] = ptx::add_halves(ptx::permute_bytes(word, 0x64646464u, 0x4140), kLess);
      a[2 + r] = ptx::add_halves(ptx::permute_bytes(word, 0x64646464u, 0x4342), kLess);
    }
  }
}

// Of row g + 8 r, in units of the results.
template <quant::Type kType>
SLUICE_DEVICE float low_factor(const uint8_t* record, const RowScales<kType>& scales, int g,
                               int r) {
  using F = Format<kType>;
  constexpr float kUnit = 1.0f / code_unit<kType>();
  constexpr int kOffset = F::kLooksUp ? 128 : F::kOffset;
  if constexpr (F::kScales == Scales::kHalf) return -kOffset * kUnit;
  if constexpr (F::kScales == Scales::kHalfMin) return kUnit;
  if constexpr (F::kScales == Scales::kSixMin || F::kScales == Scales::kFourMin) {
    // -dmin: minima are denormal, as codes are.
    const uint8_t* d =
        F::kScales == Scales::kSixMin ? record + 16 * g + 4 * r : record + 256 + (g + 8 * r) * 4;
    return -half_of(d + 2);
  }
  if constexpr (F::kScales == Scales::kSix || F::kScales == Scales::kEightHalves ||
                F::kScales == Scales::kSixHalves) {
    return -kOffset * kUnit * scales.d[r];
  }
  return 0.0f;
}

}  // namespace sluice::backend::cuda
