#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/input_file.h"

namespace sluice {

// A file that lies in memory alone, for code that reads files by their path. What was never written
// is zeros and takes no memory.
class MemoryFile {
 public:
  // Throws Error(kIo).
  explicit MemoryFile(uint64_t size_bytes);

  // Throws Error(kOutOfMemory) when the memory ends.
  void write(uint64_t offset, std::span<const std::byte> data);
  // Of this process, while this lives.
  std::string path() const;

 private:
  FileDescriptor file_;
};

}  // namespace sluice
