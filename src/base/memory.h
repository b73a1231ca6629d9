#pragma once

#include <cstdint>

namespace sluice {

// Bytes that can be taken without swapping: what the kernel calls available, or what the control
// groups leave (cgroup.h) where that is less.
uint64_t available_memory_bytes();

// Resident bytes and threads of this process.
uint64_t resident_memory_bytes();
int num_process_threads();

}  // namespace sluice
