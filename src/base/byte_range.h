#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/input_file.h"

namespace sluice {

// Bytes that lie in memory or in a file and are read a piece at a time. Refers to what holds them,
// which must live as long. Threads may share it.
class ByteRange {
 public:
  ByteRange() = default;
  ByteRange(std::span<const std::byte> memory)  // NOLINT: memory is a range of bytes
      : memory_(memory), size_(memory.size()) {}
  ByteRange(const std::vector<std::byte>& memory)  // NOLINT: likewise
      : ByteRange(std::span<const std::byte>(memory)) {}
  explicit ByteRange(const InputFile& file) : file_(&file), size_(file.size_bytes()) {}

  uint64_t size() const { return size_; }

  // The part of `size` bytes from `offset` on, which must lie within.
  ByteRange part(uint64_t offset, uint64_t size) const;

  // Fills `out` with the bytes from `offset` on, which must lie within. Throws what
  // InputFile::read() does.
  void read(uint64_t offset, std::span<std::byte> out) const;
  // All of it.
  std::vector<std::byte> read() const;

  // The bytes themselves if they lie in memory; empty if they lie in a file.
  std::span<const std::byte> memory() const { return memory_; }

 private:
  std::span<const std::byte> memory_;
  const InputFile* file_ = nullptr;
  uint64_t offset_ = 0;  // in the file
  uint64_t size_ = 0;
};

}  // namespace sluice
