#pragma once

#include <string>

namespace sluice {

// Names the calling thread (at most 15 bytes are kept); monitors show it.
void set_thread_name(const std::string& name);

// Cores this process may run on: the smaller of its affinity mask and its cgroup CPU quota,
// at least 1.
int usable_cores();

}  // namespace sluice
