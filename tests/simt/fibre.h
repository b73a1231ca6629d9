#pragma once

#include <cstddef>
#include <cstdint>

// Stacks to run functions on that can be left in the middle and taken up again (x86-64, System V).
namespace sluice::simt {

// Stacks stand one behind the other in one stretch of address space, so that an address of any of
// them is known by two comparisons; a page without access is below each.
class Stacks {
 public:
  static constexpr size_t kStackBytes = size_t{128} << 10;
  explicit Stacks(size_t most_stacks);
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;

  bool contains(uintptr_t address) const { return address - begin_ < size_; }
  // Of stack `index`, so that switching there calls entry(); it must never return.
  void* prepare(size_t index, void (*entry)());

 private:
  uintptr_t begin_ = 0;
  size_t size_ = 0;
  size_t num_guarded_ = 0;
};

// Leaves the stack that runs, whose place is kept in `from`, and goes on at `to`.
extern "C" void sluice_simt_switch(void** from, void* to);

}  // namespace sluice::simt
