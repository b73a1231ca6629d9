// Any bytes: either refused with an Error, or a file whose every part can be used.
#include <algorithm>
#include <vector>

#include "base/error.h"
#include "gguf/file.h"
#include "gguf/writer.h"
#include "quant/codec.h"

namespace {

using sluice::gguf::Array;
using sluice::gguf::File;
using sluice::gguf::Tensor;
using sluice::gguf::ValueType;
using sluice::gguf::Writer;

// Calls a look-up, which may refuse the value's type or range.
template <typename LookUp>
void attempt(const LookUp& look_up) {
  try {
    look_up();
  } catch (const sluice::Error&) {
  }
}

void read_metadata(const File& file) {
  for (const auto& entry : file.metadata()) {
    const std::string_view key = entry.first;
    attempt([&] { file.get_uint(key); });
    attempt([&] { file.get_int(key); });
    attempt([&] { file.get_float(key); });
    attempt([&] { file.get_bool(key); });
    attempt([&] { file.get_string(key); });
    attempt([&] { file.get_strings(key); });
    attempt([&] { file.get_ints(key); });
    attempt([&] { file.get_floats(key); });
  }
}

// The first and the last block of each tensor.
void read_tensors(const File& file) {
  for (const Tensor& tensor : file.tensors()) {
    const sluice::quant::TypeInfo& info = sluice::quant::type_info(tensor.type);
    std::vector<float> values(static_cast<size_t>(info.block_elements));
    std::vector<std::byte> block(static_cast<size_t>(info.block_bytes));
    for (const uint64_t offset : {uint64_t{0}, tensor.data.size() - block.size()}) {
      tensor.data.read(offset, block);
      sluice::quant::dequantize(tensor.type, block.data(), values.data(), info.block_elements);
    }
  }
}

// What was read can be written, and what is written can be read.
void copy(const File& file) {
  Writer writer;
  for (const auto& [key, value] : file.metadata()) writer.copy(std::string(key), value);
  for (const Tensor& tensor : file.tensors()) {
    writer.add_tensor(std::string(tensor.name), tensor.type, tensor.shape, tensor.data.read());
  }
  const std::vector<std::byte> bytes = writer.bytes();
  const File copied = File::parse(bytes);
  if (copied.tensors().size() != file.tensors().size()) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const File file = File::parse(std::as_bytes(std::span(data, size)));
    read_metadata(file);
    read_tensors(file);
    copy(file);
  } catch (const sluice::Error&) {
  }
  return 0;
}
