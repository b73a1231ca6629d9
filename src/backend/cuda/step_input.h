#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/step.h"

namespace sluice::backend::cuda {

// What a step brings to the device: token numbers, positions, block tables. The host writes it into
// pinned memory, from where the step's first kernel (load_step) brings it to the same places in the
// device's.
class StepInput {
 public:
  struct Limits {
    int max_tokens = 0, max_outputs = 0;
    size_t max_table_entries = 0;  // block numbers, of all sequences of a step
    int tile_tokens = 0;           // that attention takes together of a prompt; 0: none
  };
  // How many block numbers a step may bring where the cache has so many blocks.
  static size_t table_entries(int max_tokens, int num_blocks);
  static size_t size_bytes(const Limits& limits);

  StepInput() = default;
  // Throws Error(kOutOfMemory).
  StepInput(const Device& device, const Limits& limits);

  // Writes a batch down (within the limits; Error(kOutOfMemory) for more block numbers). The step
  // before must be over.
  void write(const Batch& batch);
  // Most keys that a token of that batch reads.
  int longest() const { return longest_; }
  int num_tiles() const { return num_tiles_; }
  int num_singles() const { return num_singles_; }

  const StepView& view() const { return view_; }  // on the device
  void add_load(LaunchList& list) const;

 private:
  struct Places {
    size_t tokens, positions, slots, sequence_of, sequences, tiles, singles, output_rows, tables,
        end;
  };
  static Places places(const Limits& limits);
  template <typename T>
  T* host(size_t place) const {
    return reinterpret_cast<T*>(pinned_.data() + place);
  }
  void add_piece(size_t place, size_t bytes);
  void add_attention_rows(const BatchSequence& sequence, int32_t index);

  Limits limits_;
  Places places_{};
  PinnedBuffer pinned_;
  DeviceBuffer mirror_;
  StepView view_;
  int longest_ = 0, num_tiles_ = 0, num_singles_ = 0;
};

}  // namespace sluice::backend::cuda
