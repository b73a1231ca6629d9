#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace sluice {

// A whole file mapped read-only. Movable; the mapping ends with the object.
class MappedFile {
 public:
  MappedFile() = default;
  // Throws Error for a missing file, a directory, an empty file, or when mapping fails.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace sluice
