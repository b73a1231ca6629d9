#include "server/memory_reserve.h"

#include <sys/mman.h>

#include <atomic>
#include <exception>
#include <new>

#include "base/error.h"

namespace sluice::server {
namespace {

constexpr size_t kReserveBytes = 48u << 20;

std::atomic<void*> reserve = nullptr;

// Memory that nobody touches; null when the system gives none. Not by malloc(), which would learn
// from such sizes to keep large blocks in its heaps.
void* map(size_t size_bytes) noexcept {
  void* memory =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

// Called by operator new, which tries again if this returns.
void give_up_reserve() {
  void* memory = reserve.exchange(nullptr);
  if (memory == nullptr) throw std::bad_alloc();
  ::munmap(memory, kReserveBytes);
  const bool is_taken_apart = std::uncaught_exceptions() > 0;
  if (!is_taken_apart) throw std::bad_alloc();
}

}  // namespace

bool keep_memory_reserve() noexcept {
  if (reserve) return true;
  std::set_new_handler(give_up_reserve);
  void* memory = map(kReserveBytes);
  void* none = nullptr;
  if (memory && !reserve.compare_exchange_strong(none, memory)) ::munmap(memory, kReserveBytes);
  return reserve != nullptr;
}

void require_memory(size_t size_bytes) {
  const size_t size = size_bytes + 1;  // none of nothing would be an error
  void* memory = keep_memory_reserve() ? map(size) : nullptr;
  if (!memory) throw Error(ErrorCode::kOutOfMemory, "not enough memory for this request");
  ::munmap(memory, size);
}

}  // namespace sluice::server
