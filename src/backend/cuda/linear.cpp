#include "backend/cuda/linear.h"

#include <algorithm>
#include <vector>

#include "backend/cuda/linear_launch.h"
#include "backend/cuda/linear_low.h"
#include "backend/cuda/linear_many.h"
#include "backend/cuda/pack.h"
#include "base/error.h"

namespace sluice::backend::cuda {
namespace {

using quant::Type;

template <Type kType, class Shape>
constexpr ManyKernel many_kernel(const char* name) {
  return {name,
          Shape::kTiles,
          Shape::kTokens,
          {many_shared_bytes<kType, Shape>(0), ManyStage<kType, Shape>::kBytes}};
}

#define SLUICE_KERNEL_NAMES(type, name) SLUICE_SOME_KERNEL_NAMES(type, name, name)
#define SLUICE_SOME_KERNEL_NAMES(type, packed, name)                      \
  KernelNames {                                                           \
    Type::type, "pack_" #packed, {"linear_8_" #name, "linear_16_" #name}, \
        LowStage<Type::type>::kBytes,                                     \
        {many_kernel<Type::type, Many32>("linear_32_" #name),             \
         many_kernel<Type::type, Many64>("linear_64_" #name),             \
         many_kernel<Type::type, Many128>("linear_128_" #name)},          \
        {many_kernel<Type::type, Wide32>("linear_wide32_" #name),         \
         many_kernel<Type::type, Wide64>("linear_wide64_" #name),         \
         many_kernel<Type::type, Wide128>("linear_wide128_" #name)},      \
  }
constexpr KernelNames kKernels[] = {
    SLUICE_KERNEL_NAMES(kF32, f32),
    SLUICE_KERNEL_NAMES(kF16, f16),
    SLUICE_KERNEL_NAMES(kBF16, bf16),
    SLUICE_KERNEL_NAMES(kQ4_0, q4_0),
    SLUICE_KERNEL_NAMES(kQ4_1, q4_1),
    SLUICE_KERNEL_NAMES(kQ5_0, q5_0),
    SLUICE_KERNEL_NAMES(kQ5_1, q5_1),
    SLUICE_KERNEL_NAMES(kQ8_0, q8_0),
    SLUICE_KERNEL_NAMES(kQ2_K, q2_k),
    SLUICE_KERNEL_NAMES(kQ3_K, q3_k),
    SLUICE_SOME_KERNEL_NAMES(kQ4_K, q4_k, mixed),
    SLUICE_SOME_KERNEL_NAMES(kQ5_K, q5_k, mixed),
    SLUICE_SOME_KERNEL_NAMES(kQ6_K, q6_k, mixed),
    SLUICE_KERNEL_NAMES(kIQ4_NL, iq4_nl),
    SLUICE_KERNEL_NAMES(kIQ4_XS, iq4_xs),
    SLUICE_KERNEL_NAMES(kMXFP4, mxfp4),
};
#undef SLUICE_SOME_KERNEL_NAMES
#undef SLUICE_KERNEL_NAMES

size_t counters_bytes(int64_t most_tiles) {  // two for each block of tiles
  return 2 * kMostParts * static_cast<size_t>(most_tiles) * sizeof(uint32_t);
}

// Sums, then counters.
LinearScratch scratch_at(void* scratch, const DeviceFacts& device) {
  return {static_cast<float*>(scratch),
          reinterpret_cast<uint32_t*>(static_cast<std::byte*>(scratch) + partials_bytes(device))};
}

void add_product(LaunchList& list, const DeviceFacts& device, const LinearProduct& product,
                 bool is_prefill, void* scratch) {
  if (product.num_rows <= kLowRows[1] && !is_prefill) {
    add_low(list, device, product, scratch_at(scratch, device));
  } else {
    add_many(list, device, product, is_prefill, scratch_at(scratch, device));
  }
}

// Targets of one type each.
std::vector<Alike> by_type(std::span<const LinearTarget> targets) {
  std::vector<Alike> groups;
  for (const LinearTarget& target : targets) {
    const auto fits = [&](const Alike& group) {
      return group.front()->layout.type == target.layout.type && group.size() < kMostParts;
    };
    const auto group = std::find_if(groups.begin(), groups.end(), fits);
    (group == groups.end() ? groups.emplace_back() : *group).push_back(&target);
  }
  return groups;
}

// Whether one launch may have both: there is one kernel for their types, each of which has a block.
bool go_together(const std::vector<Alike>& types, const Alike& more, const DeviceFacts& device) {
  size_t num_targets = more.size();
  for (const Alike& group : types) {
    if (group.front()->layout.type == more.front()->layout.type) return false;
    if (mixed_index(group.front()->layout.type) < 0) return false;
    num_targets += group.size();
  }
  return mixed_index(more.front()->layout.type) >= 0 && num_targets <= kMostParts &&
         static_cast<int>(types.size()) < device.num_multiprocessors;
}

}  // namespace

const KernelNames& kernels_of(Type type) {
  for (const KernelNames& names : kKernels) {
    if (names.type == type) return names;
  }
  throw Error(ErrorCode::kUnsupported, "the CUDA backend has no kernel for this tensor type");
}

int dynamic_shared(const DeviceFacts& device) {
  return static_cast<int>(device.shared_bytes_per_block) - kKeptShared;
}

size_t partials_bytes(const DeviceFacts& device) {
  constexpr size_t kSums =  // of a block's first and last segment
      size_t{2 * kTileRows} *
      std::max({Many32::kTiles * Many32::kTokens, Many64::kTiles * Many64::kTokens,
                Many128::kTiles * Many128::kTokens, Wide128::kTiles * Wide128::kTokens});
  return static_cast<size_t>(device.num_multiprocessors) * kSums * sizeof(float);
}

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
  std::vector<Alike> groups = by_type(targets);
  while (!groups.empty()) {
    LinearProduct product{in, {groups.front()}, {}, rows};
    groups.erase(groups.begin());
    for (size_t i = 0; i < groups.size();) {
      if (go_together(product.types, groups[i], device)) {
        product.types.push_back(groups[i]);
        groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
    add_product(list, device, product, is_prefill, scratch);
  }
}

void add_gated_linear(LaunchList& list, const DeviceFacts& device, const HalfRows& in,
                      const GatedTarget& target, int rows, bool is_prefill, void* scratch) {
  LinearTarget pairs;
  pairs.layout = target.layout;
  pairs.layout.rows = 2 * kTileRows * target.layout.num_tiles();
  pairs.packed = target.packed;
  const GatedOut gated = {target.out,
                          target.gate_bias,
                          target.up_bias,
                          target.curve,
                          static_cast<int32_t>(target.out_stride),
                          static_cast<int32_t>(target.layout.rows)};
  add_product(list, device, {in, {{&pairs}}, gated, rows}, is_prefill, scratch);
}

}  // namespace sluice::backend::cuda
