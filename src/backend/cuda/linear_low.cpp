#include "backend/cuda/linear_low.h"

#include <algorithm>

#include "backend/cuda/linear_launch.h"

// Launches of products of up to 16 rows (linear_low.cuh).
namespace sluice::backend::cuda {
namespace {

// What the blocks of a type have to do.
struct LowWork {
  int num_tiles = 0, together = 1;  // tiles that no block parts
  int64_t tile_bytes = 0;
  int num_stages = 0, stage_columns = 0, stage_bytes = 0;
  int token_tiles = 1;

  int num_units() const { return num_tiles / together; }
};

// How they share it.
struct LowShares {
  int num_splits = 1;
  int num_slots = 2;
  int column_warps = 1;
  int grid = 1;
};

LowWork low_work(const Alike& targets, bool is_gated, int num_rows) {
  const MatrixLayout& layout = targets.front()->layout;
  LowWork work;
  for (const LinearTarget* target : targets) {
    work.num_tiles += static_cast<int>(target->layout.num_tiles());
  }
  if (is_gated) work.together = 2;
  work.tile_bytes = layout.tile_bytes;
  const bool is_float = quant::type_info(layout.type).block_elements == 1;
  work.stage_columns = is_float ? kQuarterColumns : kChunkColumns;
  work.num_stages = ceil_div(static_cast<int>(layout.columns), work.stage_columns);
  work.stage_bytes = kernels_of(layout.type).low_stage_bytes;
  work.token_tiles = ceil_div(num_rows, 8);
  return work;
}

// Splits of the columns let blocks have more equal shares, but whoever adds up is waited for: about
// as long as 5% of a matrix of 8192 by 8192. They also let a block meet fewer activations again and
// again, which come by way of the first-level cache then: of sixteen rows on fast memory that
// counts more (of eight rows in four chunks there are 44% of what the matrix has).
int low_splits(const DeviceFacts& device, const LowWork& work) {
  const int blocks = device.num_multiprocessors, token_tiles = work.token_tiles;
  const auto efficiency = [&](int splits) {
    const int units = work.num_units() * splits;
    return static_cast<double>(units) / (static_cast<double>(ceil_div(units, blocks)) * blocks);
  };
  const auto fits = [&](int splits) {
    return splits <= kLowSplits && static_cast<size_t>(work.num_tiles) *
                                           static_cast<size_t>(splits * token_tiles) * 128 *
                                           sizeof(float) <=
                                       partials_bytes(device);
  };
  if (token_tiles == 2 && device.compute_capability >= 90) {
    constexpr int kCached = 72 << 10;  // bytes of the first-level cache beside the rings
    const int row_bytes = work.num_stages * work.stage_columns * 2;
    int splits = 1;
    while (16 * row_bytes > splits * kCached && work.num_stages / splits >= 8 && fits(2 * splits)) {
      splits *= 2;
    }
    return splits;
  }
  int best = 1;
  for (int splits = 2; work.num_stages / splits >= 4 && fits(splits); ++splits) {
    if (efficiency(splits) >= efficiency(best) + 0.05) best = splits;
  }
  return best;
}

// Warps of a block: as many as have room for two stages of each type.
int block_warps(const DeviceFacts& device, const std::vector<LowWork>& all) {
  int warps = low_warps(all.front().token_tiles);
  for (const LowWork& work : all) {
    while (low_shared_bytes(warps, 2, work.stage_bytes, work.token_tiles) >
           dynamic_shared(device)) {
      warps /= 2;
    }
  }
  return warps;
}

// Rings are as deep as fits, up to 110 kB in flight.
LowShares low_shares(const DeviceFacts& device, const LowWork& work, int num_warps) {
  LowShares shares;
  shares.num_splits = low_splits(device, work);
  while (shares.num_slots < kMostSlots &&
         num_warps * shares.num_slots * work.stage_bytes < 110000 &&
         low_shared_bytes(num_warps, shares.num_slots + 1, work.stage_bytes, work.token_tiles) <=
             dynamic_shared(device)) {
    ++shares.num_slots;
  }
  shares.column_warps = std::min(num_warps, work.num_stages / shares.num_splits);
  shares.grid = std::min(device.num_multiprocessors, work.num_units() * shares.num_splits);
  return shares;
}

// Bytes of the busiest of so many blocks.
double busiest_bytes(const DeviceFacts& device, const LowWork& work) {
  const int splits = low_splits(device, work);
  const int units = ceil_div(work.num_units() * splits, device.num_multiprocessors);
  return static_cast<double>(units * work.together) * static_cast<double>(work.tile_bytes) / splits;
}

LowArgs low_args(const LinearProduct& product, const Alike& targets, const LowWork& work,
                 const LowShares& shares) {
  LowArgs args = {};
  for (const LinearTarget* target : targets) {
    LowPart& part = args.parts[args.num_parts++];
    part.tiles = static_cast<const uint8_t*>(target->packed);
    part.bias = target->bias;
    part.out = target->out;
    part.out_stride = static_cast<int32_t>(target->out_stride);
    part.rows = static_cast<int32_t>(target->layout.rows);
    part.first_tile = args.num_tiles;
    part.accumulates = target->accumulates ? 1 : 0;
    args.num_tiles += static_cast<int>(target->layout.num_tiles());
  }
  args.gated = product.gated;
  args.tile_bytes = work.tile_bytes;
  args.x = product.in.data;
  args.x_stride = static_cast<int32_t>(product.in.stride);
  args.num_rows = product.num_rows;
  args.x_scale = product.in.scale;
  args.columns = static_cast<int32_t>(targets.front()->layout.columns);
  args.num_splits = shares.num_splits;
  for (int i = 0; i <= shares.num_splits; ++i) {
    args.split_begin[i] = static_cast<int16_t>(work.num_stages * i / shares.num_splits);
  }
  args.num_slots = static_cast<int16_t>(shares.num_slots);
  args.column_warps = shares.column_warps;
  args.float_bits = kFloatBits;
  return args;
}

}  // namespace

void add_low(LaunchList& list, const DeviceFacts& device, const LinearProduct& product,
             LinearScratch scratch) {
  std::vector<LowWork> all;
  for (const Alike& targets : product.types) {
    all.push_back(low_work(targets, product.gated.out != nullptr, product.num_rows));
  }
  const int num_warps = block_warps(device, all), token_tiles = all.front().token_tiles;
  const std::vector<int> blocks = share_blocks(device, all.size(), [&](size_t i, int count) {
    return busiest_bytes(with_blocks(device, count), all[i]);
  });
  std::vector<TypeArgs<LowArgs>> types;
  int shared_bytes = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const Alike& targets = product.types[i];
    const DeviceFacts own = with_blocks(device, blocks[i]);
    const LowShares shares = low_shares(own, all[i], num_warps);
    types.push_back(
        {targets.front()->layout.type, low_args(product, targets, all[i], shares), shares.grid});
    types.back().args.partials = scratch.partials;
    types.back().args.counters = scratch.counters;
    scratch.partials += partials_bytes(own) / sizeof(float);
    scratch.counters += all[i].num_tiles;
    shared_bytes = std::max(shared_bytes, low_shared_bytes(num_warps, shares.num_slots,
                                                           all[i].stage_bytes, token_tiles));
  }
  add_types<LowArgs>(list, kernels_of(types.front().type).low[token_tiles - 1], num_warps * 32,
                     shared_bytes, types);
}

}  // namespace sluice::backend::cuda
