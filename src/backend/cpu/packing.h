#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/formats.h"
#include "quant/types.h"

namespace sluice::backend::cpu {

// A matrix packed for the kernels (layout: formats.h). Matrices of floats lie as [columns][16] a
// group. Rows beyond the last are zero.
struct PackedMatrix {
  quant::Type type = quant::Type::kF32;
  int columns = 0;
  int rows = 0;
  const int8_t* table = nullptr;  // Codes::kTable
  size_t group_bytes = 0;
  std::byte* data = nullptr;  // 64-byte aligned, num_groups() * group_bytes

  int num_groups() const { return (rows + kGroupRows - 1) / kGroupRows; }
  int num_blocks() const { return columns / kBlockColumns; }
  size_t size_bytes() const { return static_cast<size_t>(num_groups()) * group_bytes; }
  bool is_float() const;
  const uint8_t* group(int index) const {
    return reinterpret_cast<const uint8_t*>(data) + static_cast<size_t>(index) * group_bytes;
  }
};

// The layout of a matrix of `type`, without memory yet. Throws Error(kUnsupported) if `columns` is
// not a multiple of 32.
PackedMatrix plan_packing(quant::Type type, int64_t columns, int64_t rows);

// Packs group `index`, whose rows lie in file form at `source`.
void pack_group(const PackedMatrix& matrix, const std::byte* source, int index);

// Decodes row `row` into [columns] values, bit for bit what quant::dequantize gives.
void unpack_row(const PackedMatrix& matrix, int row, float* values);

}  // namespace sluice::backend::cpu
