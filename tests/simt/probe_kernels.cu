// Kernels that are right, wrong and wasteful, to see that the emulator tells them apart.

#include "backend/cuda/ptx.cuh"
#include "simt/probe_kernels.h"

namespace sluice::simt {
namespace {

namespace ptx = backend::cuda::ptx;

__device__ int global_thread() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }

}  // namespace

// out[i] = in[i] + i, in whatever way `flag` says.
SLUICE_KERNEL(simt_copy, ProbeArgs, 256, 1) {
  const int i = global_thread();
  if (args.flag == 1) {
    args.out[i] = args.in[i * 8 % args.count];  // apart
  } else if (i < args.count || args.flag == 2) {
    args.out[i] = args.in[i] + static_cast<float>(i);  // too far
  }
}

// Each block turns its 64 numbers around; without a barrier if `flag`.
SLUICE_KERNEL(simt_reverse, ProbeArgs, 64, 1) {
  __shared__ float numbers[64];
  const int i = static_cast<int>(threadIdx.x);
  numbers[i] = args.in[i];
  if (args.flag == 0) ptx::sync_block();
  if (args.flag == 2) ptx::sync_warp();
  args.out[i] = numbers[63 - i];
}

// Lanes of one warp only: sync_warp() is enough, and wanted.
SLUICE_KERNEL(simt_reverse_warp, ProbeArgs, 32, 1) {
  __shared__ float numbers[32];
  const int i = ptx::lane();
  numbers[i] = args.in[i];
  if (args.flag == 0) ptx::sync_warp();
  args.out[i] = numbers[31 - i];
}

// A column of a tile: 32 banks, or one.
SLUICE_KERNEL(simt_transpose, ProbeArgs, 32, 1) {
  __shared__ float tile[32 * 33];
  const int i = ptx::lane();
  const int width = args.flag == 0 ? 33 : 32;
  for (int row = 0; row < 32; ++row) tile[row * width + i] = args.in[row * 32 + i];
  ptx::sync_warp();
  for (int row = 0; row < 32; ++row) args.out[row * 32 + i] = tile[i * width + row];
}

// The last block to come adds up what all have written.
SLUICE_KERNEL(simt_last_block, ProbeArgs, 64, 1) {
  __shared__ bool is_last;
  args.out[global_thread()] = args.in[global_thread()];
  if (args.flag != 1) ptx::fence();
  ptx::sync_block();
  if (threadIdx.x == 0) {
    if (args.flag == 0) ptx::fence();  // for the others: the barrier has shown it to this thread
    is_last = ptx::atomic_add(args.counter, 1u) == gridDim.x - 1;
  }
  ptx::sync_block();
  if (!is_last || threadIdx.x > 0) return;
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x * 64; ++i) sum += args.out[i];
  args.out[gridDim.x * 64] = sum;
}

// Block 0 waits for the flag of the last one.
SLUICE_KERNEL(simt_wait_for_block, ProbeArgs, 32, 1) {
  __shared__ float mine;
  if (threadIdx.x == 0) mine = static_cast<float>(blockIdx.x);
  ptx::sync_block();
  if (blockIdx.x == gridDim.x - 1) {
    args.out[threadIdx.x] = mine;
    ptx::fence();
    ptx::sync_block();
    if (threadIdx.x == 0) ptx::store_release(args.counter, 1);
  } else if (blockIdx.x == 0) {
    if (threadIdx.x == 0) {
      while (ptx::load_acquire(args.counter) == 0) ptx::spin_pause();
    }
    ptx::sync_block();
    args.out[32 + threadIdx.x] = args.out[threadIdx.x] + mine;
  }
}

// Doubles through cp.async, which is waited for, not at all, or for one group too few.
SLUICE_KERNEL(simt_copy_async, ProbeArgs, 32, 1) {
  __shared__ __align__(16) float stages[2][128];
  const int i = ptx::lane();
  for (int stage = 0; stage < 2; ++stage) {
    ptx::cp_async16(&stages[stage][4 * i], args.in + 128 * stage + 4 * i, i < args.count);
    ptx::cp_async_commit();
  }
  if (args.flag == 0) ptx::cp_async_wait<0>();
  if (args.flag == 1) ptx::cp_async_wait<1>();
  ptx::sync_warp();
  for (int k = i; k < 256; k += 32) args.out[k] = 2.0f * stages[k / 128][k % 128];
}

// Lanes that do not meet.
SLUICE_KERNEL(simt_diverge, ProbeArgs, 64, 1) {
  const int i = static_cast<int>(threadIdx.x);
  float value = args.in[i];
  if (args.flag == 1 && i < 8) return;
  if (args.flag == 2 && i < 8) {
    value = static_cast<float>(ptx::ballot(value > 0));
  } else {
    value += ptx::shuffle_xor(value, 1);
  }
  if (args.flag == 3 && i < 32) ptx::sync_block();
  if (args.flag == 3 && i >= 32) ptx::sync_named(1, 64);
  args.out[i] = value;
}

// Reads what nobody has written, in shared or in global memory.
SLUICE_KERNEL(simt_undefined, ProbeArgs, 32, 1) {
  __shared__ float numbers[64];
  numbers[threadIdx.x] = args.in[threadIdx.x];
  ptx::sync_block();
  args.out[threadIdx.x] =
      numbers[threadIdx.x + (args.flag == 1 ? 1 : 0)] + args.out[threadIdx.x + 32];
}

// Two warps write, two read, by named barriers of each pair.
SLUICE_KERNEL(simt_named_barriers, ProbeArgs, 128, 1) {
  __shared__ float numbers[64];
  const int i = static_cast<int>(threadIdx.x);
  if (i < 64) {
    numbers[i] = args.in[i];
    ptx::arrive_named(1 + i / 32, 64);
  } else {
    const int from = args.flag == 0 ? i - 64 : (i - 32) % 64;
    ptx::sync_named(1 + (i - 64) / 32, 64);
    args.out[i - 64] = numbers[from];
  }
}

// out[lane] = shuffles of all kinds, a vote, a permutation of bytes.
SLUICE_KERNEL(simt_lanes, LanesArgs, 32, 1) {
  const int i = ptx::lane();
  const uint32_t value = 1000u + static_cast<uint32_t>(i);
  uint32_t* const out = args.out + 8 * i;
  out[0] = ptx::shuffle(value, 5);
  out[1] = ptx::shuffle_xor(value, 3);
  out[2] = ptx::shuffle_up(value, 2, 8);
  out[3] = ptx::shuffle_down(value, 2, 8);
  out[4] = ptx::ballot(i % 3 == 0);
  out[5] = static_cast<uint32_t>(ptx::shuffle(1.0e10 * i, 31) / 1.0e9);
  out[6] = ptx::permute_bytes(0x03020100u, 0x07060504u, 0x6240u);
  out[7] = ptx::lop3<0xEA>(0xff00ff00u, 0x0ff00ff0u, static_cast<uint32_t>(i));
}

// out[lane] = what ldmatrix gives of the rows of `in`, one a lane.
SLUICE_KERNEL(simt_load_matrix, LoadMatrixArgs, 32, 1) {
  __shared__ __align__(16) uint16_t rows[256];
  const int i = ptx::lane();
  for (int k = i; k < 256; k += 32) rows[k] = args.in[k];
  ptx::sync_warp();
  const uint16_t* const row = rows + 8 * i;
  uint32_t d[4], pair[2];
  if (args.count == 4) {
    if (args.is_transposed) {
      ptx::load_matrix_transposed(d, row);
    } else {
      ptx::load_matrix(d, row);
    }
  } else {
    if (args.is_transposed) {
      ptx::load_matrix_transposed(pair, row);
    } else {
      ptx::load_matrix(pair, row);
    }
    d[0] = pair[0];
    d[1] = pair[1];
  }
  for (int k = 0; k < args.count; ++k) args.out[i * args.count + k] = d[k];
}

// How many halves, and how many numbers at and beside the middles between them, are not converted
// as the compiler converts them.
SLUICE_KERNEL(simt_halves, LanesArgs, 32, 1) {
  const auto as_half = [](uint16_t bits) { return std::bit_cast<_Float16>(bits); };
  uint32_t num_wrong = 0;
  for (uint32_t bits = static_cast<uint32_t>(ptx::lane()); bits < 0x10000; bits += 32) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = ptx::half_to_float(half), expected = static_cast<float>(as_half(half));
    if (std::isnan(expected)) {
      num_wrong += !std::isnan(value) || !std::isnan(ptx::half_to_float(ptx::float_to_half(value)));
      continue;
    }
    num_wrong += std::bit_cast<uint32_t>(value) != std::bit_cast<uint32_t>(expected);
    const double unit =
        std::abs(value) < 0x1p-14 ? 0x1p-24 : std::ldexp(1.0, std::ilogb(value) - 10);
    for (const double part : {0.0, 0.5, 0.5 - 0x1p-40, 0.5 + 0x1p-40, 0.25}) {
      for (const double x : {value + part * unit, value - part * unit}) {
        const auto right = std::bit_cast<uint16_t>(static_cast<_Float16>(x));
        num_wrong += ptx::double_to_half(x) != right;
        const auto narrow = static_cast<float>(x);
        num_wrong +=
            ptx::float_to_half(narrow) != std::bit_cast<uint16_t>(static_cast<_Float16>(narrow));
      }
    }
  }
  ptx::store(args.out + ptx::lane(), num_wrong);
}

// c = a b by one warp: a [16, 16] and b [16, 8] halves by ldmatrix, from rows that are `stride`
// bytes apart.
SLUICE_KERNEL(simt_product, ProductArgs, 32, 1) {
  std::byte* const a_rows = ptx::dynamic_shared();
  std::byte* const b_rows = a_rows + 16 * args.stride;
  const int i = ptx::lane();
  for (int k = i; k < 16 * 16; k += 32) {
    *reinterpret_cast<uint16_t*>(a_rows + k / 16 * args.stride + k % 16 * 2) = args.a[k];
  }
  for (int k = i; k < 16 * 8; k += 32) {
    *reinterpret_cast<uint16_t*>(b_rows + k / 8 * args.stride + k % 8 * 2) = args.b[k];
  }
  ptx::sync_warp();
  uint32_t a[4], b[2];
  ptx::load_matrix(a, a_rows + i % 16 * args.stride + i / 16 * 16);
  ptx::load_matrix_transposed(b, b_rows + i % 16 * args.stride);
  float c[4] = {};
  if (args.is_bf16) {
    ptx::mma_bf16(c, a, b);
  } else {
    ptx::mma_f16(c, a, b);
  }
  float* const out = args.c + i / 4 * 8 + i % 4 * 2;
  ptx::store(reinterpret_cast<float2*>(out), float2{c[0], c[1]});
  ptx::store(reinterpret_cast<float2*>(out + 64), float2{c[2], c[3]});
}

}  // namespace sluice::simt
