#pragma once

#include <string>

#include "backend/cpu/kernels.h"

namespace sluice::backend::cpu {

// The kernels for this processor, or those of `force_isa` ("generic", "avx2", "avx512", "amx").
// Throws Error(kInvalidArgument) for an unknown name, Error(kUnsupported) for one that this
// processor cannot run.
const Kernels& choose_kernels(const std::string& force_isa);

}  // namespace sluice::backend::cpu
