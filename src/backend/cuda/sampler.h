#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/sampling.h"
#include "backend/cuda/step.h"

namespace sluice::backend::cuda {

// What is to be drawn from rows of logits, on its way to the sampling kernel, and what it says on
// its way back.
class Sampler {
 public:
  Sampler() = default;
  // Throws Error(kOutOfMemory).
  Sampler(const Device& device, int max_rows, int vocab_size);
  // Device memory that it takes.
  static size_t size_bytes(int max_rows, int vocab_size);

  // Writes everything down but for masks; the step before must be over.
  void write(std::span<const RowSampling> samplings);
  // Whether there is something for the kernel to do.
  bool has_work() const { return has_work_; }
  // Whether some row has a mask: they are filled while the device computes the logits.
  bool has_masks() const { return has_masks_; }
  void write_masks(std::span<const RowSampling> samplings);

  // logits: [rows, stride] on the device.
  void add_launches(LaunchList& list, float* logits, int64_t stride, int num_rows) const;

  // What the kernel has said of row `index`, once it is done. False: the row is the host's to
  // sample (its logits are as they were). A row for which the host has no memory is kNoMemory.
  bool take(size_t index, const RowSampling& sampling, SampledToken& token) const;

 private:
  struct Places {
    size_t tasks, counts, masks, end;
  };
  static Places places(int max_rows, int vocab_size);
  template <typename T>
  T* host(size_t place) const {
    return reinterpret_cast<T*>(pinned_.data() + place);
  }
  void add_piece(size_t place, size_t bytes);
  bool count_tokens(const RowSampling& sampling, SampleTask& task);

  int vocab_size_ = 0, mask_words_ = 0;
  size_t max_counts_ = 0, num_counts_ = 0;
  bool has_work_ = false, has_masks_ = false;
  Places places_{};
  PinnedBuffer pinned_, results_;
  DeviceBuffer mirror_;
  std::vector<bool> is_hosts_;         // of rows: known beforehand
  std::vector<int32_t> token_counts_;  // [vocab_size], all zero between calls
};

}  // namespace sluice::backend::cuda
