// Operations that read and write each number once: bringing a step to the device, gated activation,
// soft cap, gathering rows, floats to halves. A thread has four neighbours, 16 bytes.
//
// Tested by tests/simt/elementwise_test.cpp against the reference backend's formulas.

#include "backend/cuda/gated.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {
namespace {

// Four floats from `column` on of a row that is `width` long; what is beyond stays zero.
__device__ float4 load_row4(const float* row, int column, int width) {
  if (column + 4 <= width) return ptx::load(reinterpret_cast<const float4*>(row + column));
  float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
  if (column < width) v.x = row[column];
  if (column + 1 < width) v.y = row[column + 1];
  if (column + 2 < width) v.z = row[column + 2];
  return v;
}
__device__ void store_row4(float* row, int column, int width, const float4& v) {
  if (column + 4 <= width) {
    ptx::store(reinterpret_cast<float4*>(row + column), v);
    return;
  }
  if (column < width) row[column] = v.x;
  if (column + 1 < width) row[column + 1] = v.y;
  if (column + 2 < width) row[column + 2] = v.z;
}
// Rows of halves are padded to their stride: whole groups of four may be written.
__device__ void store_halves4(uint16_t* row, int column, const float4& v) {
  ptx::store(reinterpret_cast<uint2*>(row + column),
             uint2{ptx::pack_halves(v.x, v.y), ptx::pack_halves(v.z, v.w)});
}

constexpr int kThreads = 128;
constexpr int kTurns = 2;  // of four numbers, of each thread
__device__ int column_of(int turn) {
  return (static_cast<int>(blockIdx.x) * kTurns + turn) * 4 * kThreads +
         4 * static_cast<int>(threadIdx.x);
}

}  // namespace

// The host's memory is read once, in the order in which it lies.
SLUICE_KERNEL(load_step, LoadStepArgs, 256, 1) {
  const auto* const pieces = reinterpret_cast<const StepPieces*>(args.host);
  const auto* const from = reinterpret_cast<const uint4*>(args.host);
  auto* const to = reinterpret_cast<uint4*>(args.device);
  const int first = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int step = static_cast<int>(gridDim.x * blockDim.x);
  for (int p = 0; p < pieces->num_pieces; ++p) {
    const StepPieces::Piece piece = pieces->pieces[p];
    for (int i = first; i < piece.count; i += step) {
      ptx::store(to + piece.offset + i, ptx::load(from + piece.offset + i));
    }
  }
}

SLUICE_KERNEL(gated_activation, GatedArgs, kThreads, 8) {
  const auto row = static_cast<int64_t>(blockIdx.y);
  const float* const gate = args.gate + row * args.stride;
  const float* const up = args.up + row * args.stride;
  for (int turn = 0; turn < kTurns; ++turn) {
    const int column = column_of(turn);
    if (column >= args.width) return;
    const float4 g = load_row4(gate, column, args.width);
    const float4 u = load_row4(up, column, args.width);
    float4 v = {activate(g.x, args.curve) * u.x, activate(g.y, args.curve) * u.y,
                activate(g.z, args.curve) * u.z, activate(g.w, args.curve) * u.w};
    if (args.out) store_row4(args.out + row * args.stride, column, args.width, v);
    if (!args.halves) continue;
    constexpr float kFactor = 1.0f / kGatedScale;
    v = {v.x * kFactor, v.y * kFactor, v.z * kFactor, v.w * kFactor};
    store_halves4(args.halves + row * args.halves_stride, column, v);
  }
}

SLUICE_KERNEL(soft_cap, SoftCapArgs, kThreads, 8) {
  float* const row = args.values + static_cast<int64_t>(blockIdx.y) * args.stride;
  for (int turn = 0; turn < kTurns; ++turn) {
    const int column = column_of(turn);
    if (column >= args.width) return;
    float4 v = load_row4(row, column, args.width);
    v = {args.cap * tanhf(v.x / args.cap), args.cap * tanhf(v.y / args.cap),
         args.cap * tanhf(v.z / args.cap), args.cap * tanhf(v.w / args.cap)};
    store_row4(row, column, args.width, v);
  }
}

SLUICE_KERNEL(to_halves, ToHalvesArgs, kThreads, 8) {
  const auto row = static_cast<int64_t>(blockIdx.y);
  for (int turn = 0; turn < kTurns; ++turn) {
    const int column = column_of(turn);
    if (column >= args.width) return;
    const float4 v = load_row4(args.in + row * args.in_stride, column, args.width);
    store_halves4(args.halves + row * args.halves_stride, column, v);
  }
}

SLUICE_KERNEL(gather_rows, GatherArgs, 256, 4) {
  const auto row = static_cast<int64_t>(blockIdx.x);
  const float* const from = args.in + args.output_rows[row] * args.in_stride;
  float* const to = args.out + row * args.out_stride;
  for (int column = 4 * static_cast<int>(threadIdx.x); column < args.width; column += 1024) {
    store_row4(to, column, args.width, load_row4(from, column, args.width));
  }
}

}  // namespace sluice::backend::cuda
