#include "backend/cuda/linear_many.h"

#include <algorithm>
#include <numeric>

#include "backend/cuda/linear_launch.h"

// Launches of products of many rows (linear_many.cuh).
namespace sluice::backend::cuda {
namespace {

// How many blocks a product that is split over them gets. As many as there are, but each tile's
// sums then come from several, which are added one after another: a number that gives all tiles
// equally many is better if it is nearly as large, and more than eight for a tile cost more than
// they bring.
int split_blocks(const DeviceFacts& device, int num_blocks, int num_chunks) {
  constexpr int kMostShares = 8;
  const int most = std::min(device.num_multiprocessors, num_blocks * num_chunks);
  if (num_blocks > most) return most;
  const int even = num_blocks * std::min(most / num_blocks, kMostShares);
  return even >= most - most / 16 || most > num_blocks * kMostShares ? even : most;
}

const ManyKernel* many_kernels(const DeviceFacts& device, quant::Type type) {
  // wgmma is not in what comes after sm_90.
  return device.compute_capability == 90 ? kernels_of(type).wide : kernels_of(type).many;
}
size_t kernel_index(int num_rows) { return num_rows <= 32 ? 0 : num_rows <= 64 ? 1 : 2; }

int slots_of(const DeviceFacts& device, const ManyKernel& kernel) {
  return many_slots(dynamic_shared(device), kernel.shared_bytes[0], kernel.shared_bytes[1]);
}

ManyArgs many_args(const DeviceFacts& device, const LinearProduct& product, const Alike& targets,
                   const ManyKernel& kernel, const LinearScratch& scratch) {
  const MatrixLayout& layout = targets.front()->layout;
  ManyArgs args = {};
  for (const LinearTarget* target : targets) {
    ManyPart& part = args.parts[args.num_parts++];
    part.tiles = static_cast<const uint8_t*>(target->packed);
    part.bias = target->bias;
    part.out = target->out;
    part.out_stride = static_cast<int32_t>(target->out_stride);
    part.rows = static_cast<int32_t>(target->layout.rows);
    part.num_tiles = static_cast<int32_t>(target->layout.num_tiles());
    part.first_block = args.num_blocks;
    part.accumulates = target->accumulates ? 1 : 0;
    args.num_blocks += ceil_div(part.num_tiles, kernel.tiles);
  }
  args.gated = product.gated;
  args.tile_bytes = layout.tile_bytes;
  args.x = product.in.data;
  args.x_stride = static_cast<int32_t>(product.in.stride);
  args.num_rows = product.num_rows;
  args.x_scale = product.in.scale;
  args.columns = static_cast<int32_t>(layout.columns);
  args.num_slots = slots_of(device, kernel);
  args.num_token_blocks = ceil_div(args.num_rows, kernel.tokens);
  args.partials = scratch.partials;
  args.counters = scratch.counters;
  return args;
}

int shared_bytes_of(const ManyKernel& kernel, const ManyArgs& args) {
  return kernel.shared_bytes[0] + args.num_slots * kernel.shared_bytes[1];
}

// Columns are split so that all blocks have equal shares: how depends on the matrices alone.
void add_split(LaunchList& list, const DeviceFacts& device, const LinearProduct& product,
               LinearScratch scratch) {
  std::vector<TypeArgs<ManyArgs>> types;
  int shared_bytes = 0;
  const char* name = nullptr;
  for (const Alike& targets : product.types) {
    const quant::Type type = targets.front()->layout.type;
    const ManyKernel& kernel = many_kernels(device, type)[kernel_index(product.num_rows)];
    types.push_back({type, many_args(device, product, targets, kernel, scratch), 0});
    types.back().args.is_split = 1;
    shared_bytes = std::max(shared_bytes, shared_bytes_of(kernel, types.back().args));
    name = kernel.name;
  }
  const auto num_chunks = [&](size_t i) {
    return static_cast<int>(product.types[i].front()->layout.num_chunks());
  };
  const auto grid_of = [&](size_t i, int count) {
    return split_blocks(with_blocks(device, count), types[i].args.num_blocks, num_chunks(i));
  };
  const std::vector<int> blocks = share_blocks(device, types.size(), [&](size_t i, int count) {
    const int units = types[i].args.num_blocks * num_chunks(i);
    return static_cast<double>(ceil_div(units, grid_of(i, count))) *
           static_cast<double>(types[i].args.tile_bytes) / num_chunks(i);
  });
  for (size_t i = 0; i < types.size(); ++i) {
    types[i].num_blocks = grid_of(i, blocks[i]);
    types[i].args.partials = scratch.partials;
    types[i].args.counters = scratch.counters;
    scratch.partials += partials_bytes(with_blocks(device, blocks[i])) / sizeof(float);
    scratch.counters += 2 * types[i].args.num_blocks;
  }
  add_types<ManyArgs>(list, name, kManyWarps * 32, shared_bytes, types);
}

int num_units(const ManyArgs& args) { return args.end_unit - args.first_unit; }

// Blocks for each type, so that all are done in as few rounds as may be.
std::vector<int> blocks_of_rounds(const DeviceFacts& device, const std::vector<int>& units) {
  const int most = device.num_multiprocessors;
  if (units.size() == 1) return {std::min(units.front(), most)};
  for (int rounds = 1;; ++rounds) {
    std::vector<int> blocks;
    for (const int count : units) blocks.push_back(ceil_div(count, rounds));
    if (std::accumulate(blocks.begin(), blocks.end(), 0) <= most) return blocks;
  }
}

// Units of products that are not split, in one launch of the kernel at `index`.
void add_units(LaunchList& list, const DeviceFacts& device, size_t index,
               std::vector<TypeArgs<ManyArgs>> types) {
  std::erase_if(types, [](const auto& type) { return num_units(type.args) == 0; });
  if (types.empty()) return;
  std::vector<int> units;
  for (const auto& type : types) units.push_back(num_units(type.args));
  const std::vector<int> blocks = blocks_of_rounds(device, units);
  int shared_bytes = 0;
  for (size_t i = 0; i < types.size(); ++i) {
    const ManyKernel& kernel = many_kernels(device, types[i].type)[index];
    types[i].num_blocks = blocks[i];
    types[i].args.num_slots = slots_of(device, kernel);
    shared_bytes = std::max(shared_bytes, shared_bytes_of(kernel, types[i].args));
  }
  add_types<ManyArgs>(list, many_kernels(device, types.front().type)[index].name, kManyWarps * 32,
                      shared_bytes, types);
}

// How many units each type has in whole rounds: all, but for the first one, which has the most and
// leaves what would begin another round; none, if there is no whole round.
std::vector<int> units_of_whole_rounds(const DeviceFacts& device, const std::vector<int>& units) {
  const int most = device.num_multiprocessors;
  const int rounds = std::accumulate(units.begin(), units.end(), 0) / most;
  std::vector<int> whole = units;
  int others = 0;
  for (size_t i = 1; i < units.size() && rounds > 0; ++i) others += ceil_div(units[i], rounds);
  if (rounds == 0 || others >= most) return std::vector<int>(units.size(), 0);
  whole.front() = std::min(units.front(), (most - others) * rounds);
  return whole;
}

// A prompt's rows have the same products in all kernels of a device: sums are taken in the same
// order. A last round that few blocks have is done in smaller pieces, which take a third of the
// time.
void add_whole(LaunchList& list, const DeviceFacts& device, const LinearProduct& product,
               const LinearScratch& scratch) {
  const size_t index = kernel_index(product.num_rows);
  std::vector<TypeArgs<ManyArgs>> types;
  for (const Alike& targets : product.types) {
    const quant::Type type = targets.front()->layout.type;
    const ManyKernel& kernel = many_kernels(device, type)[index];
    types.push_back({type, many_args(device, product, targets, kernel, scratch), 0});
    types.back().args.end_unit = types.back().args.num_blocks * types.back().args.num_token_blocks;
  }
  std::stable_sort(types.begin(), types.end(), [](const auto& a, const auto& b) {
    return num_units(a.args) > num_units(b.args);
  });
  std::vector<int> units;
  for (const auto& type : types) units.push_back(num_units(type.args));
  const std::vector<int> whole = units_of_whole_rounds(device, units);
  const int rest = std::accumulate(units.begin(), units.end(), 0) -
                   std::accumulate(whole.begin(), whole.end(), 0);
  const ManyKernel* const kernels = many_kernels(device, types.front().type);
  const int pieces = kernels[index].tokens / kernels[0].tokens;
  if (pieces == 1 || kernels[index].tiles != kernels[0].tiles || rest == 0 ||
      rest * pieces > 2 * device.num_multiprocessors) {
    return add_units(list, device, index, types);
  }
  std::vector<TypeArgs<ManyArgs>> small = types;
  for (size_t i = 0; i < types.size(); ++i) {
    types[i].args.end_unit = whole[i];
    small[i].args.num_token_blocks *= pieces;
    small[i].args.first_unit = whole[i] * pieces;
    small[i].args.end_unit = units[i] * pieces;
  }
  add_units(list, device, index, types);
  add_units(list, device, 0, small);
}

}  // namespace

void add_many(LaunchList& list, const DeviceFacts& device, const LinearProduct& product,
              bool is_prefill, LinearScratch scratch) {
  const quant::Type type = product.types.front().front()->layout.type;
  const ManyKernel& kernel = many_kernels(device, type)[kernel_index(product.num_rows)];
  if (!is_prefill && product.num_rows <= kernel.tokens) {
    add_split(list, device, product, scratch);
  } else {
    add_whole(list, device, product, scratch);
  }
}

}  // namespace sluice::backend::cuda
