#include <gtest/gtest.h>

#include "backend/cpu_test_util.h"
#include "backend/cuda/kernels.h"
#include "backend/cuda/packing.h"
#include "quant/codec.h"
#include "simt/kernel_test_util.h"

namespace sluice::backend::cuda {
namespace {

std::string lower(std::string_view name) {
  std::string text(name);
  for (char& c : text) c = static_cast<char>(std::tolower(c));
  return text;
}

TEST(CudaEmbed, RowsAreTheFiles) {
  std::mt19937 random(2);
  for (const quant::Type type : cpu::kAllTypes) {
    const std::string name = lower(quant::type_info(type).name);
    SCOPED_TRACE(name);
    const int columns = quant::type_info(type).block_elements == 256 ? 512 : 352, rows = 37;
    const std::vector<std::byte> bytes = cpu::random_tensor(type, int64_t{columns} * rows, random);
    const MatrixLayout layout = matrix_layout(type, rows, columns);
    std::vector<std::byte> packed(layout.bytes);
    const size_t row_bytes = quant::size_bytes(type, columns);
    for (int64_t tile = 0; tile < layout.num_tiles(); ++tile) {
      pack_tile(layout, tile, bytes.data() + static_cast<size_t>(tile) * 16 * row_bytes,
                packed.data() + tile * layout.tile_bytes);
    }
    const std::vector<int32_t> tokens = {36, 0, 17};
    const DeviceArray<std::byte> table(packed, "table");
    const DeviceArray<int32_t> tokens_device(tokens);
    const DeviceArray<float> out(3 * static_cast<size_t>(columns), "out");
    EmbedArgs args{};
    args.layout = layout;
    args.table = table.data();
    args.tokens = tokens_device.data();
    args.out = out.data();
    args.out_stride = columns;
    args.scale = 1.5f;
    LaunchList list;
    const std::string kernel = "embed_" + name;
    add_launch(list, kernel.c_str(), {static_cast<uint32_t>((columns + 255) / 256), 3}, {32}, 0,
               args);
    run_launches(list, 33.0);  // rows lie in tiles, for those who need sixteen at once
    for (size_t t = 0; t < tokens.size(); ++t) {
      std::vector<float> expected(static_cast<size_t>(columns));
      quant::dequantize(type, bytes.data() + static_cast<size_t>(tokens[t]) * row_bytes,
                        expected.data(), columns);
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(out.data()[t * expected.size() + i], expected[i] * 1.5f) << i;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::backend::cuda
