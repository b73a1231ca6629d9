#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "gguf/file.h"

namespace sluice::gguf {

// Builds a GGUF version 3 file: metadata first, tensors in the order added, each aligned to 32.
// Throws Error(kInvalidArgument) for a key or tensor name given twice.
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
  // Copies one entry of another file as it is.
  void copy(const std::string& key, const Value& value);

  // `data` must have the size that type and shape give; it is copied.
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
  std::vector<Entry> entries_;
  std::vector<PendingTensor> tensors_;
};

}  // namespace sluice::gguf
