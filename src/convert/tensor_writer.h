#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/byte_range.h"
#include "gguf/writer.h"
#include "quant/types.h"
#include "store/files.h"

namespace sluice::convert {

// A tensor of the file to be written and where its values come from.
struct PlannedTensor {
  std::string name;
  quant::Type type = quant::Type::kF32;
  std::vector<int64_t> shape;  // fastest first
  // Fills `values` with the tensor's values from `first` on. Both are multiples of 256 but at the
  // tensor's end. Several threads call it.
  std::function<void(int64_t first, std::span<float> values)> read;
  // When set, the bytes are taken as they are.
  std::optional<ByteRange> bytes;
};

struct WriteProgress {
  uint64_t completed_bytes = 0;  // of the file that is written
  uint64_t total_bytes = 0;
};

struct WriteOptions {
  int num_threads = 0;  // 0: all cores
  // Called by one thread at a time; what it throws ends the writing.
  std::function<void(const WriteProgress&)> on_progress;
};

// Writes a GGUF file: what `head` holds (no tensors), and the tensors, encoded a piece at a time on
// all cores. Takes some 10 MB a thread, whatever the model's size. Throws Error: kInvalidArgument
// naming the tensor that holds a NaN, an infinity or what its type cannot hold; kNoSpace before
// anything is written when the disk has not enough; kIo; what `read` throws.
void write_tensors(gguf::Writer head, const std::vector<PlannedTensor>& tensors,
                   store::TemporaryFile& out, const WriteOptions& options = {});

}  // namespace sluice::convert
