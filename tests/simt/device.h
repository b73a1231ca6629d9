#pragma once

// What ptx.cuh is on a GPU, for kernels compiled by g++: the same functions, played by the emulator
// (simt.h). Included by ptx.cuh alone.
//
// Kernels are compiled with -fsanitize=thread, which makes the compiler call a function of ours
// (memory.cpp) before every load and store that it emits: so bounds, races and coalescing are seen
// in plain code too. Threads of a block are fibres of one host thread, and thread-local storage is
// what nothing but __shared__ arrays of kernels lie in.

#include <vector_functions.h>
#include <vector_types.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "quant/half.h"

#undef __device__
#undef __host__
#undef __global__
#undef __shared__
#undef __constant__
#undef __forceinline__
#undef __align__
#undef __launch_bounds__
#define __device__
#define __host__
#define __shared__ static thread_local
#define __constant__ static const
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define SLUICE_DEVICE [[gnu::always_inline]] inline
#define SLUICE_NOINLINE __attribute__((noinline))
#define SLUICE_UNROLL

namespace sluice::simt {

// A thread's place: of the thread that runs.
[[gnu::const]] uint3 thread_index();
[[gnu::const]] int thread_number();  // in its block
uint3 block_index();
uint3 block_size();
uint3 grid_size();
std::byte* dynamic_shared();

enum class Cache { kUsual, kConstant };
void load(void* to, const void* from, int size, Cache cache);
void store(void* to, const void* from, int size);
void copy_async(void* shared, const void* global, int size, bool is_valid);
void copy_async_commit();
void copy_async_wait(int pending);

void sync_block();
int sync_block_count(bool predicate);
void sync_warp(uint32_t lanes);
void named_barrier(int id, int num_threads, bool waits);
enum class Shuffle { kIndex, kXor, kUp, kDown };
uint64_t shuffle(Shuffle kind, uint64_t value, int operand, int width);
uint32_t ballot(bool predicate);

void load_matrix(uint32_t* d, int count, const void* row, bool is_transposed);
void mma_f16(float* c, const uint32_t* a, const uint32_t* b);
void mma_bf16(float* c, const uint32_t* a, const uint32_t* b);
void mma_s8(int32_t* c, const uint32_t* a, const uint32_t* b);

// Products of a warpgroup that this thread has begun, in order; taken from what was committed.
struct PutOff {
  float* d;
  const uint32_t* a;
  uint64_t b;
  int count;
};
void put_product_off(const PutOff& product);
void commit_products();
bool take_product(PutOff& product);

void fence();
void spin_pause();
enum class Atomic { kAdd, kAddFloat, kMax, kOr, kExchange, kCompareAndSwap, kLoad, kStore };
uint64_t atomic(Atomic op, void* place, int size, uint64_t value, uint64_t expected, bool orders);

using KernelCall = void (*)(const void* args);
struct KernelInfo {
  const char* name;
  KernelCall call;
  int args_bytes;
  int max_threads;
};
struct Registration {
  explicit Registration(const KernelInfo& info);
};

}  // namespace sluice::simt

// CUDA C++ has them in no namespace.
template <typename A, typename B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  return b < a ? b : a;
}
template <typename A, typename B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  return a < b ? b : a;
}

#define threadIdx (::sluice::simt::thread_index())
#define blockIdx (::sluice::simt::block_index())
#define blockDim (::sluice::simt::block_size())
#define gridDim (::sluice::simt::grid_size())

#define SLUICE_KERNEL(name, Args, threads, min_blocks)                                       \
  static void name(const Args& args);                                                        \
  static const ::sluice::simt::Registration name##_registration(                             \
      {#name, [](const void* args) { name(*static_cast<const Args*>(args)); }, sizeof(Args), \
       (threads)});                                                                          \
  static void name([[maybe_unused]] const Args& args)

namespace sluice::backend::cuda::ptx {

inline constexpr uint32_t kAllLanes = 0xffffffffu;
inline constexpr int kWarp = 32;

SLUICE_DEVICE int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
SLUICE_DEVICE int warp() { return static_cast<int>(threadIdx.x) / kWarp; }
SLUICE_DEVICE std::byte* dynamic_shared() { return simt::dynamic_shared(); }
SLUICE_DEVICE std::byte* aligned_shared() { return simt::dynamic_shared(); }
SLUICE_DEVICE uint32_t shared_address(const void* pointer) {  // aligned as the pointer is
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(pointer));
}

// ---- barriers, shuffles, votes
// --------------------------------------------------------------------

SLUICE_DEVICE void sync_block() { simt::sync_block(); }
SLUICE_DEVICE void sync_warp(uint32_t lanes = kAllLanes) { simt::sync_warp(lanes); }
SLUICE_DEVICE int count_in_block(bool predicate) { return simt::sync_block_count(predicate); }
SLUICE_DEVICE bool any_in_block(bool predicate) { return simt::sync_block_count(predicate) > 0; }
SLUICE_DEVICE void sync_named(int id, int num_threads) {
  simt::named_barrier(id, num_threads, true);
}
SLUICE_DEVICE void arrive_named(int id, int num_threads) {
  simt::named_barrier(id, num_threads, false);
}

template <typename T>
SLUICE_DEVICE T shuffle_as(simt::Shuffle kind, T value, int operand, int width) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  const uint64_t got = simt::shuffle(kind, std::bit_cast<Bits>(value), operand, width);
  return std::bit_cast<T>(static_cast<Bits>(got));
}
template <typename T>
SLUICE_DEVICE T shuffle(T value, int source_lane, int width = kWarp) {
  return shuffle_as(simt::Shuffle::kIndex, value, source_lane, width);
}
template <typename T>
SLUICE_DEVICE T shuffle_xor(T value, int lane_mask, int width = kWarp) {
  return shuffle_as(simt::Shuffle::kXor, value, lane_mask, width);
}
template <typename T>
SLUICE_DEVICE T shuffle_up(T value, int delta, int width = kWarp) {
  return shuffle_as(simt::Shuffle::kUp, value, delta, width);
}
template <typename T>
SLUICE_DEVICE T shuffle_down(T value, int delta, int width = kWarp) {
  return shuffle_as(simt::Shuffle::kDown, value, delta, width);
}
SLUICE_DEVICE uint32_t ballot(bool predicate) { return simt::ballot(predicate); }
SLUICE_DEVICE bool any(bool predicate) { return simt::ballot(predicate) != 0; }
SLUICE_DEVICE bool all(bool predicate) { return simt::ballot(!predicate) == 0; }

// ---- memory
// ---------------------------------------------------------------------------------------

SLUICE_DEVICE uint64_t evict_first_policy() { return 0; }
template <typename T>
SLUICE_DEVICE T load_as(const void* global, simt::Cache cache) {
  T value;
  simt::load(&value, global, sizeof(T), cache);
  return value;
}
template <typename T>
SLUICE_DEVICE T load(const T* place) {
  return load_as<T>(place, simt::Cache::kUsual);
}
template <typename T>
SLUICE_DEVICE void store(T* place, const T& value) {
  simt::store(place, &value, sizeof(T));
}
SLUICE_DEVICE uint4 load_stream16(const void* global, uint64_t) {
  return load_as<uint4>(global, simt::Cache::kConstant);
}
SLUICE_DEVICE uint2 load_stream8(const void* global, uint64_t) {
  return load_as<uint2>(global, simt::Cache::kConstant);
}
SLUICE_DEVICE uint32_t load_stream4(const void* global, uint64_t) {
  return load_as<uint32_t>(global, simt::Cache::kConstant);
}
SLUICE_DEVICE uint4 load_constant16(const void* global) {
  return load_as<uint4>(global, simt::Cache::kConstant);
}
SLUICE_DEVICE void cp_async16(void* shared, const void* global, bool is_valid = true) {
  simt::copy_async(shared, global, 16, is_valid);
}
SLUICE_DEVICE void cp_async_stream16(void* shared, const void* global, uint64_t,
                                     bool is_valid = true) {
  simt::copy_async(shared, global, 16, is_valid);
}
SLUICE_DEVICE void cp_async8(void* shared, const void* global, bool is_valid = true) {
  simt::copy_async(shared, global, 8, is_valid);
}
SLUICE_DEVICE void cp_async4(void* shared, const void* global, bool is_valid = true) {
  simt::copy_async(shared, global, 4, is_valid);
}
SLUICE_DEVICE void cp_async_commit() { simt::copy_async_commit(); }
template <int kPending>
SLUICE_DEVICE void cp_async_wait() {
  simt::copy_async_wait(kPending);
}

SLUICE_DEVICE void fence() { simt::fence(); }
template <typename T>
SLUICE_DEVICE T atomic_as(simt::Atomic op, T* place, T value, T expected = {},
                          bool orders = false) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  const uint64_t old = simt::atomic(op, place, sizeof(T), std::bit_cast<Bits>(value),
                                    std::bit_cast<Bits>(expected), orders);
  return std::bit_cast<T>(static_cast<Bits>(old));
}
SLUICE_DEVICE uint32_t atomic_add(uint32_t* place, uint32_t value) {
  return atomic_as(simt::Atomic::kAdd, place, value);
}
SLUICE_DEVICE int32_t atomic_add(int32_t* place, int32_t value) {
  return atomic_as(simt::Atomic::kAdd, place, value);
}
SLUICE_DEVICE float atomic_add(float* place, float value) {
  return atomic_as(simt::Atomic::kAddFloat, place, value);
}
SLUICE_DEVICE uint32_t atomic_max(uint32_t* place, uint32_t value) {
  return atomic_as(simt::Atomic::kMax, place, value);
}
SLUICE_DEVICE uint64_t atomic_max(uint64_t* place, uint64_t value) {
  return atomic_as(simt::Atomic::kMax, place, value);
}
SLUICE_DEVICE uint32_t atomic_or(uint32_t* place, uint32_t value) {
  return atomic_as(simt::Atomic::kOr, place, value);
}
SLUICE_DEVICE uint32_t atomic_exchange(uint32_t* place, uint32_t value) {
  return atomic_as(simt::Atomic::kExchange, place, value);
}
SLUICE_DEVICE uint32_t atomic_compare_and_swap(uint32_t* place, uint32_t expected, uint32_t value) {
  return atomic_as(simt::Atomic::kCompareAndSwap, place, value, expected);
}
SLUICE_DEVICE void store_release(uint32_t* place, uint32_t value) {
  atomic_as(simt::Atomic::kStore, place, value, 0u, true);
}
SLUICE_DEVICE uint32_t load_acquire(const uint32_t* place) {
  return atomic_as(simt::Atomic::kLoad, const_cast<uint32_t*>(place), 0u, 0u, true);
}
SLUICE_DEVICE void spin_pause() { simt::spin_pause(); }

SLUICE_DEVICE void let_next_start() {}
SLUICE_DEVICE void wait_for_previous() {}

// ---- matrices
// -------------------------------------------------------------------------------------

template <int kCount>
SLUICE_DEVICE void load_matrix(uint32_t (&d)[kCount], const void* row) {
  static_assert(kCount == 2 || kCount == 4);
  simt::load_matrix(d, kCount, row, false);
}
template <int kCount>
SLUICE_DEVICE void load_matrix_transposed(uint32_t (&d)[kCount], const void* row) {
  static_assert(kCount == 2 || kCount == 4);
  simt::load_matrix(d, kCount, row, true);
}
SLUICE_DEVICE void mma_f16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  simt::mma_f16(c, a, b);
}
SLUICE_DEVICE void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  simt::mma_bf16(c, a, b);
}
SLUICE_DEVICE void mma_s8(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  simt::mma_s8(c, a, b);
}

// ---- matrices, of a warpgroup
// ---------------------------------------------------------------------
//
// Done as late as can be, at the wait for them: who changes a register or shared memory that a
// product still uses, or reads its result too early, gets wrong results. A warp at a time.

#define SLUICE_HAS_WARPGROUPS 1
SLUICE_DEVICE void fence_for_warpgroup_reads() {}
SLUICE_DEVICE void warpgroup_begin() {}
SLUICE_DEVICE void warpgroup_commit() { simt::commit_products(); }
template <int kCount>
SLUICE_DEVICE void warpgroup_sums(float (&)[kCount]) {}
SLUICE_DEVICE uint64_t warpgroup_operand(const void* rows) {
  return reinterpret_cast<uintptr_t>(rows);  // aligned to 1024 bytes
}
SLUICE_DEVICE uint64_t warpgroup_step(uint64_t operand, int step) {
  return operand + static_cast<uint64_t>(step);
}
template <int kCount>
SLUICE_DEVICE void warpgroup_mma(float (&d)[kCount], const uint32_t (&a)[4], uint64_t b) {
  simt::put_product_off({d, a, b, kCount});
}
SLUICE_DEVICE void warpgroup_wait() {
  simt::PutOff product;
  while (simt::take_product(product)) {
    const int step = static_cast<int>(product.b % 1024), lane = ptx::lane();
    const auto* rows = reinterpret_cast<const std::byte*>(product.b - static_cast<uint64_t>(step));
    for (int i = 0; i < product.count / 4; ++i) {
      const int row = 8 * i + lane / 4;
      const auto pair = [&](int piece) {
        return reinterpret_cast<const uint32_t*>(rows + 128 * row +
                                                 16 * (piece ^ row % 8))[lane % 4];
      };
      float* const d = product.d + 4 * i;
      float c[4] = {d[0], d[1], d[2], d[3]};
      const uint32_t own[2] = {pair(2 * step), pair(2 * step + 1)};
      simt::mma_f16(c, product.a, own);
      for (int k = 0; k < 4; ++k) d[k] = c[k];
    }
  }
}

// ---- bits
// -----------------------------------------------------------------------------------------

template <int kTable>
SLUICE_DEVICE uint32_t lop3(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d = 0;
  if (kTable & 0x01) d |= ~a & ~b & ~c;
  if (kTable & 0x02) d |= ~a & ~b & c;
  if (kTable & 0x04) d |= ~a & b & ~c;
  if (kTable & 0x08) d |= ~a & b & c;
  if (kTable & 0x10) d |= a & ~b & ~c;
  if (kTable & 0x20) d |= a & ~b & c;
  if (kTable & 0x40) d |= a & b & ~c;
  if (kTable & 0x80) d |= a & b & c;
  return d;
}
SLUICE_DEVICE uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = selector >> 4 * i & 15;
    uint32_t byte = static_cast<uint32_t>(bytes >> 8 * (nibble & 7)) & 0xff;
    if (nibble & 8) byte = byte & 0x80 ? 0xff : 0;  // its sign, eight times
    result |= byte << 8 * i;
  }
  return result;
}
SLUICE_DEVICE int32_t dot_s8(uint32_t a, uint32_t b, int32_t c) {
  for (int i = 0; i < 4; ++i) {
    c += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
  }
  return c;
}
SLUICE_DEVICE void forget(int&) {}
SLUICE_DEVICE uint32_t float_bits(float x) { return std::bit_cast<uint32_t>(x); }
SLUICE_DEVICE float bits_float(uint32_t x) { return std::bit_cast<float>(x); }
SLUICE_DEVICE int count_bits(uint32_t x) { return std::popcount(x); }
SLUICE_DEVICE int lowest_bit(uint32_t x) { return x == 0 ? -1 : std::countr_zero(x); }
SLUICE_DEVICE int leading_zeros(uint32_t x) { return std::countl_zero(x); }

// ---- halves
// ---------------------------------------------------------------------------------------

// Without F16C a _Float16 is converted by a function of libgcc, which took a third of the
// emulator's time.
SLUICE_DEVICE float half_to_float(uint16_t h) { return quant::f16_to_f32(h); }
SLUICE_DEVICE uint16_t float_to_half(float f) { return quant::f32_to_f16(f); }
SLUICE_DEVICE uint16_t double_to_half(double x) {
  const double size = std::abs(x);
  if (!(size < 65520)) return float_to_half(static_cast<float>(x));  // infinity or NaN
  // The unit in the last place of `large` is that of the half, so that the addition rounds.
  const uint64_t exponent = std::max(std::bit_cast<uint64_t>(size) >> 52, uint64_t{1023 - 14});
  const double large = std::bit_cast<double>((exponent + 42) << 52);
  return float_to_half(static_cast<float>(std::copysign((size + large) - large, x)));
}
SLUICE_DEVICE float bf16_to_float(uint16_t h) { return bits_float(static_cast<uint32_t>(h) << 16); }
SLUICE_DEVICE uint16_t float_to_bf16(float f) {
  const uint32_t bits = float_bits(f);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;  // NaN, as the instruction gives it
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
SLUICE_DEVICE float low_half(uint32_t h2) { return half_to_float(static_cast<uint16_t>(h2)); }
SLUICE_DEVICE float high_half(uint32_t h2) {
  return half_to_float(static_cast<uint16_t>(h2 >> 16));
}
SLUICE_DEVICE uint32_t pack_halves(float low, float high) {
  return float_to_half(low) | static_cast<uint32_t>(float_to_half(high)) << 16;
}
SLUICE_DEVICE uint32_t pack_bf16(float low, float high) {
  return float_to_bf16(low) | static_cast<uint32_t>(float_to_bf16(high)) << 16;
}
// In double, where product and sum of halves are exact or nearly so, then rounded once.
SLUICE_DEVICE uint16_t fma_half(uint16_t a, uint16_t b, uint16_t c) {
  const auto wide = [](uint16_t h) { return static_cast<double>(half_to_float(h)); };
  return double_to_half(wide(a) * wide(b) + wide(c));
}
SLUICE_DEVICE uint32_t low_twice(uint32_t h2) { return (h2 & 0xffffu) * 0x00010001u; }
SLUICE_DEVICE uint32_t high_twice(uint32_t h2) { return (h2 >> 16) * 0x00010001u; }
SLUICE_DEVICE uint32_t fma_halves(uint32_t a, uint32_t b, uint32_t c) {
  const auto high = [](uint32_t h2) { return static_cast<uint16_t>(h2 >> 16); };
  const auto low = [](uint32_t h2) { return static_cast<uint16_t>(h2); };
  return fma_half(low(a), low(b), low(c)) |
         static_cast<uint32_t>(fma_half(high(a), high(b), high(c))) << 16;
}
SLUICE_DEVICE uint32_t add_halves(uint32_t a, uint32_t b) {
  return pack_halves(low_half(a) + low_half(b), high_half(a) + high_half(b));
}
SLUICE_DEVICE uint32_t subtract_halves(uint32_t a, uint32_t b) {
  return pack_halves(low_half(a) - low_half(b), high_half(a) - high_half(b));
}
SLUICE_DEVICE uint32_t multiply_halves(uint32_t a, uint32_t b) {
  return pack_halves(low_half(a) * low_half(b), high_half(a) * high_half(b));
}
SLUICE_DEVICE uint32_t fma_bf16(uint32_t a, uint32_t b, uint32_t c) {
  const auto low = [](uint32_t h2) { return bf16_to_float(static_cast<uint16_t>(h2)); };
  const auto high = [](uint32_t h2) { return bf16_to_float(static_cast<uint16_t>(h2 >> 16)); };
  return pack_bf16(std::fma(low(a), low(b), low(c)), std::fma(high(a), high(b), high(c)));
}

// ---- fast functions
// -------------------------------------------------------------------------------

SLUICE_DEVICE float fast_exp2(float x) { return std::exp2(x); }
SLUICE_DEVICE float fast_reciprocal(float x) { return 1.0f / x; }
SLUICE_DEVICE float fast_rsqrt(float x) { return 1.0f / std::sqrt(x); }

SLUICE_DEVICE float multiply_exact(float a, float b) { return a * b; }
SLUICE_DEVICE float add_exact(float a, float b) { return a + b; }
SLUICE_DEVICE double multiply_exact(double a, double b) { return a * b; }
SLUICE_DEVICE double add_exact(double a, double b) { return a + b; }

}  // namespace sluice::backend::cuda::ptx
