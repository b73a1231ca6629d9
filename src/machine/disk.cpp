#include "machine/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>

#include "base/input_file.h"

namespace sluice::machine {

std::optional<double> measure_disk_speed(const std::string& path) {
  constexpr size_t kPiece = 8u << 20;
  constexpr uint64_t kMost = 32;  // pieces
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) return std::nullopt;
  const auto size_bytes = static_cast<uint64_t>(std::max<off_t>(status.st_size, 0));
  if (size_bytes < 2 * kPiece) return std::nullopt;
  const std::unique_ptr<void, decltype(&std::free)> piece(std::aligned_alloc(4096, kPiece),
                                                          std::free);
  if (!piece) return std::nullopt;
  const uint64_t count = std::min<uint64_t>(kMost, size_bytes / kPiece);
  const auto start = std::chrono::steady_clock::now();
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = size_bytes / kPiece * i / count * kPiece;
    if (::pread(file.get(), piece.get(), kPiece, static_cast<off_t>(at)) !=
        static_cast<ssize_t>(kPiece)) {
      return std::nullopt;
    }
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return static_cast<double>(count * kPiece) / taken.count();
}

}  // namespace sluice::machine
