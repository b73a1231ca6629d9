#include "model/split.h"

#include <algorithm>
#include <numeric>

#include "backend/pipeline.h"

namespace sluice::model {
namespace {

bool is_gpu(const Room& room) { return !room.device->traits().uses_host_memory; }

// Whether the layers [first, end) fit into a room.
bool has_room(const backend::Program& program, const backend::LoadOptions& options,
              const Room& room, const SplitWish& wish, int first, int end) {
  const backend::MemoryUse use =
      plan_layers(*room.device, program, options, first, end, static_cast<int>(wish.num_blocks));
  const uint64_t others = uint64_t{use.weights} + use.workspace;
  if (others > room.bytes) return false;
  const double share = wish.num_blocks > wish.least_blocks ? cache_share(*room.device) : 1.0;
  return static_cast<double>(use.cache) <= share * static_cast<double>(room.bytes - others);
}

}  // namespace

backend::MemoryUse plan_layers(const backend::Backend& device, const backend::Program& program,
                               const backend::LoadOptions& options, int first, int end,
                               int num_blocks) {
  const bool is_last = end == program.num_layers;
  if (first == 0 && is_last) return device.plan(program, options, num_blocks);
  return device.plan(backend::cut_program(program, first, end),
                     backend::stage_options(options, is_last), num_blocks);
}

double cache_share(const backend::Backend& device) {
  return device.traits().uses_host_memory ? 0.5 : 0.9;
}

std::optional<std::vector<int>> split_layers(const backend::Program& program,
                                             const backend::LoadOptions& options,
                                             std::span<const Room> rooms, const SplitWish& wish) {
  std::vector<int> layers;
  int end = program.num_layers;
  int gpu_layers = wish.gpu_layers.value_or(program.num_layers);
  for (const Room& room : rooms) {
    // The more layers the more memory: the first number that has no room is searched for.
    std::vector<int> counts(static_cast<size_t>(is_gpu(room) ? std::min(end, gpu_layers) : end));
    std::iota(counts.begin(), counts.end(), 1);
    const auto too_many = std::partition_point(counts.begin(), counts.end(), [&](int count) {
      return has_room(program, options, room, wish, end - count, end);
    });
    layers.push_back(static_cast<int>(too_many - counts.begin()));
    end -= layers.back();
    if (is_gpu(room)) gpu_layers -= layers.back();
  }
  const bool has_all = end == 0 && (!wish.gpu_layers || gpu_layers == 0);
  return has_all ? std::optional(layers) : std::nullopt;
}

std::optional<std::vector<int>> split_layers_down(const backend::Program& program,
                                                  const backend::LoadOptions& options,
                                                  std::span<const Room> rooms, SplitWish wish) {
  return split_down(wish.num_blocks, wish.least_blocks, [&](int64_t num_blocks) {
    wish.num_blocks = num_blocks;
    return split_layers(program, options, rooms, wish);
  });
}

}  // namespace sluice::model
