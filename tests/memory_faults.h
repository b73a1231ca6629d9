#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <utility>

// An operator new whose allocations fail where a test wants them to. For one file of a test
// program: it replaces that of the whole program.
namespace sluice::test {

// What the thread's allocations do.
struct MemoryFaults {
  static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
  int64_t num_good = -1;     // so many succeed before those that fail; negative: none fails
  int64_t num_failures = 0;  // in a row; then none fails any more
  size_t least_bytes = 0;    // smaller ones do not count
};
inline thread_local MemoryFaults memory_faults;
inline thread_local uint64_t num_bytes_allocated = 0;

// While it lives, no allocation of the thread fails.
class NoMemoryFaults {
 public:
  NoMemoryFaults() : saved_(std::exchange(memory_faults, {})) {}
  ~NoMemoryFaults() { memory_faults = saved_; }
  NoMemoryFaults(const NoMemoryFaults&) = delete;
  NoMemoryFaults& operator=(const NoMemoryFaults&) = delete;

 private:
  MemoryFaults saved_;
};

inline bool allocation_fails(size_t size) {
  MemoryFaults& faults = memory_faults;
  if (faults.num_good < 0 || size < faults.least_bytes) return false;
  if (faults.num_good > 0) {
    --faults.num_good;
    return false;
  }
  if (--faults.num_failures <= 0) faults.num_good = -1;
  return true;
}

inline void* allocate(size_t size) noexcept {
  if (allocation_fails(size)) return nullptr;
  num_bytes_allocated += size;
  return std::malloc(size > 0 ? size : 1);
}

}  // namespace sluice::test

// Not inlined: GCC would take free() for the wrong way to give back what new gave.
[[gnu::noinline]] void* operator new(size_t size) {
  if (void* memory = sluice::test::allocate(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return sluice::test::allocate(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
