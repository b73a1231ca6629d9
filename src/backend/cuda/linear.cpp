#include "backend/cuda/linear.h"

#include <algorithm>
#include <string>
#include <vector>

#include "backend/cuda/linear_low.h"
#include "backend/cuda/linear_many.h"
#include "backend/cuda/pack.h"
#include "base/error.h"

namespace sluice::backend::cuda {
namespace {

using quant::Type;

struct ManyKernel {
  const char* name;
  int tiles, tokens;    // of a block
  int shared_bytes[2];  // without a ring, and a slot of it
};

struct KernelNames {
  Type type;
  const char* pack;
  const char* low[2];  // by tiles of rows of activations
  int low_stage_bytes;
  ManyKernel many[3], wide[3];  // by rows of activations
};

template <Type kType, class Shape>
constexpr ManyKernel many_kernel(const char* name) {
  return {name,
          Shape::kTiles,
          Shape::kTokens,
          {many_shared_bytes<kType, Shape>(0), ManyStage<kType, Shape>::kBytes}};
}

#define SLUICE_KERNEL_NAMES(type, name)                                 \
  KernelNames {                                                         \
    Type::type, "pack_" #name, {"linear_8_" #name, "linear_16_" #name}, \
        LowStage<Type::type>::kBytes,                                   \
        {many_kernel<Type::type, Many32>("linear_32_" #name),           \
         many_kernel<Type::type, Many64>("linear_64_" #name),           \
         many_kernel<Type::type, Many128>("linear_128_" #name)},        \
        {many_kernel<Type::type, Wide32>("linear_wide32_" #name),       \
         many_kernel<Type::type, Wide64>("linear_wide64_" #name),       \
         many_kernel<Type::type, Wide128>("linear_wide128_" #name)},    \
  }
constexpr KernelNames kKernels[] = {
    SLUICE_KERNEL_NAMES(kF32, f32),       SLUICE_KERNEL_NAMES(kF16, f16),
    SLUICE_KERNEL_NAMES(kBF16, bf16),     SLUICE_KERNEL_NAMES(kQ4_0, q4_0),
    SLUICE_KERNEL_NAMES(kQ4_1, q4_1),     SLUICE_KERNEL_NAMES(kQ5_0, q5_0),
    SLUICE_KERNEL_NAMES(kQ5_1, q5_1),     SLUICE_KERNEL_NAMES(kQ8_0, q8_0),
    SLUICE_KERNEL_NAMES(kQ2_K, q2_k),     SLUICE_KERNEL_NAMES(kQ3_K, q3_k),
    SLUICE_KERNEL_NAMES(kQ4_K, q4_k),     SLUICE_KERNEL_NAMES(kQ5_K, q5_k),
    SLUICE_KERNEL_NAMES(kQ6_K, q6_k),     SLUICE_KERNEL_NAMES(kIQ4_NL, iq4_nl),
    SLUICE_KERNEL_NAMES(kIQ4_XS, iq4_xs), SLUICE_KERNEL_NAMES(kMXFP4, mxfp4),
};
#undef SLUICE_KERNEL_NAMES

const KernelNames& kernels_of(Type type) {
  for (const KernelNames& names : kKernels) {
    if (names.type == type) return names;
  }
  throw Error(ErrorCode::kUnsupported, "the CUDA backend has no kernel for this tensor type");
}

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Shared memory that a block may ask for, beside what kernels declare themselves.
int dynamic_shared(const DeviceFacts& device) {
  return static_cast<int>(device.shared_bytes_per_block) - kKeptShared;
}

// How the low kernel's blocks share `num_tiles` tiles of `num_stages` stages each.
struct LowShares {
  int num_splits = 1;
  int num_warps = 1;
  int num_slots = 2;
  int column_warps = 1;
  int grid = 1;
};

// Scratch: sums of parts of the columns, then counters, which all kernels leave at zero.
size_t partials_bytes(const DeviceFacts& device) {
  constexpr size_t kSums =  // of a block's first and last segment
      size_t{2 * kTileRows} *
      std::max({Many32::kTiles * Many32::kTokens, Many64::kTiles * Many64::kTokens,
                Many128::kTiles * Many128::kTokens, Wide128::kTiles * Wide128::kTokens});
  return static_cast<size_t>(device.num_multiprocessors) * kSums * sizeof(float);
}
size_t counters_bytes(int64_t most_tiles) {  // two for each block of tiles
  return 2 * kMostParts * static_cast<size_t>(most_tiles) * sizeof(uint32_t);
}
uint32_t* counters_in(void* scratch, const DeviceFacts& device) {
  return reinterpret_cast<uint32_t*>(static_cast<std::byte*>(scratch) + partials_bytes(device));
}

// Splits of the columns let blocks have more equal shares, but whoever adds up is waited for: about
// as long as 5% of a matrix of 8192 by 8192. They also let a block meet fewer activations again and
// again, which come by way of the first-level cache then: of sixteen rows on fast memory that
// counts more (of eight rows in four chunks there are 44% of what the matrix has).
int low_splits(const DeviceFacts& device, int num_tiles, int together, int num_stages,
               int stage_columns, int token_tiles) {
  const int blocks = device.num_multiprocessors;
  const auto efficiency = [&](int splits) {
    const int units = num_tiles / together * splits;
    return static_cast<double>(units) / (static_cast<double>(ceil_div(units, blocks)) * blocks);
  };
  const auto fits = [&](int splits) {
    return splits <= kLowSplits && static_cast<size_t>(num_tiles) *
                                           static_cast<size_t>(splits * token_tiles) * 128 *
                                           sizeof(float) <=
                                       partials_bytes(device);
  };
  if (token_tiles == 2 && device.compute_capability >= 90) {
    constexpr int kCached = 72 << 10;  // bytes of the first-level cache beside the rings
    const int row_bytes = num_stages * stage_columns * 2;
    int splits = 1;
    while (16 * row_bytes > splits * kCached && num_stages / splits >= 8 && fits(2 * splits)) {
      splits *= 2;
    }
    return splits;
  }
  int best = 1;
  for (int splits = 2; num_stages / splits >= 4 && fits(splits); ++splits) {
    if (efficiency(splits) >= efficiency(best) + 0.05) best = splits;
  }
  return best;
}

// Rings are as deep as fits, up to 110 kB in flight. So many tiles are kept `together`.
LowShares low_shares(const DeviceFacts& device, int num_tiles, int together, int num_stages,
                     int stage_columns, int stage_bytes, int token_tiles) {
  LowShares shares;
  shares.num_splits =
      low_splits(device, num_tiles, together, num_stages, stage_columns, token_tiles);
  const int shared = dynamic_shared(device);
  shares.num_warps = low_warps(token_tiles);
  while (low_shared_bytes(shares.num_warps, 2, stage_bytes, token_tiles) > shared) {
    shares.num_warps /= 2;
  }
  while (shares.num_slots < kMostSlots &&
         shares.num_warps * shares.num_slots * stage_bytes < 110000 &&
         low_shared_bytes(shares.num_warps, shares.num_slots + 1, stage_bytes, token_tiles) <=
             shared) {
    ++shares.num_slots;
  }
  shares.column_warps = std::min(shares.num_warps, num_stages / shares.num_splits);
  shares.grid = std::min(device.num_multiprocessors, num_tiles / together * shares.num_splits);
  return shares;
}

// Targets of one type, up to kMostParts, that read the same rows.
using Alike = std::span<const LinearTarget* const>;

// Of up to 16 rows. `gated`: what the one target's tiles are then pairs for (GatedTarget).
void add_low(LaunchList& list, const DeviceFacts& device, const HalfRows& in, Alike targets,
             const GatedOut& gated, int num_rows, void* scratch) {
  const MatrixLayout& layout = targets.front()->layout;
  const KernelNames& names = kernels_of(layout.type);
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
  const int token_tiles = ceil_div(num_rows, 8);
  const bool is_float = quant::type_info(layout.type).block_elements == 1;
  const int stage_columns = is_float ? kQuarterColumns : kChunkColumns;
  const int num_stages = ceil_div(static_cast<int>(layout.columns), stage_columns);
  const LowShares shares =
      low_shares(device, args.num_tiles, gated.out != nullptr ? 2 : 1, num_stages, stage_columns,
                 names.low_stage_bytes, token_tiles);
  args.gated = gated;
  args.tile_bytes = layout.tile_bytes;
  args.x = in.data;
  args.x_stride = static_cast<int32_t>(in.stride);
  args.num_rows = num_rows;
  args.x_scale = in.scale;
  args.columns = static_cast<int32_t>(layout.columns);
  args.num_splits = shares.num_splits;
  for (int i = 0; i <= shares.num_splits; ++i) {
    args.split_begin[i] = static_cast<int16_t>(num_stages * i / shares.num_splits);
  }
  args.num_slots = static_cast<int16_t>(shares.num_slots);
  args.column_warps = shares.column_warps;
  args.float_bits = kFloatBits;
  args.partials = static_cast<float*>(scratch);
  args.counters = counters_in(scratch, device);
  add_launch(list, names.low[token_tiles - 1], {static_cast<uint32_t>(shares.grid)},
             {static_cast<uint32_t>(shares.num_warps * 32)},
             static_cast<uint32_t>(low_shared_bytes(shares.num_warps, shares.num_slots,
                                                    names.low_stage_bytes, token_tiles)),
             args);
  list.back().may_start_early = true;
}

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

// Of any number of rows. Columns are split where that gives blocks equal shares, but not a
// prompt's: how they are split depends on the matrices alone, and whether, on the number of rows.
class ManyProduct {
 public:
  ManyProduct(const DeviceFacts& device, const HalfRows& in, Alike targets, const GatedOut& gated,
              int num_rows, void* scratch)
      : device_(device), targets_(targets) {
    const MatrixLayout& layout = targets.front()->layout;
    // wgmma is not in what comes after sm_90.
    const KernelNames& names = kernels_of(layout.type);
    kernels_ = device.compute_capability == 90 ? names.wide : names.many;
    args_.tile_bytes = layout.tile_bytes;
    args_.x = in.data;
    args_.x_stride = static_cast<int32_t>(in.stride);
    args_.num_rows = num_rows;
    args_.x_scale = in.scale;
    args_.columns = static_cast<int32_t>(layout.columns);
    args_.partials = static_cast<float*>(scratch);
    args_.counters = counters_in(scratch, device);
    args_.gated = gated;
  }

  // A prompt's rows have the same products in all kernels of a device: sums are taken in the same
  // order.
  void add(LaunchList& list, bool is_prefill) {
    const int rows = args_.num_rows;
    const ManyKernel& kernel = kernels_[rows <= 32 ? 0 : rows <= 64 ? 1 : 2];
    set_blocks(kernel);
    if (!is_prefill && args_.num_token_blocks == 1) {
      args_.is_split = 1;
      return add_launch_of(list, kernel,
                           split_blocks(device_, args_.num_blocks,
                                        static_cast<int>(targets_.front()->layout.num_chunks())));
    }
    const int units = args_.num_blocks * args_.num_token_blocks;
    const int rest = units % device_.num_multiprocessors;
    args_.end_unit = units;
    // A last round that few blocks have is done in smaller pieces, which take a third of the time.
    const int pieces = kernel.tokens / kernels_[0].tokens;
    const bool has_short_round = pieces > 1 && kernel.tiles == kernels_[0].tiles && rest > 0 &&
                                 rest * pieces <= 2 * device_.num_multiprocessors;
    if (has_short_round) args_.end_unit -= rest;
    if (args_.end_unit > 0) {
      add_launch_of(list, kernel, std::min(args_.end_unit, device_.num_multiprocessors));
    }
    if (!has_short_round) return;
    args_.num_token_blocks *= pieces;
    args_.first_unit = args_.end_unit * pieces;
    args_.end_unit = units * pieces;
    add_launch_of(list, kernels_[0], std::min(rest * pieces, device_.num_multiprocessors));
  }

 private:
  void set_blocks(const ManyKernel& kernel) {
    for (const LinearTarget* target : targets_) {
      ManyPart& part = args_.parts[args_.num_parts++];
      part.tiles = static_cast<const uint8_t*>(target->packed);
      part.bias = target->bias;
      part.out = target->out;
      part.out_stride = static_cast<int32_t>(target->out_stride);
      part.rows = static_cast<int32_t>(target->layout.rows);
      part.num_tiles = static_cast<int32_t>(target->layout.num_tiles());
      part.first_block = args_.num_blocks;
      part.accumulates = target->accumulates ? 1 : 0;
      args_.num_blocks += ceil_div(part.num_tiles, kernel.tiles);
    }
    args_.num_token_blocks = ceil_div(args_.num_rows, kernel.tokens);
  }

  void add_launch_of(LaunchList& list, const ManyKernel& kernel, int grid) {
    args_.num_slots =
        many_slots(dynamic_shared(device_), kernel.shared_bytes[0], kernel.shared_bytes[1]);
    add_launch(
        list, kernel.name, {static_cast<uint32_t>(grid)}, {kManyWarps * 32},
        static_cast<uint32_t>(kernel.shared_bytes[0] + args_.num_slots * kernel.shared_bytes[1]),
        args_);
    list.back().may_start_early = true;
  }

  const DeviceFacts& device_;
  Alike targets_;
  const ManyKernel* kernels_;  // by rows of activations
  ManyArgs args_ = {};
};

void add_product(LaunchList& list, const DeviceFacts& device, const HalfRows& in, Alike targets,
                 const GatedOut& gated, int rows, bool is_prefill, void* scratch) {
  if (rows <= kLowRows[1] && !is_prefill) {
    add_low(list, device, in, targets, gated, rows, scratch);
  } else {
    ManyProduct(device, in, targets, gated, rows, scratch).add(list, is_prefill);
  }
}

}  // namespace

void add_pack(LaunchList& list, const MatrixLayout& layout, const void* raw, int64_t first_row,
              int64_t num_rows, void* packed, int64_t tile_stride) {
  PackArgs args = {};
  args.raw = static_cast<const uint8_t*>(raw);
  args.packed = static_cast<uint8_t*>(packed) + first_row / kTileRows * tile_stride;
  args.tile_stride = tile_stride;
  args.rows = static_cast<int32_t>(num_rows);
  args.columns = static_cast<int32_t>(layout.columns);
  const int64_t threads = (num_rows + kTileRows - 1) / kTileRows * layout.num_chunks() * 8;
  add_launch(list, kernels_of(layout.type).pack, {static_cast<uint32_t>((threads + 255) / 256)},
             {256}, 0, args);
}

size_t linear_scratch_bytes(const DeviceFacts& device, std::span<const MatrixLayout> matrices) {
  int64_t most_tiles = 0;
  for (const MatrixLayout& layout : matrices) {
    most_tiles = std::max(most_tiles, layout.num_tiles());
  }
  return partials_bytes(device) + counters_bytes(most_tiles);
}

void add_linear(LaunchList& list, const DeviceFacts& device, const HalfRows& in,
                std::span<const LinearTarget> targets, int rows, bool is_prefill, void* scratch) {
  std::vector<bool> is_done(targets.size());
  for (size_t first = 0; first < targets.size(); ++first) {
    if (is_done[first]) continue;
    std::vector<const LinearTarget*> alike;
    for (size_t i = first; i < targets.size() && alike.size() < kMostParts; ++i) {
      if (is_done[i] || targets[i].layout.type != targets[first].layout.type) continue;
      alike.push_back(&targets[i]);
      is_done[i] = true;
    }
    add_product(list, device, in, alike, {}, rows, is_prefill, scratch);
  }
}

void add_gated_linear(LaunchList& list, const DeviceFacts& device, const HalfRows& in,
                      const GatedTarget& target, int rows, bool is_prefill, void* scratch) {
  LinearTarget pairs;
  pairs.layout = target.layout;
  pairs.layout.rows = 2 * kTileRows * target.layout.num_tiles();
  pairs.packed = target.packed;
  const LinearTarget* const targets[] = {&pairs};
  const GatedOut gated = {target.out,
                          target.gate_bias,
                          target.up_bias,
                          target.curve,
                          static_cast<int32_t>(target.out_stride),
                          static_cast<int32_t>(target.layout.rows)};
  add_product(list, device, in, targets, gated, rows, is_prefill, scratch);
}

}  // namespace sluice::backend::cuda
