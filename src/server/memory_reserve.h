#pragma once

#include <cstddef>

namespace sluice::server {

// Without memory a request is to fail, not the process. Some memory (untouched: it costs none) is
// kept for the moment when the system gives no more: it is freed then, so that what the request has
// made can be taken apart, which may take memory (lists of JSON values are destroyed with a stack
// of their own, and a destructor must not throw), and told to its client. To be called before each
// request, as it takes the reserve again when it was used; false when that is not possible.
bool keep_memory_reserve() noexcept;

// Before work that takes so much: throws Error(kOutOfMemory) when it is not there, or no reserve
// is.
void require_memory(size_t size_bytes);

}  // namespace sluice::server
