#pragma once

#include <vector>

#include "backend/program.h"

// Which of a program's operations are one, and in which forms they leave what they write.
namespace sluice::backend::cuda {

// By operation: whether it is a Linear whose results, of a gate and an up of one type and shape,
// nothing reads but the GatedActivation that comes next, for products only. They are one launch
// then (linear.h, GatedTarget), and gate and up lie in memory for it (weights.h).
std::vector<bool> find_gated_products(const Program& program);

// In which forms rows of a buffer are kept. What only a Linear reads is halves, written so by the
// operation before it.
struct BufferForms {
  bool has_floats = false, has_halves = false;
};

// Which forms an operation writes, for all of the program's.
struct OpForms {
  bool writes_floats = true, writes_halves = false;
  bool converts_input = false;  // a Linear whose input is there as floats only
  bool gathers_halves = false;  // a GatherRows of halves
  bool is_joined = false;       // a Linear and the GatedActivation behind it: one product
};

struct ProgramForms {
  std::vector<BufferForms> buffers;
  std::vector<OpForms> ops;
};
// Throws Error(kUnsupported) for a program that reads as floats what is written as halves only.
ProgramForms find_forms(const Program& program);

}  // namespace sluice::backend::cuda
