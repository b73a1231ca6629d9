#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"

namespace sluice::gguf {

static_assert(std::endian::native == std::endian::little, "GGUF is read as little-endian");

// Reads little-endian values front to back, never beyond the end. What lies in a file comes into
// memory a chunk at a time, and no more than a real model's head has. `what` names the thing being
// read in messages. Throws Error(kCorruptData) where the bytes end too early.
class Cursor {
 public:
  explicit Cursor(const ByteRange& bytes);

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return end_ - position_; }

  template <typename T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  // A 64-bit length and that many bytes.
  std::string_view read_string(std::string_view what) {
    const auto length = read<uint64_t>(what);
    const std::span<const std::byte> taken = take(length, what);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  // The next bytes; they stay valid as long as what take_chunks() gives.
  std::span<const std::byte> take(uint64_t num_bytes, std::string_view what);

  // The memory that the views of this cursor point into, where it read a file.
  std::vector<std::unique_ptr<std::byte[]>> take_chunks() { return std::move(chunks_); }

 private:
  void fill(size_t num_bytes);

  const ByteRange bytes_;
  const uint64_t end_;
  uint64_t position_ = 0;
  std::span<const std::byte> ahead_;  // in memory, from position_ on
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
};

}  // namespace sluice::gguf
