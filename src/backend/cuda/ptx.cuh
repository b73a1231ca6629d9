#pragma once

// What kernels say to the machine: every instruction that CUDA C++ has no plain word for stands
// here and nowhere else, so that a kernel also compiles with g++ and runs in tests/simt, threads as
// fibres, where the same functions are played by tests/simt/device.h.
//
// Rules for kernels that follow from it:
//   - SLUICE_KERNEL(name, Args, threads, min_blocks) { ... } takes one struct by value, `args`;
//   - barriers, shuffles, votes and atomics only by the names below;
//   - halves travel as bits: uint16_t one, uint32_t two (the first in the low bits);
//   - 8 or 16 bytes at once (uint2, float4, ..) go by load() and store(), or g++ takes them apart;
//   - __shared__ arrays have fixed sizes; what a launch sizes is dynamic_shared(), or
//     aligned_shared().
//
// Fragments of `mma` (PTX ISA, "Matrix fragments for mma.m16n8k16"); g = lane / 4, t = lane % 4:
//
//   A [16, 16] row-major           B [16, 8] column-major       C, D [16, 8], f32
//   a0: row g,     columns 2t, +1  b0: column g, rows 2t, +1    c0, c1: row g,     columns 2t, +1
//   a1: row g + 8, columns 2t, +1  b1: column g, rows 2t+8, +9  c2, c3: row g + 8, columns 2t, +1
//   a2: row g,     columns 2t+8, +9
//   a3: row g + 8, columns 2t+8, +9
//
// and of bytes, m16n8k32: four consecutive columns (A) or rows (B), 4t of them on, where two stand
// above, and 16 further where 8 further stand.

#include <cstddef>
#include <cstdint>

#ifndef __CUDACC__
#include "simt/device.h"
#else

#define SLUICE_DEVICE __device__ __forceinline__
#define SLUICE_NOINLINE __noinline__
// Before a loop over what shall stay in registers.
#define SLUICE_UNROLL _Pragma("unroll")

#define SLUICE_KERNEL(name, Args, threads, min_blocks)              \
  extern "C" __global__ void __launch_bounds__(threads, min_blocks) \
      name(const __grid_constant__ Args args)

namespace sluice::backend::cuda::ptx {

inline constexpr uint32_t kAllLanes = 0xffffffffu;
inline constexpr int kWarp = 32;

// ---- where am I
// -----------------------------------------------------------------------------------

SLUICE_DEVICE int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
SLUICE_DEVICE int warp() { return static_cast<int>(threadIdx.x) / kWarp; }

// What the launch asked for, aligned to 128 bytes.
SLUICE_DEVICE std::byte* dynamic_shared() {
  extern __shared__ __align__(128) std::byte shared_memory[];
  return shared_memory;
}

// The same, aligned to 1024 bytes: for operands of a warpgroup.
SLUICE_DEVICE std::byte* aligned_shared() {
  extern __shared__ __align__(1024) std::byte aligned_memory[];
  return aligned_memory;
}

SLUICE_DEVICE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// ---- barriers, shuffles, votes
// --------------------------------------------------------------------

SLUICE_DEVICE void sync_block() { __syncthreads(); }
SLUICE_DEVICE void sync_warp(uint32_t lanes = kAllLanes) { __syncwarp(lanes); }
SLUICE_DEVICE bool any_in_block(bool predicate) { return __syncthreads_or(predicate); }
SLUICE_DEVICE int count_in_block(bool predicate) { return __syncthreads_count(predicate); }
// Barrier `id` (1 to 15) of `num_threads`, whole warps: come and wait, or come and go on.
SLUICE_DEVICE void sync_named(int id, int num_threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(num_threads) : "memory");
}
SLUICE_DEVICE void arrive_named(int id, int num_threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(num_threads) : "memory");
}

template <typename T>
SLUICE_DEVICE T shuffle(T value, int source_lane, int width = kWarp) {
  return __shfl_sync(kAllLanes, value, source_lane, width);
}
template <typename T>
SLUICE_DEVICE T shuffle_xor(T value, int lane_mask, int width = kWarp) {
  return __shfl_xor_sync(kAllLanes, value, lane_mask, width);
}
template <typename T>
SLUICE_DEVICE T shuffle_up(T value, int delta, int width = kWarp) {
  return __shfl_up_sync(kAllLanes, value, delta, width);
}
template <typename T>
SLUICE_DEVICE T shuffle_down(T value, int delta, int width = kWarp) {
  return __shfl_down_sync(kAllLanes, value, delta, width);
}
SLUICE_DEVICE uint32_t ballot(bool predicate) { return __ballot_sync(kAllLanes, predicate); }
SLUICE_DEVICE bool any(bool predicate) { return __any_sync(kAllLanes, predicate); }
SLUICE_DEVICE bool all(bool predicate) { return __all_sync(kAllLanes, predicate); }

// ---- memory
// ---------------------------------------------------------------------------------------

// 16 bytes of what is read once and never written while the kernel runs: past L1, first to leave
// L2.
SLUICE_DEVICE uint64_t evict_first_policy() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
SLUICE_DEVICE uint4 load_stream16(const void* global, uint64_t policy) {
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(global), "l"(policy));
  return v;
}
SLUICE_DEVICE uint2 load_stream8(const void* global, uint64_t policy) {
  uint2 v;
  asm("ld.global.nc.L1::no_allocate.L2::cache_hint.v2.u32 {%0, %1}, [%2], %3;"
      : "=r"(v.x), "=r"(v.y)
      : "l"(global), "l"(policy));
  return v;
}
SLUICE_DEVICE uint32_t load_stream4(const void* global, uint64_t policy) {
  uint32_t v;
  asm("ld.global.nc.L1::no_allocate.L2::cache_hint.u32 %0, [%1], %2;"
      : "=r"(v)
      : "l"(global), "l"(policy));
  return v;
}
// A struct of 4, 8 or 16 bytes at once, aligned to its size, wherever it lies.
template <typename T>
SLUICE_DEVICE T load(const T* place) {
  return *place;
}
template <typename T>
SLUICE_DEVICE void store(T* place, const T& value) {
  *place = value;
}
// Never written while the kernel runs, and read by others soon.
SLUICE_DEVICE uint4 load_constant16(const void* global) {
  uint4 v;
  asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(global));
  return v;
}

// 16 bytes from global to shared memory, past L1, without waiting. Not `is_valid`: zeros, and
// nothing is read. What was copied is there after cp_async_wait of its group, for others behind a
// barrier then.
SLUICE_DEVICE void cp_async16(void* shared, const void* global, bool is_valid = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(is_valid ? 16 : 0)
               : "memory");
}
SLUICE_DEVICE void cp_async_stream16(void* shared, const void* global, uint64_t policy,
                                     bool is_valid = true) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(
                   shared_address(shared)),
               "l"(global), "r"(is_valid ? 16 : 0), "l"(policy)
               : "memory");
}
SLUICE_DEVICE void cp_async8(void* shared, const void* global, bool is_valid = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(is_valid ? 8 : 0)
               : "memory");
}
SLUICE_DEVICE void cp_async4(void* shared, const void* global, bool is_valid = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(is_valid ? 4 : 0)
               : "memory");
}
SLUICE_DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `kPending` of this thread's newest groups are still under way.
template <int kPending>
SLUICE_DEVICE void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Everything this thread has seen or written comes before what it writes from here on, to whoever
// sees that.
SLUICE_DEVICE void fence() { __threadfence(); }
// Relaxed; the old value is returned. Others are ordered by fence() alone.
SLUICE_DEVICE uint32_t atomic_add(uint32_t* place, uint32_t value) {
  return atomicAdd(place, value);
}
SLUICE_DEVICE int32_t atomic_add(int32_t* place, int32_t value) { return atomicAdd(place, value); }
SLUICE_DEVICE float atomic_add(float* place, float value) { return atomicAdd(place, value); }
SLUICE_DEVICE uint32_t atomic_max(uint32_t* place, uint32_t value) {
  return atomicMax(place, value);
}
SLUICE_DEVICE uint32_t atomic_or(uint32_t* place, uint32_t value) { return atomicOr(place, value); }
SLUICE_DEVICE uint32_t atomic_exchange(uint32_t* place, uint32_t value) {
  return atomicExch(place, value);
}
SLUICE_DEVICE uint32_t atomic_compare_and_swap(uint32_t* place, uint32_t expected, uint32_t value) {
  return atomicCAS(place, expected, value);
}
SLUICE_DEVICE uint64_t atomic_max(uint64_t* place, uint64_t value) {
  return atomicMax(reinterpret_cast<unsigned long long*>(place),
                   static_cast<unsigned long long>(value));
}
// A flag between blocks: what stands before the release is seen behind the acquire.
SLUICE_DEVICE void store_release(uint32_t* place, uint32_t value) {
  asm volatile("st.global.release.gpu.u32 [%0], %1;" ::"l"(place), "r"(value) : "memory");
}
SLUICE_DEVICE uint32_t load_acquire(const uint32_t* place) {
  uint32_t value;
  asm volatile("ld.global.acquire.gpu.u32 %0, [%1];" : "=r"(value) : "l"(place) : "memory");
  return value;
}
// In the body of a loop that waits for another block.
SLUICE_DEVICE void spin_pause() { __nanosleep(32); }

// ---- launches that overlap (sm_90; nothing before)
// ------------------------------------------------

// The kernel behind this one on the stream may start; it must call wait_for_previous() before it
// reads what this one writes.
SLUICE_DEVICE void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
SLUICE_DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// ---- matrices
// -------------------------------------------------------------------------------------

// Each matrix has 8 rows of 16 bytes; lanes 8i to 8i + 7 say where the rows of matrix i are. Lane
// gets, of each, 4 bytes: row lane / 4, halves 2 (lane % 4) and one more. Transposed (halves only):
// column lane / 4 instead.
SLUICE_DEVICE void load_matrix(uint32_t (&d)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}
SLUICE_DEVICE void load_matrix(uint32_t (&d)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(d[0]), "=r"(d[1])
               : "r"(shared_address(row))
               : "memory");
}
SLUICE_DEVICE void load_matrix_transposed(uint32_t (&d)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}
SLUICE_DEVICE void load_matrix_transposed(uint32_t (&d)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(d[0]), "=r"(d[1])
               : "r"(shared_address(row))
               : "memory");
}

// c += a b, of halves, of bf16, of bytes.
SLUICE_DEVICE void mma_f16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
SLUICE_DEVICE void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
SLUICE_DEVICE void mma_s8(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// ---- matrices, of a warpgroup (sm_90a)
// -----------------------------------------------------------
//
// Four warps (of which the first has a number divisible by 4) multiply 64 rows, 16 a warp, each
// with its own as A operand of m16n8k16, by 8, 16, .. rows of B, which lie in shared memory: 64
// halves each, 128 bytes, one behind the other, pieces of 16 bytes exchanged (piece ^ row % 8), the
// first row aligned to 1024 bytes. Products are asynchronous: registers and shared memory that they
// use are theirs until warpgroup_wait.

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define SLUICE_HAS_WARPGROUPS 1
#else
#define SLUICE_HAS_WARPGROUPS 0
#endif

// What this thread wrote to shared memory, or what was copied there for it, is seen by products
// behind it; of others behind a barrier then.
SLUICE_DEVICE void fence_for_warpgroup_reads() {
#if SLUICE_HAS_WARPGROUPS
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
// Before the first product, and whenever registers that products use were written otherwise.
SLUICE_DEVICE void warpgroup_begin() {
#if SLUICE_HAS_WARPGROUPS
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
SLUICE_DEVICE void warpgroup_commit() {
#if SLUICE_HAS_WARPGROUPS
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
// Until all products are done.
SLUICE_DEVICE void warpgroup_wait() {
#if SLUICE_HAS_WARPGROUPS
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#endif
}
// Sums of products are read behind this, once all products are done.
template <int kCount>
SLUICE_DEVICE void warpgroup_sums(float (&d)[kCount]) {
#pragma unroll
  for (float& sum : d) asm volatile("" : "+f"(sum)::"memory");
}
// The B operand at `rows`, and its columns 16 * step (0 to 3) on.
SLUICE_DEVICE uint64_t warpgroup_operand(const void* rows) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kEightRows = uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kEightRows | uint64_t{1} << 16 | (shared_address(rows) >> 4 & 0x3fffu);
}
SLUICE_DEVICE uint64_t warpgroup_step(uint64_t operand, int step) {
  return operand + 2u * static_cast<uint32_t>(step);
}
// d += a b: d[4 i .. 4 i + 3] are C of m16n8k16 for rows 8 i .. 8 i + 7 of B.
SLUICE_DEVICE void warpgroup_mma(float (&d)[16], const uint32_t (&a)[4], uint64_t b) {
#if SLUICE_HAS_WARPGROUPS
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15}, "
      "{%16, %17, %18, %19}, %20, 1, 1, 1, 0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#endif
}
// d += a b: d[4 i .. 4 i + 3] are C of m16n8k16 for rows 8 i .. 8 i + 7 of B.
SLUICE_DEVICE void warpgroup_mma(float (&d)[32], const uint32_t (&a)[4], uint64_t b) {
#if SLUICE_HAS_WARPGROUPS
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 1, 1, 1, 0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#endif
}
// d += a b: d[4 i .. 4 i + 3] are C of m16n8k16 for rows 8 i .. 8 i + 7 of B.
SLUICE_DEVICE void warpgroup_mma(float (&d)[64], const uint32_t (&a)[4], uint64_t b) {
#if SLUICE_HAS_WARPGROUPS
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, "
      "%56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]),
        "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
        "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
        "+f"(d[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#endif
}

// ---- bits
// -----------------------------------------------------------------------------------------

// Bit by bit, the function whose table is kTable: kTable of (0xf0, 0xcc, 0xaa) for (a, b, c), so
// that (0xf0 & 0xcc) | 0xaa is (a & b) | c.
template <int kTable>
SLUICE_DEVICE uint32_t lop3(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(d) : "r"(a), "r"(b), "r"(c), "n"(kTable));
  return d;
}
// Byte i of the result is the byte of (b, a), a's being 0 to 3, that nibble i of `selector` names.
SLUICE_DEVICE uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  return __byte_perm(a, b, selector);
}
// c + the sum of the products of four signed bytes.
SLUICE_DEVICE int32_t dot_s8(uint32_t a, uint32_t b, int32_t c) {
  return __dp4a(static_cast<int32_t>(a), static_cast<int32_t>(b), c);
}
// From here on the compiler knows nothing of `value`: what was computed from it before is not kept
// in registers to be used again.
SLUICE_DEVICE void forget(int& value) { asm volatile("" : "+r"(value)); }
SLUICE_DEVICE uint32_t float_bits(float x) { return __float_as_uint(x); }
SLUICE_DEVICE float bits_float(uint32_t x) { return __uint_as_float(x); }
SLUICE_DEVICE int count_bits(uint32_t x) { return __popc(x); }
SLUICE_DEVICE int lowest_bit(uint32_t x) { return __ffs(static_cast<int>(x)) - 1; }  // -1: none
SLUICE_DEVICE int leading_zeros(uint32_t x) { return __clz(static_cast<int>(x)); }

// ---- halves
// ---------------------------------------------------------------------------------------

SLUICE_DEVICE float half_to_float(uint16_t h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
SLUICE_DEVICE uint16_t float_to_half(float f) {
  uint16_t h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
SLUICE_DEVICE float bf16_to_float(uint16_t h) { return bits_float(static_cast<uint32_t>(h) << 16); }
SLUICE_DEVICE uint16_t float_to_bf16(float f) {
  uint16_t h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
SLUICE_DEVICE float low_half(uint32_t h2) { return half_to_float(static_cast<uint16_t>(h2)); }
SLUICE_DEVICE float high_half(uint32_t h2) {
  return half_to_float(static_cast<uint16_t>(h2 >> 16));
}
// To nearest; what is too large for a half becomes infinity.
SLUICE_DEVICE uint32_t pack_halves(float low, float high) {
  uint32_t d;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
SLUICE_DEVICE uint32_t pack_bf16(float low, float high) {
  uint32_t d;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
// A half twice: an instruction that takes two at once reads it so, at no cost.
SLUICE_DEVICE uint32_t low_twice(uint32_t h2) {
  uint32_t d;
  asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; mov.b32 %0, {a, a};}" : "=r"(d) : "r"(h2));
  return d;
}
SLUICE_DEVICE uint32_t high_twice(uint32_t h2) {
  uint32_t d;
  asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; mov.b32 %0, {b, b};}" : "=r"(d) : "r"(h2));
  return d;
}
// Two at once, each rounded once.
SLUICE_DEVICE uint32_t fma_halves(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
SLUICE_DEVICE uint32_t add_halves(uint32_t a, uint32_t b) {
  uint32_t d;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}
SLUICE_DEVICE uint32_t subtract_halves(uint32_t a, uint32_t b) {
  uint32_t d;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}
SLUICE_DEVICE uint32_t multiply_halves(uint32_t a, uint32_t b) {
  uint32_t d;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}
SLUICE_DEVICE uint32_t fma_bf16(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// ---- fast functions, to about 22 bits
// -------------------------------------------------------------

SLUICE_DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
SLUICE_DEVICE float fast_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
SLUICE_DEVICE float fast_rsqrt(float x) { return rsqrtf(x); }

// ---- exactly one rounding, whatever the compiler would fuse
// ---------------------------------------

SLUICE_DEVICE float multiply_exact(float a, float b) { return __fmul_rn(a, b); }
SLUICE_DEVICE float add_exact(float a, float b) { return __fadd_rn(a, b); }
SLUICE_DEVICE double multiply_exact(double a, double b) { return __dmul_rn(a, b); }
SLUICE_DEVICE double add_exact(double a, double b) { return __dadd_rn(a, b); }

}  // namespace sluice::backend::cuda::ptx

#endif
