// Packs matrices: rows as they are in a file become tiles (packing_layout.h).
//
// Idea. A thread packs what one row pair (rows g and g + 8 of a tile) has in one chunk of 256
// columns: it reads two stretches of the file, 144 bytes each in 4 bits, and writes whole words. It
// need not be fast but beside the link that the file comes over.
//
// Reference: pack_tile() on the host, bit for bit (tests/simt/pack_test.cpp).

#include "backend/cuda/pack.h"
#include "backend/cuda/packing_tiles.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {
namespace {

template <quant::Type kType>
SLUICE_DEVICE void pack(const PackArgs& args) {
  using F = Format<kType>;
  using Block = typename F::Block;
  const int num_chunks = (args.columns + kChunkColumns - 1) / kChunkColumns;
  const int num_tiles = (args.rows + kTileRows - 1) / kTileRows;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int g = static_cast<int>(index % 8);
  const int chunk = static_cast<int>(index / 8 % num_chunks);
  const int tile = static_cast<int>(index / 8 / num_chunks);
  if (tile >= num_tiles) return;

  const int64_t row_blocks = args.columns / F::kBlockElements;
  const Block* pair[2] = {};
  for (int r = 0; r < 2; ++r) {
    const int row = tile * kTileRows + g + 8 * r;
    if (row >= args.rows) continue;
    pair[r] = reinterpret_cast<const Block*>(args.raw) + row * row_blocks +
              chunk * (kChunkColumns / F::kBlockElements);
  }
  const int rest = args.columns - chunk * kChunkColumns;
  pack_row_pair<kType>(
      pair, rest < kChunkColumns ? rest : kChunkColumns,
      args.packed + tile * args.tile_stride + static_cast<int64_t>(chunk) * F::kChunkBytes, g);
}

}  // namespace

#define SLUICE_PACK_KERNEL(name, type) \
  SLUICE_KERNEL(pack_##name, PackArgs, 256, 1) { pack<quant::Type::type>(args); }

SLUICE_PACK_KERNEL(f32, kF32)
SLUICE_PACK_KERNEL(f16, kF16)
SLUICE_PACK_KERNEL(bf16, kBF16)
SLUICE_PACK_KERNEL(q4_0, kQ4_0)
SLUICE_PACK_KERNEL(q4_1, kQ4_1)
SLUICE_PACK_KERNEL(q5_0, kQ5_0)
SLUICE_PACK_KERNEL(q5_1, kQ5_1)
SLUICE_PACK_KERNEL(q8_0, kQ8_0)
SLUICE_PACK_KERNEL(q2_k, kQ2_K)
SLUICE_PACK_KERNEL(q3_k, kQ3_K)
SLUICE_PACK_KERNEL(q4_k, kQ4_K)
SLUICE_PACK_KERNEL(q5_k, kQ5_K)
SLUICE_PACK_KERNEL(q6_k, kQ6_K)
SLUICE_PACK_KERNEL(iq4_nl, kIQ4_NL)
SLUICE_PACK_KERNEL(iq4_xs, kIQ4_XS)
SLUICE_PACK_KERNEL(mxfp4, kMXFP4)

}  // namespace sluice::backend::cuda
