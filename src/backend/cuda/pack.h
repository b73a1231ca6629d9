#pragma once

#include <cstdint>

namespace sluice::backend::cuda {

struct PackArgs {
  const uint8_t* raw;   // rows in file form, the first of them row 0 here
  uint8_t* packed;      // of the tile of row 0
  int64_t tile_stride;  // bytes
  int32_t rows, columns;
};

}  // namespace sluice::backend::cuda
