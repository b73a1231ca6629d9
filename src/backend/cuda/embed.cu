// Rows of the table of tokens, from the tiles in which matrices lie (packing_layout.h): a warp
// decodes a chunk of 256 columns of one token's row, a lane eight of them.
//
// Tested by tests/simt/embed_test.cpp against quant::dequantize.

#include "backend/cuda/kernels.h"
#include "backend/cuda/packing_tiles.h"
#include "backend/cuda/ptx.cuh"

namespace sluice::backend::cuda {
namespace {

template <quant::Type kType>
__device__ void embed(const EmbedArgs& args) {
  const int chunk = static_cast<int>(blockIdx.x);
  const auto index = static_cast<int64_t>(blockIdx.y);
  const int token = args.tokens[index];
  const int columns =
      min(kChunkColumns, static_cast<int>(args.layout.columns) - chunk * kChunkColumns);
  const int eighth = ptx::lane();
  if (8 * eighth >= columns) return;
  const auto* const data =
      reinterpret_cast<const uint8_t*>(args.table + token / kTileRows * args.layout.tile_bytes +
                                       int64_t{chunk} * Format<kType>::kChunkBytes);
  float values[8];
  unpack_columns<kType>(data, (columns + kQuarterColumns - 1) / kQuarterColumns, token % kTileRows,
                        eighth, values);
  float* const out = args.out + index * args.out_stride + chunk * kChunkColumns + 8 * eighth;
  for (int i = 0; i < 8; i += 4) {
    ptx::store(reinterpret_cast<float4*>(out + i),
               float4{values[i] * args.scale, values[i + 1] * args.scale,
                      values[i + 2] * args.scale, values[i + 3] * args.scale});
  }
}

}  // namespace

#define SLUICE_EMBED(name, type) \
  SLUICE_KERNEL(embed_##name, EmbedArgs, 32, 16) { embed<quant::Type::type>(args); }
SLUICE_EMBED(f32, kF32)
SLUICE_EMBED(f16, kF16)
SLUICE_EMBED(bf16, kBF16)
SLUICE_EMBED(q4_0, kQ4_0)
SLUICE_EMBED(q4_1, kQ4_1)
SLUICE_EMBED(q5_0, kQ5_0)
SLUICE_EMBED(q5_1, kQ5_1)
SLUICE_EMBED(q8_0, kQ8_0)
SLUICE_EMBED(q2_k, kQ2_K)
SLUICE_EMBED(q3_k, kQ3_K)
SLUICE_EMBED(q4_k, kQ4_K)
SLUICE_EMBED(q5_k, kQ5_K)
SLUICE_EMBED(q6_k, kQ6_K)
SLUICE_EMBED(iq4_nl, kIQ4_NL)
SLUICE_EMBED(iq4_xs, kIQ4_XS)
SLUICE_EMBED(mxfp4, kMXFP4)

}  // namespace sluice::backend::cuda
