#include "backend/backend.h"

#include "base/memory.h"

namespace sluice::backend {

uint64_t Backend::free_bytes() const { return available_memory_bytes(); }

}  // namespace sluice::backend
