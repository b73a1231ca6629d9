#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/cuda/linear.h"
#include "backend/cuda/linear_mixed.h"

// How products become launches: what linear.cpp, linear_low.cpp and linear_many.cpp share.
namespace sluice::backend::cuda {

struct ManyKernel {
  const char* name;
  int tiles, tokens;    // of a block
  int shared_bytes[2];  // without a ring, and a slot of it
};

struct KernelNames {
  quant::Type type;
  const char* pack;
  const char* low[2];  // by tiles of rows of activations
  int low_stage_bytes;
  ManyKernel many[3], wide[3];  // by rows of activations
};

// Throws Error(kUnsupported).
const KernelNames& kernels_of(quant::Type type);

inline int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Shared memory that a block may ask for, beside what kernels declare themselves.
int dynamic_shared(const DeviceFacts& device);

// What a launch uses besides: sums of parts of the columns, so many bytes, and counters, which all
// kernels leave at zero.
struct LinearScratch {
  float* partials;
  uint32_t* counters;
};
size_t partials_bytes(const DeviceFacts& device);

// Targets of one type, up to kMostParts.
using Alike = std::vector<const LinearTarget*>;

// What one launch computes: a target's type each, in blocks of their own, if there are several
// (linear_mixed.h).
struct LinearProduct {
  HalfRows in;
  std::vector<Alike> types;
  GatedOut gated = {};  // what the one target's tiles are then pairs for (GatedTarget)
  int num_rows = 0;
};

void add_low(LaunchList& list, const DeviceFacts& device, const LinearProduct& product,
             LinearScratch scratch);
void add_many(LaunchList& list, const DeviceFacts& device, const LinearProduct& product,
              bool is_prefill, LinearScratch scratch);

// The device as what has some of its blocks sees it.
inline DeviceFacts with_blocks(DeviceFacts device, int blocks) {
  device.num_multiprocessors = blocks;
  return device;
}

// Shares out the device's blocks so that the last type to end does so as soon as may be. Of type i
// with so many blocks cost(i, blocks) is what the busiest one has.
template <class Cost>
std::vector<int> share_blocks(const DeviceFacts& device, size_t num_types, const Cost& cost) {
  std::vector<int> blocks(num_types, 1);
  if (num_types == 1) return {device.num_multiprocessors};
  std::vector<double> costs;
  for (size_t i = 0; i < num_types; ++i) costs.push_back(cost(i, 1));
  for (int rest = device.num_multiprocessors - static_cast<int>(num_types); rest > 0; --rest) {
    const auto slowest =
        static_cast<size_t>(std::max_element(costs.begin(), costs.end()) - costs.begin());
    costs[slowest] = cost(slowest, ++blocks[slowest]);
  }
  return blocks;
}

// What a type's blocks of a launch are told, and how many there are.
template <class Args>
struct TypeArgs {
  quant::Type type;
  Args args;
  int num_blocks;
};

template <class Args>
void add_types(LaunchList& list, const char* kernel, int num_threads, int shared_bytes,
               std::span<const TypeArgs<Args>> types) {
  const Grid block = {static_cast<uint32_t>(num_threads)};
  const auto shared = static_cast<uint32_t>(shared_bytes);
  if (mixed_index(types.front().type) < 0) {
    const Grid grid = {static_cast<uint32_t>(types.front().num_blocks)};
    add_launch(list, kernel, grid, block, shared, types.front().args);
  } else {
    MixedArgs<Args> args = {};
    for (const TypeArgs<Args>& type : types) {
      const int index = mixed_index(type.type);
      args.of[index] = type.args;
      for (int i = index; i < kNumMixed; ++i) args.end_block[i] += type.num_blocks;
    }
    const Grid grid = {static_cast<uint32_t>(args.end_block[kNumMixed - 1])};
    add_launch(list, kernel, grid, block, shared, args);
  }
  list.back().may_start_early = true;
}

}  // namespace sluice::backend::cuda
