#pragma once

#include <cstddef>
#include <cstdint>

// What a GPU can do at most, to hold other kernels against (ceilings.cu, bench/gpu_steps.cpp).
namespace sluice::backend::cuda {

// Any grid, blocks of kCeilingThreads.
struct ReadCeilingArgs {
  const std::byte* from;
  int64_t num_pieces;  // of 16 bytes
  uint32_t* sum;       // += all words
};

// Each warp multiplies [16, kCeilingColumns] by [kCeilingRows, kCeilingColumns] so often and adds
// the results up. Any grid, blocks of kCeilingThreads.
struct MultiplyCeilingArgs {
  int32_t rounds;
  float* sums;  // [warps]: of all results
};

inline constexpr int kCeilingThreads = 256;
inline constexpr int kCeilingRows = 128, kCeilingColumns = 64;
inline constexpr int kCeilingShared = kCeilingRows * kCeilingColumns * 2;  // for warpgroups
inline constexpr double kCeilingFlops = 2.0 * 16 * kCeilingRows * kCeilingColumns;  // warp, round

// Matrices are of random halves of 0.5 to 1 and either sign, bits as they come: zeros would take
// less power. Rows repeat after 16. `matrix`: 0 or 1.
constexpr uint32_t ceiling_half(int matrix, int row, int column) {
  uint32_t hash = static_cast<uint32_t>((matrix * kCeilingColumns + column) * 16 + row % 16);
  hash = (hash ^ 0x9e3779b9u) * 0x85ebca6bu;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
  hash ^= hash >> 16;
  return 0x3800u | (hash & 0x3ffu) | (hash & 0x400u) << 5;
}

}  // namespace sluice::backend::cuda
