#pragma once

#include "backend/backend.h"

namespace sluice::backend::cpu {

// Throws Error(kUnsupported or kInvalidArgument) for a program or options that the CPU backend
// cannot run, naming the weight or buffer at fault: afterwards every id is in range and every shape
// fits, so that nothing needs checking a step at a time.
void check_program(const Program& program, const LoadOptions& options);

}  // namespace sluice::backend::cpu
