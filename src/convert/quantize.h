#pragma once

#include "convert/mix.h"
#include "convert/tensor_writer.h"
#include "gguf/file.h"
#include "store/files.h"

namespace sluice::convert {

struct QuantizeOptions {
  WriteOptions write;
  // Quantizing what is quantized already loses more than quantizing the original once.
  bool allow_requantize = false;
};

// Writes the model of `source` with its tensors in the types of `mix`; all metadata is kept but
// general.file_type and general.quantization_version. Throws what write_tensors does, and
// Error(kInvalidArgument) for a source that is quantized itself.
void quantize(const gguf::File& source, const Mix& mix, store::TemporaryFile& out,
              const QuantizeOptions& options = {});

}  // namespace sluice::convert
