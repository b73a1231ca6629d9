#pragma once

#include <functional>
#include <optional>
#include <string>
#include <thread>

namespace sluice {

// Names the calling thread (at most 15 bytes are kept); monitors show it.
void set_thread_name(const std::string& name);

// A thread of that name. Throws Error(kOutOfMemory) with the limits to look at when the system
// gives none (std::thread alone throws a std::system_error that says nothing).
std::thread start_thread(const std::string& name, std::function<void()> work);

// How many threads of this process can compute at a time, at least 1: the smaller of its affinity
// mask and the quota of its control groups.
int usable_cores();

// The same of given facts. A quota is rounded: two threads with one and a half cores are stopped a
// quarter of the time, which is better than a core unused, and three with two and a bit are not.
int usable_cores(int num_allowed, std::optional<double> quota);

}  // namespace sluice
