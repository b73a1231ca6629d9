#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace sluice {

// Owns an open file.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int number) : number_(number) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }

  int get() const { return number_; }

 private:
  int number_ = -1;
};

// A file that is open for reading. Nothing of it is mapped: a file that is cut short or written to
// by others while it is read is an Error, where a mapping would end the process. Movable.
class InputFile {
 public:
  // Throws Error: kNotFound, kInvalidArgument for what is no regular file (a pipe would block for
  // ever), kIo.
  explicit InputFile(std::string path);

  const std::string& path() const { return path_; }
  int descriptor() const { return file_.get(); }
  // When it was opened.
  uint64_t size_bytes() const { return size_bytes_; }
  std::chrono::system_clock::time_point modified() const;

  // Fills `out` with the bytes from `offset` on. Throws Error: kCorruptData when the file ends
  // before, kIo. Threads may share it.
  void read(uint64_t offset, std::span<std::byte> out) const;
  // Fills the front of `out` from `offset` on and returns how much; 0 at the end of the file.
  size_t read_some(uint64_t offset, std::span<std::byte> out) const;

  // Throws Error(kCorruptData) when the file has been written to since it was opened.
  void check_unchanged() const;

 private:
  std::string path_;
  FileDescriptor file_;
  uint64_t size_bytes_ = 0;
  int64_t modified_ns_ = 0;
};

// A whole file that must not be larger than `max_bytes` (else kCorruptData). Throws what InputFile
// does.
std::string read_small_file(const std::string& path, size_t max_bytes);

}  // namespace sluice
