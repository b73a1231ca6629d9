// Root mean square norm: out = in / rms(in) * weight, or out += that; as floats, as halves, or
// both.
//
// A block has a row. A thread reads four numbers at a time, 1024 apart, adds their squares up, and
// the block adds up what its threads have: in an order that depends on the width alone. The row is
// read twice, the second time from L1.
//
// Tested by tests/simt/norm_test.cpp against the reference backend's formula.

#include "backend/cuda/kernels.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float sum_of_block(float value) {
  __shared__ float sums[kThreads / ptx::kWarp];
  for (int distance = 16; distance > 0; distance /= 2) value += ptx::shuffle_xor(value, distance);
  if (ptx::lane() == 0) sums[ptx::warp()] = value;
  ptx::sync_block();
  float total = 0.0f;
  for (const float sum : sums) total += sum;
  return total;
}

__device__ float4 load4(const float* row, int column, int width) {
  if (column + 4 <= width) return ptx::load(reinterpret_cast<const float4*>(row + column));
  float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
  if (column < width) v.x = row[column];
  if (column + 1 < width) v.y = row[column + 1];
  if (column + 2 < width) v.z = row[column + 2];
  return v;
}

}  // namespace

SLUICE_KERNEL(rms_norm, NormArgs, kThreads, 4) {
  const auto row = static_cast<int64_t>(blockIdx.x);
  const float* const in = args.in + row * args.in_stride;
  const int first = 4 * static_cast<int>(threadIdx.x);
  float squares = 0.0f;
  for (int column = first; column < args.width; column += 4 * kThreads) {
    const float4 v = load4(in, column, args.width);
    squares += v.x * v.x + v.y * v.y + (v.z * v.z + v.w * v.w);
  }
  const float mean = sum_of_block(squares) / static_cast<float>(args.width);
  const float scale = 1.0f / sqrtf(mean + args.eps);
  for (int column = first; column < args.width; column += 4 * kThreads) {
    float4 v = load4(in, column, args.width);
    const float4 w = load4(args.weight, column, args.width);
    v = {v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w};
    if (args.halves) {
      ptx::store(reinterpret_cast<uint2*>(args.halves + row * args.halves_stride + column),
                 uint2{ptx::pack_halves(v.x, v.y), ptx::pack_halves(v.z, v.w)});
    }
    if (!args.out) continue;
    float* const out = args.out + row * args.out_stride + column;
    if (column + 4 <= args.width) {
      if (args.accumulates) {
        const float4 old = ptx::load(reinterpret_cast<const float4*>(out));
        v = {v.x + old.x, v.y + old.y, v.z + old.z, v.w + old.w};
      }
      ptx::store(reinterpret_cast<float4*>(out), v);
      continue;
    }
    const float values[4] = {v.x, v.y, v.z, v.w};
    for (int i = 0; column + i < args.width; ++i) {
      out[i] = args.accumulates ? out[i] + values[i] : values[i];
    }
  }
}

}  // namespace sluice::backend::cuda
