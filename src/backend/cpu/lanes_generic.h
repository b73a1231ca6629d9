#pragma once

#include <cmath>
#include <cstdint>

// The vector vocabulary of lanes_avx512.h in plain C++ (GCC vector types, which the compiler lowers
// to what the baseline has): the twin the others are tested against.
namespace sluice::backend::cpu {

struct Generic {
  static constexpr int kLanes = 16;
  static constexpr bool kUnrolls =
      false;  // of loops over tokens: compiles for minutes, gains nothing
  using F = float __attribute__((vector_size(64)));
  using I = int32_t __attribute__((vector_size(64)));
  using B = int8_t __attribute__((vector_size(64)));

  static F zero() { return F{}; }
  static F set1(float x) { return F{} + x; }
  static F load(const float* p) {
    F x;
    __builtin_memcpy(&x, p, sizeof(x));
    return x;
  }
  static void store(float* p, F x) { __builtin_memcpy(p, &x, sizeof(x)); }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F fma(F a, F b, F c) { return a * b + c; }
  static F min(F a, F b) { return a < b ? a : b; }
  static F max(F a, F b) { return a > b ? a : b; }
  static F round(F x) {
    for (int i = 0; i < kLanes; ++i) x[i] = std::nearbyintf(x[i]);
    return x;
  }
  static F where_less(F a, F b, F x) { return a < b ? x : F{}; }
  static float sum(F x) {
    float total = 0;
    for (int i = 0; i < kLanes; ++i) total += x[i];
    return total;
  }
  static float largest(F x) {
    float best = x[0];
    for (int i = 1; i < kLanes; ++i) best = x[i] > best ? x[i] : best;
    return best;
  }
  static float smallest(F x) { return -largest(-x); }
  static F exp2_integral(F n) { return as_float((__builtin_convertvector(n, I) + 127) << 23); }

  static F load_f16(const uint16_t* p) {
    // Exponent and mantissa as if they were an f32's, then the difference of the biases multiplied
    // in, which also normalises subnormals; infinities and NaNs keep their exponent by hand.
    const I half = load_u16(p);
    const F magnitude = as_float((half & 0x7fff) << 13) * 0x1p112f;
    const I is_special = (half & 0x7c00) == 0x7c00;
    return as_float(as_int(magnitude) | (is_special & 0x7f800000) | ((half & 0x8000) << 16));
  }
  static void store_f16(uint16_t* p, F x);
  static F load_bf16(const uint16_t* p) { return as_float(load_u16(p) << 16); }
  static F load_i8(const uint8_t* p) {
    F x;
    for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(static_cast<int8_t>(p[i]));
    return x;
  }
  static F load_u8(const uint8_t* p) {
    F x;
    for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(p[i]);
    return x;
  }
  static F load_e8m0(const uint8_t* p) {
    I bits;
    for (int i = 0; i < kLanes; ++i) bits[i] = p[i] == 0 ? 0x00400000 : p[i] << 23;
    return as_float(bits);
  }

  static I int_zero() { return I{}; }
  static I int_set1(int32_t x) { return I{} + x; }
  static I int_add(I a, I b) { return a + b; }
  template <unsigned kBits>
  static I shift_left(I a) {
    return a * (1 << kBits);
  }
  template <unsigned kBits>
  static I shift_right(I a) {
    return a >> static_cast<int>(kBits);
  }
  static F to_float(I a) { return __builtin_convertvector(a, F); }
  static I to_int(F x) { return __builtin_convertvector(round(x), I); }
  static int int_sum(I a) {
    int total = 0;
    for (int i = 0; i < kLanes; ++i) total += a[i];
    return total;
  }
  static void store_u8(uint8_t* p, I a) {
    for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint8_t>(a[i]);
  }
  static void store_digits(uint8_t* low, uint8_t* high, I a) {
    store_u8(low, a);
    store_u8(high, (a + 128) >> 8);
  }

  static I dot(I acc, const uint8_t* x, B w) {
    for (int i = 0; i < kLanes; ++i) {
      for (int k = 0; k < 4; ++k) {
        acc[i] += static_cast<int8_t>(x[k]) * static_cast<uint8_t>(w[4 * i + k]);
      }
    }
    return acc;
  }

  // The i-th code of each row.
  static F code(B w, int i) {
    F x;
    for (int r = 0; r < kLanes; ++r) x[r] = static_cast<float>(w[4 * r + i]);
    return x;
  }
  // even and odd lane by lane, as bf16 (to nearest, ties away from zero).
  static void store_bf16_pairs(uint16_t* p, F even, F odd) {
    const I low = (as_int(even) + 0x8000) >> 16 & 0xffff;
    const I high = (as_int(odd) + 0x8000) & static_cast<int32_t>(0xffff0000);
    const I pairs = low | high;
    __builtin_memcpy(p, &pairs, sizeof(pairs));
  }

  static B load_codes(const uint8_t* p) {
    B w;
    __builtin_memcpy(&w, p, sizeof(w));
    return w;
  }
  static B flip_signs(B w) { return w ^ static_cast<int8_t>(-128); }
  template <int kLowBits>
  static constexpr float unpack_scale() {
    return 1.0f;
  }
  template <int kLowBits, bool kUnsigned>
  static void unpack(const uint8_t* p, B (&w)[8]) {
    int8_t table[16];
    for (int n = 0; n < 16; ++n)
      table[n] = static_cast<int8_t>((kUnsigned ? n ^ 8 : n < 8 ? n : n - 16) * (1 << kLowBits));
    unpack_table(p, table, w);
    if constexpr (kLowBits == 1) {
      for (int j = 0; j < 8; ++j) w[j] |= (load_codes(p + 256) >> j) & 1;
    }
    if constexpr (kLowBits == 2) {
      for (int j = 0; j < 8; ++j) {
        w[j] |= (load_codes(p + 256 + 64 * (j / 4)) >> (2 * (j % 4))) & 3;
      }
    }
  }
  static void unpack_table(const uint8_t* p, const int8_t* table, B (&w)[8]) {
    for (int j = 0; j < 4; ++j) {
      for (int i = 0; i < 64; ++i) {
        w[j][i] = table[p[64 * j + i] & 0x0f];
        w[j + 4][i] = table[p[64 * j + i] >> 4];
      }
    }
  }

  static inline __attribute__((always_inline)) void prefetch(const uint8_t*) {}
  static inline __attribute__((always_inline)) void prefetch_far(const uint8_t*) {}

 private:
  static F as_float(I bits) { return reinterpret_cast<F>(bits); }
  static I as_int(F x) { return reinterpret_cast<I>(x); }
  static I load_u16(const uint16_t* p) {
    I x;
    for (int i = 0; i < kLanes; ++i) x[i] = p[i];
    return x;
  }
};

}  // namespace sluice::backend::cpu
