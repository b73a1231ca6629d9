#include "base/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"

namespace sluice {
namespace {

int64_t nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

struct stat status_of(const FileDescriptor& file, const std::string& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw io_error("cannot read", path, errno);
  return status;
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (number_ >= 0) ::close(number_);
}

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  int number = -1;
  do {
    // O_NONBLOCK: opening a pipe would wait for a writer.
    number = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (number < 0 && errno == EINTR);
  if (number < 0) throw io_error("cannot open", path_, errno);
  file_ = FileDescriptor(number);
  const struct stat status = status_of(file_, path_);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument,
                path_ + (S_ISDIR(status.st_mode) ? " is a directory, not a file"
                                                 : " is not a regular file"));
  }
  size_bytes_ = static_cast<uint64_t>(status.st_size);
  modified_ns_ = nanoseconds(status.st_mtim);
}

std::chrono::system_clock::time_point InputFile::modified() const {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::nanoseconds(modified_ns_)));
}

size_t InputFile::read_some(uint64_t offset, std::span<std::byte> out) const {
  while (true) {
    const ssize_t count = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) throw io_error("cannot read", path_, errno);
  }
}

void InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const size_t count = read_some(offset, out);
    if (count == 0) {
      throw Error(ErrorCode::kCorruptData,
                  path_ + " ends at byte " + std::to_string(offset) +
                      " now: it was cut short while it was read; fetch it again");
    }
    offset += count;
    out = out.subspan(count);
  }
}

void InputFile::check_unchanged() const {
  const struct stat status = status_of(file_, path_);
  if (static_cast<uint64_t>(status.st_size) != size_bytes_ ||
      nanoseconds(status.st_mtim) != modified_ns_) {
    throw Error(ErrorCode::kCorruptData,
                path_ + " was written to while it was read; try again when it is complete");
  }
}

std::string read_small_file(const std::string& path, size_t max_bytes) {
  const InputFile file(path);
  std::string text;
  std::byte buffer[16384];
  while (const size_t count = file.read_some(text.size(), buffer)) {
    text.append(reinterpret_cast<const char*>(buffer), count);
    if (text.size() > max_bytes) {
      throw Error(ErrorCode::kCorruptData, "'" + path + "' is larger than the " +
                                               std::to_string(max_bytes) + " bytes allowed here");
    }
  }
  return text;
}

}  // namespace sluice
