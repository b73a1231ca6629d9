#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/types.h"

namespace sluice::backend::cuda {

// How a matrix lies in a GPU's memory (packing_layout.h says what is where).
struct MatrixLayout {
  quant::Type type = quant::Type::kF32;
  int64_t rows = 0, columns = 0;
  int64_t tile_bytes = 0;  // of 16 rows
  size_t bytes = 0;        // of all tiles; in device memory aligned to 256

  int64_t num_tiles() const { return (rows + 15) / 16; }
  int64_t num_chunks() const { return (columns + 255) / 256; }  // the last may be shorter
};

// Nothing is read or allocated. Throws Error(kUnsupported) if `columns` is not a multiple of 32, or
// of the type's block.
MatrixLayout matrix_layout(quant::Type type, int64_t rows, int64_t columns);

// Packs tile `index`, whose rows lie in file form at `source`, into tile_bytes at `tile`; rows
// beyond the matrix's last are zeros. Plain code: a GPU packs with the same functions (pack.cu).
void pack_tile(const MatrixLayout& layout, int64_t index, const std::byte* source, std::byte* tile);

// Decodes row `row` (0..15) of a tile into [columns] values, bit for bit what quant::dequantize
// gives.
void unpack_tile_row(const MatrixLayout& layout, const std::byte* tile, int row, float* values);

}  // namespace sluice::backend::cuda
