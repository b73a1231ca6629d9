#include "backend/cuda/packing.h"

#include <algorithm>
#include <limits>
#include <string>

#include "backend/cuda/packing_tiles.h"
#include "base/error.h"

namespace sluice::backend::cuda {
namespace {

using quant::Type;

// Calls call.operator()<type>() for the type that `type` is.
template <typename Call>
void with_format(Type type, Call&& call) {
  switch (type) {
    case Type::kF32:
      return call.template operator()<Type::kF32>();
    case Type::kF16:
      return call.template operator()<Type::kF16>();
    case Type::kBF16:
      return call.template operator()<Type::kBF16>();
    case Type::kQ4_0:
      return call.template operator()<Type::kQ4_0>();
    case Type::kQ4_1:
      return call.template operator()<Type::kQ4_1>();
    case Type::kQ5_0:
      return call.template operator()<Type::kQ5_0>();
    case Type::kQ5_1:
      return call.template operator()<Type::kQ5_1>();
    case Type::kQ8_0:
      return call.template operator()<Type::kQ8_0>();
    case Type::kQ2_K:
      return call.template operator()<Type::kQ2_K>();
    case Type::kQ3_K:
      return call.template operator()<Type::kQ3_K>();
    case Type::kQ4_K:
      return call.template operator()<Type::kQ4_K>();
    case Type::kQ5_K:
      return call.template operator()<Type::kQ5_K>();
    case Type::kQ6_K:
      return call.template operator()<Type::kQ6_K>();
    case Type::kIQ4_NL:
      return call.template operator()<Type::kIQ4_NL>();
    case Type::kIQ4_XS:
      return call.template operator()<Type::kIQ4_XS>();
    case Type::kMXFP4:
      return call.template operator()<Type::kMXFP4>();
  }
  throw Error(ErrorCode::kUnsupported, "the CUDA backend has no kernel for this tensor type");
}

// Columns of chunk `chunk`.
int columns_of_chunk(const MatrixLayout& layout, int chunk) {
  return static_cast<int>(std::min<int64_t>(kChunkColumns, layout.columns - chunk * kChunkColumns));
}

}  // namespace

MatrixLayout matrix_layout(Type type, int64_t rows, int64_t columns) {
  const int64_t unit = std::max<int64_t>(kBlockColumns, quant::type_info(type).block_elements);
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max() / 64;
  if (columns <= 0 || rows <= 0 || columns > kLimit || rows > kLimit || columns % unit != 0) {
    throw Error(ErrorCode::kUnsupported,
                "a matrix of " + std::to_string(rows) + " rows and " + std::to_string(columns) +
                    " columns: columns must be a multiple of " + std::to_string(unit));
  }
  MatrixLayout layout;
  layout.type = type;
  layout.rows = rows;
  layout.columns = columns;
  with_format(type, [&]<Type kType>() {
    using F = Format<kType>;
    const int64_t quarters = (columns + kQuarterColumns - 1) / kQuarterColumns;
    layout.tile_bytes = quarters * F::kQuarterBytes + layout.num_chunks() * F::kScaleBytes;
  });
  layout.bytes = static_cast<size_t>(layout.num_tiles() * layout.tile_bytes);
  return layout;
}

void pack_tile(const MatrixLayout& layout, int64_t index, const std::byte* source,
               std::byte* tile) {
  with_format(layout.type, [&]<Type kType>() {
    using F = Format<kType>;
    using Block = typename F::Block;
    const size_t row_blocks = static_cast<size_t>(layout.columns / F::kBlockElements);
    const auto* blocks = reinterpret_cast<const Block*>(source);
    for (int chunk = 0; chunk < layout.num_chunks(); ++chunk) {
      auto* to = reinterpret_cast<uint8_t*>(tile) + int64_t{chunk} * F::kChunkBytes;
      for (int g = 0; g < kTileRows / 2; ++g) {
        const Block* pair[2] = {};
        for (int r = 0; r < 2; ++r) {
          if (index * kTileRows + g + 8 * r >= layout.rows) continue;
          pair[r] = blocks + static_cast<size_t>(g + 8 * r) * row_blocks +
                    static_cast<size_t>(chunk * (kChunkColumns / F::kBlockElements));
        }
        pack_row_pair<kType>(pair, columns_of_chunk(layout, chunk), to, g);
      }
    }
  });
}

void unpack_tile_row(const MatrixLayout& layout, const std::byte* tile, int row, float* values) {
  with_format(layout.type, [&]<Type kType>() {
    for (int chunk = 0; chunk < layout.num_chunks(); ++chunk) {
      const int num_columns = columns_of_chunk(layout, chunk);
      const int num_quarters = (num_columns + kQuarterColumns - 1) / kQuarterColumns;
      const auto* from =
          reinterpret_cast<const uint8_t*>(tile) + int64_t{chunk} * Format<kType>::kChunkBytes;
      for (int eighth = 0; eighth < num_columns / 8; ++eighth) {
        float eight[8];
        unpack_columns<kType>(from, num_quarters, row, eighth, eight);
        values = std::copy(std::begin(eight), std::end(eight), values);
      }
    }
  });
}

}  // namespace sluice::backend::cuda
