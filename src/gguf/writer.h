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

  // For files that are larger than memory: the tensor has its place, and the caller writes what it
  // holds there.
  void declare_tensor(const std::string& name, quant::Type type, const std::vector<int64_t>& shape);

  // The whole file in memory. (A declared tensor is zeros.)
  std::vector<std::byte> bytes() const;
  // Writes it; on any failure the partial file is removed. Throws Error (kNoSpace, kIo).
  void save(const std::string& path) const;

  // All before the tensors' data.
  std::vector<std::byte> head() const;
  // Where each tensor's data lies in the file, in the order added; what is between is zeros.
  struct Place {
    uint64_t offset = 0;
    uint64_t size_bytes = 0;
  };
  std::vector<Place> places() const;
  // Of the whole file.
  uint64_t size_bytes() const;

 private:
  struct Entry {
    std::string key;
    std::vector<std::byte> encoded;  // value type and value
  };
  struct PendingTensor {
    std::string name;
    quant::Type type;
    std::vector<int64_t> shape;
    uint64_t size_bytes = 0;
    std::vector<std::byte> data;  // empty when only declared
  };
  void add_entry(const std::string& key, std::vector<std::byte> encoded);
  PendingTensor& place_tensor(const std::string& name, quant::Type type,
                              const std::vector<int64_t>& shape);

  std::vector<Entry> entries_;
  std::vector<PendingTensor> tensors_;
  std::set<std::string> keys_;
  std::set<std::string> tensor_names_;
};

}  // namespace sluice::gguf
