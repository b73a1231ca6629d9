#pragma once

#include <immintrin.h>

#include <cstdint>

// GCC 12's AVX-512 header initialises undefined operands with themselves and warns of it (bug
// 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"

// The vector vocabulary of the kernels for AVX-512 with VNNI. Its twins (lanes_avx2.h,
// lanes_generic.h) have the same members; kernels are templates over one of them, so that no
// instantiation is shared between translation units with different flags.
namespace sluice::backend::cpu {

struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr bool kUnrolls = true;
  using F = __m512;   // kLanes f32
  using I = __m512i;  // kLanes int32
  using B = __m512i;  // kLanes * 4 int8: lane r holds four consecutive columns of row r

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT); }
  // x where a < b, else zero.
  static F where_less(F a, F b, F x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x);
  }
  static float sum(F x) { return _mm512_reduce_add_ps(x); }
  static float largest(F x) { return _mm512_reduce_max_ps(x); }
  static float smallest(F x) { return _mm512_reduce_min_ps(x); }
  // 2^n for integral n in [-126, 127].
  static F exp2_integral(F n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }

  static F load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store_f16(uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static F load_bf16(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static F load_i8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_16_bytes(p)));
  }
  static F load_u8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_16_bytes(p)));
  }
  // 2^(byte - 127), the E8M0 scale; 0 gives 2^-127 as the format says.
  static F load_e8m0(const uint8_t* p) {
    const __m512i e = _mm512_cvtepu8_epi32(load_16_bytes(p));
    const __m512i normal = _mm512_slli_epi32(e, 23);
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, _mm512_testn_epi32_mask(e, e),
                                                     _mm512_set1_epi32(0x00400000)));
  }

  static I int_zero() { return _mm512_setzero_si512(); }
  static I int_set1(int32_t x) { return _mm512_set1_epi32(x); }
  static I int_add(I a, I b) { return _mm512_add_epi32(a, b); }
  template <unsigned kBits>
  static I shift_left(I a) {
    return _mm512_slli_epi32(a, kBits);
  }
  template <unsigned kBits>
  static I shift_right(I a) {
    return kBits == 0 ? a : _mm512_srai_epi32(a, kBits);
  }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static I to_int(F x) { return _mm512_cvtps_epi32(x); }  // rounds to nearest
  static int int_sum(I a) { return _mm512_reduce_add_epi32(a); }
  static void store_u8(uint8_t* p, I a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a));
  }
  // 16-bit values as two signed digits, 256 * high + low.
  static void store_digits(uint8_t* low, uint8_t* high, I a) {
    store_u8(low, a);
    store_u8(high, _mm512_srli_epi32(_mm512_add_epi32(a, _mm512_set1_epi32(128)), 8));
  }

  // acc[r] += x[0] w[4r] + ... + x[3] w[4r + 3] with signed x and unsigned w.
  static I dot(I acc, const uint8_t* x, B w) {
    struct __attribute__((packed, may_alias)) Four {
      int32_t x;
    };
    asm("vpdpbusd %2%{1to16%}, %1, %0"
        : "+v"(acc)
        : "v"(w), "m"(*reinterpret_cast<const Four*>(x)));
    return acc;
  }

  static F code(B w, int i) {
    const __m512i top = i == 3 ? w : _mm512_slli_epi32(w, static_cast<unsigned>(24 - 8 * i));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24));
  }
  static void store_bf16_pairs(uint16_t* p, F even, F odd) {
    const __m512i half = _mm512_set1_epi32(0x8000);
    const __m512i low = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(even), half), 16);
    const __m512i high = _mm512_add_epi32(_mm512_castps_si512(odd), half);
    const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000));
    _mm512_storeu_si512(p, or_masked(low, high, mask));
  }

  static B load_codes(const uint8_t* p) { return _mm512_loadu_si512(p); }
  // Of each byte, unsigned.
  static B average(B a, B b) { return _mm512_avg_epu8(a, b); }
  // Adds or takes 128.
  static B flip_signs(B w) { return _mm512_xor_si512(w, sign_bits()); }
  // Two's complement nibbles land in the high half of their byte, with kLowBits more bits from a
  // plane of their own below: no shift for half of them, and no sign extension. So codes come out
  // times 2^(4 - kLowBits), which unpack_scale takes back.
  template <int kLowBits>
  static constexpr float unpack_scale() {
    return 1.0f / static_cast<float>(1 << (4 - kLowBits));
  }
  // kUnsigned: flipping the sign adds the format's bias, times the same power of two.
  template <int kLowBits, bool kUnsigned>
  static void unpack(const uint8_t* p, B (&w)[8]) {
    const auto high_half = [](__m512i v) {
      const __m512i mask = _mm512_set1_epi8(static_cast<char>(0xf0));
      if constexpr (!kUnsigned) return _mm512_and_si512(v, mask);
      return _mm512_ternarylogic_epi32(v, mask, sign_bits(), 0x6a);  // (v & mask) ^ sign bits
    };
    for (int j = 0; j < 4; ++j) {
      const __m512i v = _mm512_loadu_si512(p + 64 * j);
      w[j] = high_half(_mm512_slli_epi16(v, 4));
      w[j + 4] = high_half(v);
    }
    if constexpr (kLowBits == 1) {
      const __m512i v = _mm512_loadu_si512(p + 256);
      const __m512i mask = _mm512_set1_epi8(0x08);
      for (int j = 0; j < 8; ++j) {
        const __m512i bit = j < 3 ? _mm512_slli_epi16(v, static_cast<unsigned>(3 - j))
                                  : _mm512_srli_epi16(v, static_cast<unsigned>(j - 3));
        w[j] = or_masked(w[j], bit, mask);
      }
    }
    if constexpr (kLowBits == 2) {
      const __m512i mask = _mm512_set1_epi8(0x0c);
      for (int half = 0; half < 2; ++half) {
        const __m512i v = _mm512_loadu_si512(p + 256 + 64 * half);
        B* out = w + 4 * half;
        out[0] = or_masked(out[0], _mm512_slli_epi16(v, 2), mask);
        out[1] = or_masked(out[1], v, mask);
        out[2] = or_masked(out[2], _mm512_srli_epi16(v, 2), mask);
        out[3] = or_masked(out[3], _mm512_srli_epi16(v, 4), mask);
      }
    }
  }
  static void unpack_table(const uint8_t* p, const int8_t* table, B (&w)[8]) {
    const __m512i values =
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    const __m512i low_half = _mm512_set1_epi8(0x0f);
    for (int j = 0; j < 4; ++j) {
      const __m512i v = _mm512_loadu_si512(p + 64 * j);
      w[j] = _mm512_shuffle_epi8(values, _mm512_and_si512(v, low_half));
      w[j + 4] = _mm512_shuffle_epi8(values, _mm512_and_si512(_mm512_srli_epi16(v, 4), low_half));
    }
  }

  static inline __attribute__((always_inline)) void prefetch(const uint8_t* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static inline __attribute__((always_inline)) void prefetch_far(const uint8_t* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  }

 private:
  static __m512i sign_bits() { return _mm512_set1_epi8(static_cast<char>(0x80)); }
  static __m128i load_16_bytes(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  // a | (b & mask)
  static __m512i or_masked(__m512i a, __m512i b, __m512i mask) {
    return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
  }
};

}  // namespace sluice::backend::cpu
