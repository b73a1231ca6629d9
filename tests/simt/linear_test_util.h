#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu_test_util.h"
#include "backend/cuda/linear.h"
#include "quant/half.h"
#include "simt/simt.h"

// What tests of products share: random matrices in tiles, and launches in the emulator.
namespace sluice::backend::cuda {

using quant::Type;

struct Matrix {
  MatrixLayout layout;
  std::vector<std::byte> source;  // as in a file
  std::vector<float> weights;     // [rows, columns]
};

inline Matrix random_matrix(Type type, int64_t rows, int64_t columns, std::mt19937& random) {
  Matrix m{matrix_layout(type, rows, columns), {}, {}};
  m.source = cpu::random_tensor(type, rows * columns, random, 0.5f);
  m.weights.resize(static_cast<size_t>(rows * columns));
  quant::dequantize(type, m.source.data(), m.weights.data(), rows * columns);
  return m;
}

// Matrices of one layout; their tiles take turns.
inline std::vector<std::byte> packed(std::initializer_list<const Matrix*> matrices) {
  const MatrixLayout& layout = (*matrices.begin())->layout;
  std::vector<std::byte> tiles(layout.bytes * matrices.size());
  const size_t row_bytes = quant::size_bytes(layout.type, layout.columns);
  std::byte* to = tiles.data();
  for (int64_t i = 0; i < layout.num_tiles(); ++i) {
    for (const Matrix* m : matrices) {
      pack_tile(layout, i, m->source.data() + static_cast<size_t>(i) * 16 * row_bytes, to);
      to += layout.tile_bytes;
    }
  }
  return tiles;
}

inline simt::Report run(const LaunchList& list, uint32_t seed) {
  simt::Report all;
  for (const Launch& l : list) {
    simt::Options options;
    options.seed = seed;
    simt::Report report =
        simt::launch(l.kernel, {l.grid.x, l.grid.y, l.grid.z}, {l.block.x, l.block.y, l.block.z},
                     l.shared_bytes, l.args.data(), l.args_bytes, options);
    all.errors.insert(all.errors.end(), report.errors.begin(), report.errors.end());
    all.lines.insert(all.lines.end(), report.lines.begin(), report.lines.end());
  }
  return all;
}

// Rows of results stand apart, each on a sector of its own.
inline int64_t out_stride(int64_t rows) { return (rows + 7) / 8 * 8 + 8; }

// Halves of activations in range, some columns apart.
inline std::vector<uint16_t> random_halves(size_t count, std::mt19937& random) {
  std::vector<uint16_t> halves;
  for (float value : cpu::random_floats(count, random, 2.0f)) {
    halves.push_back(quant::f32_to_f16(value));
  }
  return halves;
}

}  // namespace sluice::backend::cuda
