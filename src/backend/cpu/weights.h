#pragma once

#include <functional>
#include <vector>

#include "backend/cpu/memory.h"
#include "backend/cpu/packing.h"
#include "backend/cpu/team.h"
#include "backend/program.h"

namespace sluice::backend::cpu {

// A program's weights as the operations want them: matrices of Linear packed, norms and biases as
// f32. Embedding tables stay in the file and are decoded a row at a time.
class Weights {
 public:
  Weights() = default;
  // Packs on all members; `on_progress` (may be empty) is called on the calling thread. Throws
  // Error(kUnsupported) naming a matrix that cannot be packed, Error(kOutOfMemory).
  Weights(const Program& program, Team& team, const std::function<void(double)>& on_progress);

  const PackedMatrix& matrix(WeightId id) const { return matrices_[static_cast<size_t>(id)]; }
  const float* vector(WeightId id) const {
    return id == kNoWeight ? nullptr : vectors_[static_cast<size_t>(id)].data();
  }
  size_t size_bytes() const { return size_bytes_; }

 private:
  void plan(const Program& program);
  void pack(const Program& program, Team& team, const std::function<void(double)>& on_progress);

  std::vector<PackedMatrix> matrices_;       // by WeightId; without data where not of a Linear
  std::vector<std::vector<float>> vectors_;  // by WeightId; empty where not a vector
  HugeBuffer memory_;
  size_t size_bytes_ = 0;
};

}  // namespace sluice::backend::cpu
