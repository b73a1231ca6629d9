#include "base/memory_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace sluice {

MemoryFile::MemoryFile(uint64_t size_bytes) : file_(::memfd_create("sluice", MFD_CLOEXEC)) {
  if (file_.get() < 0 || ::ftruncate(file_.get(), static_cast<off_t>(size_bytes)) != 0) {
    throw io_error("cannot make", "a file in memory", errno);
  }
}

void MemoryFile::write(uint64_t offset, std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t written =
        ::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      throw Error(ErrorCode::kOutOfMemory,
                  "no memory for a file in memory: " + std::string(std::strerror(errno)));
    }
    offset += static_cast<uint64_t>(written);
    data = data.subspan(static_cast<size_t>(written));
  }
}

std::string MemoryFile::path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }

}  // namespace sluice
