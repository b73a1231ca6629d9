#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/input_file.h"

namespace sluice::store {

inline constexpr size_t kCopyBufferBytes = size_t{4} << 20;

bool is_regular_file(const std::string& path);

// Since the file, or the link itself, was last written to; nothing when there is none.
std::optional<std::chrono::nanoseconds> age_of(const std::string& path);

// Makes the folder and those above it; throws Error.
void make_directories(const std::string& path);

// Makes a rename or removal in this folder durable.
void sync_directory(const std::string& path);

// The disk begins to write what these bytes of a file are now: a later sync finds most of it done.
void begin_sync(int descriptor, uint64_t offset, uint64_t size_bytes);

// Writes all of `bytes` at `offset`; `folder` is for the message. Throws Error: kNoSpace when the
// disk, the quota or the file size limit is reached; kIo.
void write_at(int descriptor, uint64_t offset, std::span<const std::byte> bytes,
              const std::string& folder);

// A new file in `directory` that disappears unless it is renamed to its place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& directory);
  ~TemporaryFile();
  TemporaryFile(TemporaryFile&& other) noexcept
      : path_(std::exchange(other.path_, {})),
        file_(std::move(other.file_)),
        size_bytes_(other.size_bytes_),
        started_bytes_(other.started_bytes_) {}
  TemporaryFile& operator=(TemporaryFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(file_, other.file_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(started_bytes_, other.started_bytes_);
    return *this;
  }

  const std::string& path() const { return path_; }

  // Behind what was written before. Throws what write_at() does.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  // Takes that much of the disk; what has not been written is zeros. Throws what write_at() does.
  void reserve(uint64_t size_bytes);
  // Anywhere within what is reserved; threads may share it. Throws what write_at() does.
  void write_within(uint64_t offset, std::span<const std::byte> bytes) const;

  // Becomes a clone of `source` that shares its blocks until one is written (Btrfs, XFS). False
  // where the file system cannot.
  bool clone_from(const InputFile& source);
  // Becomes another name of the file at `path`. False where that is not possible.
  bool link_from(const std::string& path);

  // To disk: what has been written is safe when this returns.
  void sync();
  // To its place, replacing what was there. Syncs first.
  void commit(const std::string& destination);

  static constexpr std::string_view kPrefix = "sluice-tmp-";

 private:
  std::string path_;
  FileDescriptor file_;
  uint64_t size_bytes_ = 0;
  uint64_t started_bytes_ = 0;  // on their way to the disk
};

// Holds an exclusive lock between processes and threads while it lives; waits for it.
class FileLock {
 public:
  explicit FileLock(const std::string& path);

 private:
  FileDescriptor file_;
};

// Bytes that this user may still write on the file system of `path`.
uint64_t free_bytes(const std::string& path);
// Throws Error(kNoSpace) with both figures when the folder's file system has less than that.
void require_space(const std::string& folder, uint64_t needed_bytes);

}  // namespace sluice::store
