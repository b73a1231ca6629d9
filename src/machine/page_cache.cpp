#include "machine/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace sluice::machine {
namespace {

constexpr size_t kStretchPages = 64;
constexpr size_t kMostStretches = 256;

struct PageCounts {
  size_t num_seen = 0, num_cached = 0;
};

// Pages [first, first + count) of what is mapped at `begin`.
void count_pages(std::byte* begin, size_t page_bytes, size_t first, size_t count,
                 PageCounts& counts) {
  std::array<unsigned char, kStretchPages> is_cached{};
  if (::mincore(begin + first * page_bytes, count * page_bytes, is_cached.data()) != 0) return;
  counts.num_seen += count;
  for (size_t i = 0; i < count; ++i) counts.num_cached += is_cached[i] & 1;
}

PageCounts count_stretches(std::byte* begin, size_t size) {
  const auto page_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t num_pages = (size + page_bytes - 1) / page_bytes;
  const size_t num_stretches = (num_pages + kStretchPages - 1) / kStretchPages;
  const size_t num_looks = std::min(num_stretches, kMostStretches);
  PageCounts counts;
  for (size_t i = 0; i < num_looks; ++i) {
    const size_t first = i * num_stretches / num_looks * kStretchPages;
    count_pages(begin, page_bytes, first, std::min(kStretchPages, num_pages - first), counts);
  }
  return counts;
}

}  // namespace

std::optional<double> page_cache_share(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return std::nullopt;
  struct stat facts {};
  const bool is_file = ::fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0;
  const bool is_ours = facts.st_uid == ::geteuid() || ::access(path.c_str(), W_OK) == 0;
  void* const mapping = is_file && is_ours ? ::mmap(nullptr, static_cast<size_t>(facts.st_size),
                                                    PROT_READ, MAP_SHARED, file, 0)
                                           : MAP_FAILED;
  ::close(file);
  if (mapping == MAP_FAILED) return std::nullopt;
  const auto size = static_cast<size_t>(facts.st_size);
  const PageCounts counts = count_stretches(static_cast<std::byte*>(mapping), size);
  ::munmap(mapping, size);
  if (counts.num_seen == 0) return std::nullopt;
  return static_cast<double>(counts.num_cached) / static_cast<double>(counts.num_seen);
}

}  // namespace sluice::machine
