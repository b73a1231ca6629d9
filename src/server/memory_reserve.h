#pragma once

namespace sluice::server {

// Keeps some memory (untouched: it costs none) for when the system gives no more. It is freed then,
// so that the request that got std::bad_alloc can be taken apart, which may take memory (lists of
// JSON values are destroyed with a stack of their own, and a destructor must not throw), and told
// to its client. To be called before each request: takes the reserve again when it was used.
void keep_memory_reserve() noexcept;

}  // namespace sluice::server
