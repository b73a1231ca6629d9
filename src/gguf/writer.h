#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "gguf/file.h"

namespace sluice::gguf {

// Builds a GGUF version 3 file: metadata first, tensors in the order added, each aligned to 32.
// Throws Error(kInvalidArgument) for a key or tensor name that is empty or given twice, and for
// general.alignment, which is the writer's own.
class Writer {
 public:
  void set_uint32(const std::string& key, uint32_t value);
  void set_uint64(const std::string& key, uint64_t value);
  void set_int32(const std::string& key, int32_t value);
  void set_float32(const std::string& key, float value);
  void set_bool(const std::string& key, bool value);
  void set_string(const std::string& key, const std::string& value);
  void set_strings(const std::string& key, const std::vector<std::string>& values);
  void set_int32s(const std::string& key, const std::vector<int32_t>& values);
  void set_float32s(const std::string& key, const std::vector<float>& values);
  // Copies one entry of another file, save for general.alignment. Arrays keep their element type;
  // single numbers take 32 bits where that loses nothing, else 64.
  void copy(const std::string& key, const Value& value);

  // `data` must have the size that type and shape (1 to 4 positive dimensions, whole blocks a row)
  // give; it is copied. Throws Error(kInvalidArgument) otherwise.
  void add_tensor(const std::string& name, quant::Type type, const std::vector<int64_t>& shape,
                  std::span<const std::byte> data);

  // The whole file in memory.
  std::vector<std::byte> bytes() const;
  // Writes it; on any failure the partial file is removed. Throws Error (kNoSpace, kIo).
  void save(const std::string& path) const;

 private:
  struct Entry {
    std::string key;
    std::vector<std::byte> encoded;  // value type and value
  };
  struct PendingTensor {
    std::string name;
    quant::Type type;
    std::vector<int64_t> shape;
    std::vector<std::byte> data;
  };
  void add_entry(const std::string& key, std::vector<std::byte> encoded);
  std::vector<std::byte> encode_head() const;  // all before the tensor data, padded

  std::vector<Entry> entries_;
  std::vector<PendingTensor> tensors_;
  std::set<std::string> keys_;
  std::set<std::string> tensor_names_;
};

}  // namespace sluice::gguf
