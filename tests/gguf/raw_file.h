#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "gguf/file.h"

namespace sluice::gguf {

// Spells a GGUF file out field by field, right or wrong, for tests of the reader.
class RawFile {
 public:
  template <typename T>
  RawFile& put(T value) {
    const size_t start = bytes_.size();
    bytes_.resize(start + sizeof(value));
    std::memcpy(bytes_.data() + start, &value, sizeof(value));
    return *this;
  }
  RawFile& u8(uint8_t value) { return put(value); }
  RawFile& u32(uint32_t value) { return put(value); }
  RawFile& u64(uint64_t value) { return put(value); }
  RawFile& type(ValueType value) { return put(value); }
  RawFile& text(std::string_view value) {
    u64(value.size());
    for (const char character : value) put(character);
    return *this;
  }

  RawFile& header(uint64_t num_tensors, uint64_t num_entries, uint32_t version = 3) {
    for (const char character : std::string_view("GGUF")) put(character);
    return u32(version).u64(num_tensors).u64(num_entries);
  }
  RawFile& uint32_entry(std::string_view key, uint32_t value) {
    return text(key).type(ValueType::kUint32).u32(value);
  }
  RawFile& tensor(std::string_view name, const std::vector<uint64_t>& shape, uint32_t raw_type,
                  uint64_t offset) {
    text(name).u32(static_cast<uint32_t>(shape.size()));
    for (const uint64_t size : shape) u64(size);
    return u32(raw_type).u64(offset);
  }
  // Pads to `alignment`, then appends `num_bytes` of data.
  RawFile& data(size_t num_bytes, size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) u8(0);
    bytes_.resize(bytes_.size() + num_bytes);
    return *this;
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace sluice::gguf
