// What a GPU can do at most: how fast memory is read, how fast matrices are multiplied.
//
// Idea. Reading: every thread asks for 4 times 16 bytes before it uses any, next to its
// neighbours', as the products of few rows do, and adds words up. Multiplying: operands stay where
// they are, so that nothing but the tensor cores is waited for:
//
//   warp   A [16, 64] in registers  x  B [128, 64]: registers (mma), shared memory (warpgroups, as
//          the operands of linear_many.cuh lie) = 64 sums a lane, again and again
//
// Tested by tests/simt/ceilings_test.cpp against sums in double.

#include "backend/cuda/ceilings.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {
namespace {

constexpr int kSteps = kCeilingColumns / 16;
constexpr int kTokenTiles = kCeilingRows / 8;

SLUICE_DEVICE uint32_t pair_at(int matrix, int row, int column) {
  return ceiling_half(matrix, row, column) | ceiling_half(matrix, row, column + 1) << 16;
}

SLUICE_DEVICE void make_a(uint32_t (&a)[kSteps][4]) {
  const int g = ptx::lane() / 4, t = ptx::lane() % 4;
  SLUICE_UNROLL
  for (int step = 0; step < kSteps; ++step) {
    SLUICE_UNROLL
    for (int i = 0; i < 4; ++i) {
      a[step][i] = pair_at(0, g + i % 2 * 8, 16 * step + 2 * t + i / 2 * 8);
    }
  }
}

SLUICE_DEVICE void store_sum(const MultiplyCeilingArgs& args, const float* sums) {
  float sum = 0.0f;
  SLUICE_UNROLL
  for (int i = 0; i < 4 * kTokenTiles; ++i) sum += sums[i];
  for (int distance = 16; distance > 0; distance /= 2) sum += ptx::shuffle_xor(sum, distance);
  const int warp = static_cast<int>(blockIdx.x) * (kCeilingThreads / ptx::kWarp) + ptx::warp();
  if (ptx::lane() == 0) args.sums[warp] = sum;
}

}  // namespace

SLUICE_KERNEL(read_ceiling, ReadCeilingArgs, kCeilingThreads, 4) {
  constexpr int kTogether = 4;
  const uint64_t policy = ptx::evict_first_policy();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kCeilingThreads;
  uint32_t sum = 0;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kCeilingThreads + threadIdx.x;
       first < args.num_pieces; first += kTogether * step) {
    uint4 pieces[kTogether];
    SLUICE_UNROLL
    for (int i = 0; i < kTogether; ++i) {
      pieces[i] = {0, 0, 0, 0};
      if (first + i * step < args.num_pieces) {
        pieces[i] = ptx::load_stream16(args.from + 16 * (first + i * step), policy);
      }
    }
    SLUICE_UNROLL
    for (int i = 0; i < kTogether; ++i) {
      sum += pieces[i].x + pieces[i].y + pieces[i].z + pieces[i].w;
    }
  }
  for (int distance = 16; distance > 0; distance /= 2) sum += ptx::shuffle_xor(sum, distance);
  if (ptx::lane() == 0) ptx::atomic_add(args.sum, sum);
}

SLUICE_KERNEL(multiply_ceiling, MultiplyCeilingArgs, kCeilingThreads, 1) {
  const int g = ptx::lane() / 4, t = ptx::lane() % 4;
  uint32_t a[kSteps][4], b[2][kSteps][2];
  make_a(a);
  SLUICE_UNROLL
  for (int i = 0; i < 2 * kSteps * 2; ++i) {
    const int tile = i / (2 * kSteps), step = i / 2 % kSteps, half = i % 2;
    b[tile][step][half] = pair_at(1, 8 * tile + g, 16 * step + 2 * t + 8 * half);
  }
  float sums[kTokenTiles][4] = {};
#pragma unroll 1
  for (int round = 0; round < args.rounds; ++round) {
    SLUICE_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      SLUICE_UNROLL
      for (int tile = 0; tile < kTokenTiles; ++tile) {
        ptx::mma_f16(sums[tile], a[step], b[tile % 2][step]);
      }
    }
  }
  store_sum(args, sums[0]);
}

SLUICE_KERNEL(multiply_wide_ceiling, MultiplyCeilingArgs, kCeilingThreads, 2) {
#if SLUICE_HAS_WARPGROUPS
  auto* const shared = reinterpret_cast<uint32_t*>(ptx::aligned_shared());
  constexpr int kRowWords = kCeilingColumns / 2;
  for (int i = static_cast<int>(threadIdx.x); i < kCeilingRows * kRowWords; i += kCeilingThreads) {
    const int row = i / kRowWords, word = i % kRowWords;
    shared[row * kRowWords + ((word / 4 ^ row % 8) * 4 + word % 4)] = pair_at(1, row, 2 * word);
  }
  uint32_t a[kSteps][4];
  make_a(a);
  ptx::fence_for_warpgroup_reads();
  ptx::sync_block();
  const uint64_t b = ptx::warpgroup_operand(shared);
  float sums[4 * kTokenTiles] = {};
#pragma unroll 1
  for (int round = 0; round < args.rounds; ++round) {
    ptx::warpgroup_begin();
    SLUICE_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      ptx::warpgroup_mma(sums, a[step], ptx::warpgroup_step(b, step));
    }
    ptx::warpgroup_commit();
  }
  ptx::warpgroup_wait();
  ptx::warpgroup_sums(sums);
  store_sum(args, sums);
#endif
}

}  // namespace sluice::backend::cuda
