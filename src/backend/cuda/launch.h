#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <vector>

// Work for a device as data: which kernels run, one behind the other, with what. Whoever plans an
// operation adds to such a list and knows no driver; the backend launches it, or makes a graph of
// it; tests run it in the emulator.
namespace sluice::backend::cuda {

struct Grid {
  uint32_t x = 1, y = 1, z = 1;
};

struct Launch {
  static constexpr size_t kMostArgsBytes = 1280;

  const char* kernel = "";  // as SLUICE_KERNEL names it; a literal
  Grid grid, block;
  uint32_t shared_bytes = 0;  // dynamic
  uint32_t args_bytes = 0;
  // The kernel may start while the one before it ends: it waits for it itself
  // (ptx::wait_for_previous) before it reads or writes what others do.
  bool may_start_early = false;
  alignas(16) std::array<std::byte, kMostArgsBytes> args{};
};

using LaunchList = std::vector<Launch>;

// `args` is the one parameter of the kernel.
template <typename Args>
void add_launch(LaunchList& list, const char* kernel, Grid grid, Grid block, uint32_t shared_bytes,
                const Args& args) {
  static_assert(std::is_trivially_copyable_v<Args> && sizeof(Args) <= Launch::kMostArgsBytes);
  Launch& launch = list.emplace_back();
  launch.kernel = kernel;
  launch.grid = grid;
  launch.block = block;
  launch.shared_bytes = shared_bytes;
  launch.args_bytes = sizeof(Args);
  std::memcpy(launch.args.data(), &args, sizeof(Args));
}

// What plans depend on.
struct DeviceFacts {
  int compute_capability = 80;  // 10 * major + minor
  int num_multiprocessors = 108;
  size_t shared_bytes_per_block = 163 << 10;  // most dynamic ones that a block may have
};

}  // namespace sluice::backend::cuda
