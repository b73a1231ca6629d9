#include "store/files.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <limits>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/units.h"

namespace sluice::store {
namespace {

template <typename Call>
auto retry_interrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

std::string parent_directory(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

}  // namespace

bool is_regular_file(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

std::optional<std::chrono::nanoseconds> age_of(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return std::nullopt;
  // Not time(): it ticks late, and may lie before what a file was stamped with.
  struct timespec now {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::chrono::seconds(now.tv_sec - status.st_mtim.tv_sec) +
         std::chrono::nanoseconds(now.tv_nsec - status.st_mtim.tv_nsec);
}

void make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw io_error("cannot create the folder", path, error.value());
}

void sync_directory(const std::string& path) {
  const FileDescriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) throw io_error("cannot open", path, errno);
  // Some network file systems cannot sync a folder and say EINVAL; then rename is all there is.
  if (::fsync(directory.get()) != 0 && errno != EINVAL) throw io_error("cannot sync", path, errno);
}

void begin_sync(int descriptor, uint64_t offset, uint64_t size_bytes) {
  ::sync_file_range(descriptor, static_cast<off_t>(offset), static_cast<off_t>(size_bytes),
                    SYNC_FILE_RANGE_WRITE);
}

void write_at(int descriptor, uint64_t offset, std::span<const std::byte> bytes,
              const std::string& folder) {
  while (!bytes.empty()) {
    const ssize_t count = retry_interrupted([&] {
      return ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    });
    if (count < 0) {
      // The limit on the size of one file (EFBIG) is to the user a kind of full disk.
      if (errno == EFBIG) {
        throw Error(ErrorCode::kNoSpace, "cannot write in " + folder + ": " +
                                             system_error_text(EFBIG) +
                                             "; raise the limit (ulimit -f) or use another folder");
      }
      throw io_error("cannot write in", folder, errno);
    }
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
}

TemporaryFile::TemporaryFile(const std::string& directory)
    : path_(directory + "/" + std::string(kPrefix) + "XXXXXX") {
  file_ = FileDescriptor(::mkostemp(path_.data(), O_CLOEXEC));
  if (file_.get() < 0) {
    path_.clear();
    throw io_error("cannot write in", directory, errno);
  }
}

TemporaryFile::~TemporaryFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

void TemporaryFile::write(std::span<const std::byte> bytes) {
  write_at(file_.get(), size_bytes_, bytes, parent_directory(path_));
  size_bytes_ += bytes.size();
  constexpr uint64_t kStartBytes = uint64_t{8} << 20;
  if (size_bytes_ - started_bytes_ < kStartBytes) return;
  begin_sync(file_.get(), started_bytes_, size_bytes_ - started_bytes_);
  started_bytes_ = size_bytes_;
}

void TemporaryFile::reserve(uint64_t size_bytes) {
  const std::string folder = parent_directory(path_);
  require_space(folder, size_bytes);
  const auto length = static_cast<off_t>(size_bytes);
  int error = ::posix_fallocate(file_.get(), 0, length);
  if (error == EOPNOTSUPP || error == EINVAL) {
    error = ::ftruncate(file_.get(), length) == 0 ? 0 : errno;
  }
  if (error != 0) throw io_error("cannot write in", folder, error);
  size_bytes_ = size_bytes;
}

void TemporaryFile::write_within(uint64_t offset, std::span<const std::byte> bytes) const {
  write_at(file_.get(), offset, bytes, parent_directory(path_));
  begin_sync(file_.get(), offset, bytes.size());
}

bool TemporaryFile::clone_from(const InputFile& source) {
  return ::ioctl(file_.get(), FICLONE, source.descriptor()) == 0;
}

bool TemporaryFile::link_from(const std::string& path) {
  // A link needs a name that is free: take a second one beside ours, then move it over ours.
  const std::string link_path = path_ + "-link";
  if (::linkat(AT_FDCWD, path.c_str(), AT_FDCWD, link_path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return false;
  }
  if (::rename(link_path.c_str(), path_.c_str()) != 0) {
    ::unlink(link_path.c_str());
    return false;
  }
  file_ = FileDescriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (file_.get() < 0) throw io_error("cannot open", path_, errno);
  return true;
}

void TemporaryFile::sync() {
  // A linked file keeps the mode that its owner gave it.
  struct stat status {};
  if (::fstat(file_.get(), &status) == 0 && status.st_nlink == 1) ::fchmod(file_.get(), 0644);
  if (::fsync(file_.get()) != 0) throw io_error("cannot write", path_, errno);
}

void TemporaryFile::commit(const std::string& destination) {
  sync();
  if (::rename(path_.c_str(), destination.c_str()) != 0) {
    throw io_error("cannot write", destination, errno);
  }
  ::unlink(path_.c_str());  // still there when both were names of one file already
  path_.clear();
  sync_directory(parent_directory(destination));
}

FileLock::FileLock(const std::string& path) {
  file_ = FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (file_.get() < 0) throw io_error("cannot lock", path, errno);
  constexpr std::chrono::milliseconds kStep{50}, kLongest{30'000};
  for (auto waited = kStep; ::flock(file_.get(), LOCK_EX | LOCK_NB) != 0; waited += kStep) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) throw io_error("cannot lock", path, errno);
    if (waited > kLongest) {
      throw Error(ErrorCode::kBusy, "another program is changing the models (it holds " + path +
                                        "); try again when it is done");
    }
    std::this_thread::sleep_for(kStep);
  }
}

uint64_t free_bytes(const std::string& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) return std::numeric_limits<uint64_t>::max();
  return uint64_t{status.f_bavail} * status.f_frsize;
}

void require_space(const std::string& folder, uint64_t needed_bytes) {
  const uint64_t free = free_bytes(folder);
  if (needed_bytes <= free) return;
  throw Error(ErrorCode::kNoSpace, "not enough space in '" + folder +
                                       "': " + format_bytes(needed_bytes) + " needed, " +
                                       format_bytes(free) + " free");
}

}  // namespace sluice::store
