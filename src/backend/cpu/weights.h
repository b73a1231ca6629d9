#pragma once

#include <functional>
#include <vector>

#include "backend/cpu/huge_buffer.h"
#include "backend/cpu/packing.h"
#include "backend/cpu/team.h"
#include "backend/program.h"

namespace sluice::backend::cpu {

// A program's weights as the operations want them, in memory of our own: matrices of Linear packed,
// norms and biases as f32. An embedding table that no Linear reads lies as in the file.
class Weights {
 public:
  Weights() = default;
  // How a program's weights will lie; nothing is read or allocated. Throws Error(kUnsupported)
  // naming a matrix that cannot be packed.
  explicit Weights(const Program& program);
  // Reads and packs them on all members; `on_progress` (may be empty) is called on the calling
  // thread. Throws Error(kOutOfMemory), and what reading the weights' data and `on_progress` throw.
  void load(const Program& program, Team& team, const std::function<void(double)>& on_progress);

  const PackedMatrix& matrix(WeightId id) const { return matrices_[static_cast<size_t>(id)]; }
  const float* vector(WeightId id) const {
    return id == kNoWeight ? nullptr : vectors_[static_cast<size_t>(id)].data();
  }
  // Decodes row `row` of an embedding table into `values`.
  void embedding(WeightId id, int row, float* values) const;

  // Also before they are loaded.
  size_t size_bytes() const { return matrix_bytes_ + vector_bytes_; }

 private:
  // An embedding table in file form.
  struct Table {
    quant::Type type = quant::Type::kF32;
    int64_t columns = 0;
    size_t row_bytes = 0;
    std::byte* data = nullptr;  // null where there is none
  };
  // Rows that are read together.
  struct Piece {
    size_t id;
    int first;
    int count;
  };

  size_t place_matrices(const Program& program, std::byte* memory);
  std::vector<Piece> pieces(const Program& program) const;
  void load_piece(const Weight& weight, const Piece& piece, std::vector<std::byte>& buffer) const;
  void load_matrices(const Program& program, Team& team,
                     const std::function<void(double)>& on_progress);

  std::vector<PackedMatrix> matrices_;       // by WeightId; without data where not of a Linear
  std::vector<Table> tables_;                // by WeightId
  std::vector<std::vector<float>> vectors_;  // by WeightId; empty where not a vector
  HugeBuffer memory_;
  size_t matrix_bytes_ = 0;  // tables included
  size_t vector_bytes_ = 0;
};

}  // namespace sluice::backend::cpu
