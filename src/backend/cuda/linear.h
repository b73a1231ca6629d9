#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/cuda/gated.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/packing.h"
#include "quant/types.h"

// Products of activations with the matrices of a model: out = in * weight^T (+ bias), or out +=
// that.
//
// Activations come as halves (f16): what only a Linear reads is written so by the operation before
// it (norm, attention, gated activation), the last with a factor that keeps it in range. Sums and
// results are f32. A row's result must not depend on the other rows of the step as long as the same
// kernel computes it (backend.h, Traits).
namespace sluice::backend::cuda {

// Packs rows [first_row, first_row + num_rows) from file form (quant/types.h: row behind row),
// which the device has at `raw`, to their places in the matrix at `packed`. first_row is a multiple
// of kPackRows, num_rows too unless they are the last. From a tile to the next are `tile_stride`
// bytes, tile_bytes or more.
inline constexpr int kPackRows = 64;
void add_pack(LaunchList& list, const MatrixLayout& layout, const void* raw, int64_t first_row,
              int64_t num_rows, void* packed, int64_t tile_stride);

struct HalfRows {
  const uint16_t* data = nullptr;  // [rows, stride], f16; a row is aligned to 16 bytes
  int64_t stride = 0;              // from one row to the next
  float scale = 1.0f;              // of what is stored: a value is half * scale
};

struct LinearTarget {
  MatrixLayout layout;
  const void* packed = nullptr;
  const float* bias = nullptr;  // [layout.rows]; null: none
  float* out = nullptr;         // [rows, out_stride]
  int64_t out_stride = 0;
  bool accumulates = false;
};

// Two matrices of one layout, gate and up, whose results nothing reads but a gated activation,
// which the product applies itself: out = activation(gate) * up / kGatedScale. Their tiles take
// turns in memory, so that who has a number of one has that of the other:
//
//   packed | gate, tile 0 | up, tile 0 | gate, tile 1 | up, tile 1 | ...
struct GatedTarget {
  MatrixLayout layout;  // of each
  const void* packed = nullptr;
  const float* gate_bias = nullptr;  // [layout.rows]; null: none
  const float* up_bias = nullptr;
  uint16_t* out = nullptr;  // [rows, out_stride], halves; out_stride: a multiple of 8
  int64_t out_stride = 0;
  GateCurve curve;
};

// What a product may use besides, the same for all of a step: zero before its first use, and left
// zero where it counts.
size_t linear_scratch_bytes(const DeviceFacts& device, std::span<const MatrixLayout> matrices);

// `targets` all read `in`. is_prefill: nothing but prompts is in the step, and a row's result must
// be the same for any number of them.
void add_linear(LaunchList& list, const DeviceFacts& device, const HalfRows& in,
                std::span<const LinearTarget> targets, int rows, bool is_prefill, void* scratch);
// The same, for one gate and up.
void add_gated_linear(LaunchList& list, const DeviceFacts& device, const HalfRows& in,
                      const GatedTarget& target, int rows, bool is_prefill, void* scratch);

}  // namespace sluice::backend::cuda
