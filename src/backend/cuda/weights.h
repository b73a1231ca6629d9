#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "backend/cuda/device.h"
#include "backend/cuda/packing.h"
#include "backend/program.h"

namespace sluice::backend::cuda {

// A model's weights on a device: matrices in tiles (packing.h), norms, biases and frequencies as
// floats, all in one piece of memory.
class DeviceWeights {
 public:
  DeviceWeights() = default;
  // Plans: nothing is read or allocated. Throws Error(kUnsupported) naming a matrix that does not
  // fit the layout.
  explicit DeviceWeights(const Program& program);

  size_t size_bytes() const { return total_bytes_; }

  // Reads, copies and packs all of them: files are read by several threads into pinned memory,
  // while the device packs what came before. Throws what reading throws and Error(kOutOfMemory).
  void load(const Program& program, const Device& device,
            const std::function<void(double)>& on_progress);

  // Of a Linear or an Embed. Of those that one product has (forms.h, find_gated_products) tiles
  // take turns.
  const MatrixLayout& layout(WeightId id) const { return at(id).layout; }
  const std::byte* matrix(WeightId id) const { return memory_.data() + at(id).matrix_place; }
  // [columns]; null for kNoWeight.
  const float* vector(WeightId id) const {
    if (id == kNoWeight) return nullptr;
    return reinterpret_cast<const float*>(memory_.data() + at(id).vector_place);
  }
  // Of a rope: [pairs].
  const float* frequencies(int rope) const {
    return reinterpret_cast<const float*>(memory_.data() +
                                          frequency_places_[static_cast<size_t>(rope)]);
  }
  // All that there are.
  std::vector<MatrixLayout> layouts() const;

 private:
  struct Entry {
    bool is_matrix = false, is_vector = false;
    MatrixLayout layout;
    size_t matrix_place = 0, vector_place = 0;
    int64_t tile_stride = 0;  // bytes from a tile to the next
  };
  const Entry& at(WeightId id) const { return entries_[static_cast<size_t>(id)]; }

  void place_pairs(const Program& program, const std::function<size_t(size_t)>& place);
  void load_vectors(const Program& program, const Device& device) const;
  void load_matrices(const Program& program, const Device& device,
                     const std::function<void(double)>& on_progress) const;

  std::vector<Entry> entries_;  // by WeightId
  std::vector<size_t> frequency_places_;
  size_t total_bytes_ = 0;
  DeviceBuffer memory_;
};

}  // namespace sluice::backend::cuda
