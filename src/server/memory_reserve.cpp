#include "server/memory_reserve.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace sluice::server {
namespace {

// Always mapped by itself, never part of a heap.
constexpr size_t kReserveBytes = 48u << 20;

std::atomic<void*> reserve = nullptr;

void give_up_reserve() {
  std::free(reserve.exchange(nullptr));
  throw std::bad_alloc();
}

}  // namespace

void keep_memory_reserve() noexcept {
  if (reserve) return;
  std::set_new_handler(give_up_reserve);
  void* memory = std::malloc(kReserveBytes);
  void* none = nullptr;
  if (!reserve.compare_exchange_strong(none, memory)) std::free(memory);
}

}  // namespace sluice::server
