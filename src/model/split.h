#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"

// Which device gets which layers, by what each says that it would take (Backend::plan).
namespace sluice::model {

// A device, and what weights, workspace and cache may take there together.
struct Room {
  const backend::Backend* device = nullptr;
  uint64_t bytes = 0;
};

struct SplitWish {
  int64_t num_blocks = 0;         // that the cache should have room for, on each device
  int64_t least_blocks = 0;       // that it must have; they may take all that is left
  std::optional<int> gpu_layers;  // exactly so many in memory of GPUs; none: as many as fit
};

// What the layers [first, end) would take on a device.
backend::MemoryUse plan_layers(const backend::Backend& device, const backend::Program& program,
                               const backend::LoadOptions& options, int first, int end,
                               int num_blocks);

// Layers for each of `rooms`, which are filled in their order, the first with the last layers and
// the head; 0 for those that are not needed. Nothing when they do not all fit.
std::optional<std::vector<int>> split_layers(const backend::Program& program,
                                             const backend::LoadOptions& options,
                                             std::span<const Room> rooms, const SplitWish& wish);

// What split(num_blocks) gives, with `most` blocks, halved until it gives something, but not below
// `fewest`.
template <typename Split>
std::optional<std::vector<int>> split_down(int64_t most, int64_t fewest, const Split& split) {
  for (int64_t blocks = most;; blocks = std::max(blocks / 2, fewest)) {
    std::optional<std::vector<int>> layers = split(blocks);
    if (layers || blocks <= fewest) return layers;
  }
}

// split_layers() with `num_blocks` halved until they fit, but not below `least_blocks`.
std::optional<std::vector<int>> split_layers_down(const backend::Program& program,
                                                  const backend::LoadOptions& options,
                                                  std::span<const Room> rooms, SplitWish wish);

// Of the memory that weights and workspace leave on a device, what the cache may take beyond its
// first tokens: nobody else wants what a GPU has.
double cache_share(const backend::Backend& device);

}  // namespace sluice::model
