#include "simt/fibre.h"

#include <sys/mman.h>

#include <stdexcept>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#ifndef __x86_64__
#error "the emulator of CUDA kernels switches stacks on x86-64 only"
#endif

// What a call keeps by the System V ABI: six registers and the stack pointer.
asm(R"(
.text
.globl sluice_simt_switch
.hidden sluice_simt_switch
.type sluice_simt_switch, @function
sluice_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size sluice_simt_switch, .-sluice_simt_switch
)");

namespace sluice::simt {
namespace {

constexpr size_t kPageBytes = 4096;

}  // namespace

Stacks::Stacks(size_t most_stacks) : size_(most_stacks * kStackBytes) {
  void* const memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for the stacks of fibres");
  begin_ = reinterpret_cast<uintptr_t>(memory);
}

Stacks::~Stacks() { munmap(reinterpret_cast<void*>(begin_), size_); }

void* Stacks::prepare(size_t index, void (*entry)()) {
  auto* const bottom = reinterpret_cast<std::byte*>(begin_ + index * kStackBytes);
  if (index >= num_guarded_) {
    mprotect(bottom, kPageBytes, PROT_NONE);
    num_guarded_ = index + 1;
  }
#ifdef __SANITIZE_ADDRESS__
  // What ran here before may have been left in the middle.
  ASAN_UNPOISON_MEMORY_REGION(bottom + kPageBytes, kStackBytes - kPageBytes);
#endif
  // As if entry had been called: the stack pointer is 8 below a multiple of 16.
  auto* top = reinterpret_cast<uintptr_t*>(bottom + kStackBytes);
  *--top = 0;
  *--top = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < 6; ++i) *--top = 0;
  return top;
}

}  // namespace sluice::simt
