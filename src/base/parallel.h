#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace sluice {

// Calls work(i) once for each i of 0..count-1, in that order but on `num_threads` threads at a time
// (named `name`), and returns when all have ended. The first exception stops what has not begun and
// is thrown here. Throws Error(kOutOfMemory) when the system gives no thread.
void parallel_for(const std::string& name, int num_threads, int64_t count,
                  const std::function<void(int64_t)>& work);

}  // namespace sluice
