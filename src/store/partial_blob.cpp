#include "store/partial_blob.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <limits>
#include <vector>

#include "base/error.h"
#include "store/files.h"

namespace sluice::store {
namespace {

namespace fs = std::filesystem;

// The notes: this head, then the completed bytes of each chunk, each number in eight bytes.
constexpr uint64_t kNotesMagic = 0x31657472617073;  // "sparte1": another format gets another one
constexpr size_t kHeadNumbers = 3;                  // magic, size, chunk size

constexpr uint64_t kMinChunkBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxChunkBytes = uint64_t{32} << 20;
// So that a small blob, too, comes over several connections, and little is left to hash at the end.
constexpr uint64_t kWantedChunks = 64;
constexpr uint64_t kMostChunks = 65'536;
constexpr size_t kHashBytes = size_t{1} << 20;

uint64_t chunk_size_for(uint64_t size_bytes) {
  const uint64_t wanted = std::clamp(size_bytes / kWantedChunks, kMinChunkBytes, kMaxChunkBytes);
  return std::max(wanted, size_bytes / kMostChunks + 1);
}

std::string notes_path(const std::string& path) {
  return path + std::string(PartialBlob::kNotesSuffix);
}

FileDescriptor open_file(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (file.get() < 0) throw io_error("cannot write", path, errno);
  return file;
}

bool is_still_at(int descriptor, const std::string& path) {
  struct stat held {
  }, there{};
  return ::fstat(descriptor, &held) == 0 && ::stat(path.c_str(), &there) == 0 &&
         held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

// The numbers of a file of notes, or nothing when it holds something else. Notes of another size
// than they should have are none.
std::vector<uint64_t> read_numbers(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return {};
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size % 8 != 0 || size / 8 < kHeadNumbers || size / 8 > kHeadNumbers + kMostChunks) return {};
  std::vector<uint64_t> numbers(size / 8);
  if (::pread(descriptor, numbers.data(), size, 0) != status.st_size) return {};
  return numbers;
}

// The completed bytes of each chunk, when the notes are of a file of this size and make sense.
std::vector<uint64_t> completed_of(const std::vector<uint64_t>& numbers, uint64_t size_bytes) {
  if (numbers.empty() || numbers[0] != kNotesMagic || numbers[1] != size_bytes) return {};
  const uint64_t chunk_bytes = numbers[2];
  if (chunk_bytes == 0) return {};
  const uint64_t num_chunks = size_bytes / chunk_bytes + (size_bytes % chunk_bytes != 0);
  if (numbers.size() != kHeadNumbers + num_chunks) return {};
  std::vector<uint64_t> completed(numbers.begin() + kHeadNumbers, numbers.end());
  for (size_t i = 0; i < completed.size(); ++i) {
    if (completed[i] > std::min(chunk_bytes, size_bytes - i * chunk_bytes)) return {};
  }
  return completed;
}

}  // namespace

std::string PartialBlob::path_of(const std::string& folder, const Digest& key) {
  return folder + "/" + std::string(kPrefix) + key.hex();
}

std::unique_ptr<PartialBlob> PartialBlob::try_open(const std::string& folder, const Digest& key,
                                                   uint64_t size_bytes) {
  const std::string path = path_of(folder, key);
  while (true) {
    FileDescriptor data = open_file(path);
    if (::flock(data.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return nullptr;
      if (errno == EINTR) continue;
      throw io_error("cannot lock", path, errno);
    }
    // Whoever held it may have moved it to its place since it was opened.
    if (!is_still_at(data.get(), path)) continue;
    std::unique_ptr<PartialBlob> blob(new PartialBlob(path, std::move(data), size_bytes));
    if (!blob->resume()) blob->begin();
    return blob;
  }
}

uint64_t PartialBlob::look_up_completed(const std::string& folder, const Digest& key,
                                        uint64_t size_bytes) {
  const std::string path = notes_path(path_of(folder, key));
  const FileDescriptor notes(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (notes.get() < 0) return 0;
  uint64_t total = 0;
  for (const uint64_t count : completed_of(read_numbers(notes.get()), size_bytes)) total += count;
  return total;
}

PartialBlob::PartialBlob(std::string path, FileDescriptor data, uint64_t size_bytes)
    : path_(std::move(path)),
      data_(std::move(data)),
      notes_(open_file(notes_path(path_))),
      size_bytes_(size_bytes) {}

bool PartialBlob::resume() {
  struct stat status {};
  if (::fstat(data_.get(), &status) != 0) throw io_error("cannot read", path_, errno);
  if (static_cast<uint64_t>(status.st_size) != size_bytes_) return false;
  const std::vector<uint64_t> numbers = read_numbers(notes_.get());
  const std::vector<uint64_t> completed = completed_of(numbers, size_bytes_);
  if (completed.empty()) return false;
  chunk_bytes_ = numbers[2];
  num_chunks_ = completed.size();
  completed_ = std::make_unique<std::atomic<uint64_t>[]>(num_chunks_);
  for (size_t i = 0; i < num_chunks_; ++i) {
    completed_[i] = completed[i];
    completed_bytes_ += completed[i];
  }
  return true;
}

void PartialBlob::begin() {
  if (size_bytes_ > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) {
    throw Error(ErrorCode::kNoSpace, "no file can have " + std::to_string(size_bytes_) + " bytes");
  }
  chunk_bytes_ = chunk_size_for(size_bytes_);
  num_chunks_ = size_bytes_ / chunk_bytes_ + (size_bytes_ % chunk_bytes_ != 0);
  completed_ = std::make_unique<std::atomic<uint64_t>[]>(num_chunks_);
  // The notes first: cut short they claim nothing, whatever the data may hold.
  const std::string folder = fs::path(path_).parent_path().string();
  if (::ftruncate(notes_.get(), 0) != 0 || ::ftruncate(data_.get(), 0) != 0 ||
      ::ftruncate(data_.get(), static_cast<off_t>(size_bytes_)) != 0) {
    if (errno == EFBIG) {
      throw Error(ErrorCode::kNoSpace, "the file system of '" + folder + "' holds no file of " +
                                           std::to_string(size_bytes_) + " bytes");
    }
    throw io_error("cannot write", path_, errno);
  }
  std::vector<uint64_t> numbers(kHeadNumbers + num_chunks_, 0);
  numbers[0] = kNotesMagic;
  numbers[1] = size_bytes_;
  numbers[2] = chunk_bytes_;
  write_at(notes_.get(), 0, std::as_bytes(std::span(numbers)), folder);
}

PartialBlob::Chunk PartialBlob::chunk(size_t index) const {
  const uint64_t offset = index * chunk_bytes_;
  return {offset, std::min(chunk_bytes_, size_bytes_ - offset),
          completed_[index].load(std::memory_order_acquire)};
}

void PartialBlob::write(uint64_t offset, std::span<const std::byte> bytes) {
  if (offset > size_bytes_ || bytes.size() > size_bytes_ - offset) {
    throw Error(ErrorCode::kInternal, "bytes beyond the end of " + path_);
  }
  const std::string folder = fs::path(path_).parent_path().string();
  while (!bytes.empty()) {
    const size_t index = offset / chunk_bytes_;
    const Chunk chunk = this->chunk(index);
    const uint64_t from = offset - chunk.offset;
    const uint64_t count = std::min<uint64_t>(bytes.size(), chunk.size_bytes - from);
    if (from > chunk.completed_bytes) throw Error(ErrorCode::kInternal, "a hole in " + path_);
    if (from + count > chunk.completed_bytes) {
      const uint64_t known = chunk.completed_bytes - from;
      write_at(data_.get(), offset + known, bytes.subspan(known, count - known), folder);
      const uint64_t completed = from + count;
      write_at(notes_.get(), (kHeadNumbers + index) * sizeof completed,
               std::as_bytes(std::span(&completed, 1)), folder);
      completed_[index].store(completed, std::memory_order_release);
      completed_bytes_ += count - known;
    }
    offset += count;
    bytes = bytes.subspan(count);
  }
}

uint64_t PartialBlob::hash_available(uint64_t max_bytes) {
  thread_local std::vector<std::byte> buffer(kHashBytes);
  const uint64_t start = hashed_bytes_;
  while (hashed_bytes_ < size_bytes_ && hashed_bytes_ - start < max_bytes) {
    const Chunk chunk = this->chunk(hashed_bytes_ / chunk_bytes_);
    const uint64_t end = chunk.offset + chunk.completed_bytes;
    if (end <= hashed_bytes_) break;
    const size_t wanted = std::min<uint64_t>(end - hashed_bytes_, buffer.size());
    const ssize_t count =
        ::pread(data_.get(), buffer.data(), wanted, static_cast<off_t>(hashed_bytes_));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw io_error("cannot read", path_, errno);
    if (count == 0) throw Error(ErrorCode::kCorruptData, "'" + path_ + "' was cut short");
    hash_.update(std::span<const std::byte>(buffer).first(static_cast<size_t>(count)));
    begin_sync(data_.get(), hashed_bytes_, static_cast<uint64_t>(count));
    hashed_bytes_ += static_cast<uint64_t>(count);
  }
  return hashed_bytes_ - start;
}

void PartialBlob::sync() {
  if (::fsync(data_.get()) != 0) throw io_error("cannot write", path_, errno);
}

void PartialBlob::commit(const std::string& destination) {
  // Its age is told by its date: to other programs it shall be as new as it is to them.
  ::futimens(data_.get(), nullptr);
  if (::rename(path_.c_str(), destination.c_str()) != 0) {
    throw io_error("cannot write", destination, errno);
  }
  ::unlink(notes_path(path_).c_str());
  sync_directory(fs::path(destination).parent_path().string());
}

void PartialBlob::discard() {
  // The notes last: as long as they are there, somebody will come across them.
  ::unlink(path_.c_str());
  ::unlink(notes_path(path_).c_str());
}

int PartialBlob::remove_stale(const std::string& folder, int64_t age_seconds) {
  int num_removed = 0;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string path = entry->path().string();
    if (!entry->path().filename().string().starts_with(kPrefix)) continue;
    if (path.ends_with(kNotesSuffix)) path.resize(path.size() - kNotesSuffix.size());
    const auto age = age_of(entry->path().string());
    if (!age || *age < std::chrono::seconds(age_seconds)) continue;
    // Not one that is being written; without the file itself nobody is.
    const FileDescriptor data(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (data.get() >= 0 && ::flock(data.get(), LOCK_EX | LOCK_NB) != 0) continue;
    if (::unlink(path.c_str()) == 0) ++num_removed;
    ::unlink(notes_path(path).c_str());
  }
  return num_removed;
}

}  // namespace sluice::store
