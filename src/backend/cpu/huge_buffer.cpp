#include "backend/cpu/huge_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <utility>

#include "base/error.h"
#include "base/memory.h"
#include "base/units.h"

namespace sluice::backend::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSmallPage = 4096;

[[noreturn]] void throw_out_of_memory(size_t needed, const std::string& purpose) {
  throw Error(ErrorCode::kOutOfMemory,
              purpose + " needs " + format_bytes(needed) + " of memory, " +
                  format_bytes(available_memory_bytes()) +
                  " are free: choose a smaller model or context, or free memory");
}

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

size_t page_of(size_t size_bytes) { return size_bytes >= kHugePage ? kHugePage : kSmallPage; }

}  // namespace

size_t HugeBuffer::whole_pages(size_t size_bytes) {
  return round_up(size_bytes, page_of(size_bytes));
}

HugeBuffer::HugeBuffer(size_t size_bytes, const std::string& purpose) {
  if (size_bytes == 0) return;
  if (size_bytes > available_memory_bytes()) throw_out_of_memory(size_bytes, purpose);
  const size_t page = page_of(size_bytes);
  const size_t rounded = whole_pages(size_bytes);
  void* memory = ::mmap(nullptr, rounded + page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw_out_of_memory(size_bytes, purpose);
  // Trim the mapping to whole, aligned pages.
  const auto start = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t aligned = round_up(start, page);
  if (aligned > start) ::munmap(memory, aligned - start);
  const size_t behind = start + page - aligned;
  if (behind > 0) ::munmap(reinterpret_cast<void*>(aligned + rounded), behind);
  data_ = reinterpret_cast<std::byte*>(aligned);
  size_ = rounded;
  if (page == kHugePage) ::madvise(data_, size_, MADV_HUGEPAGE);
}

HugeBuffer::~HugeBuffer() {
  if (data_) ::munmap(data_, size_);
}

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace sluice::backend::cpu
