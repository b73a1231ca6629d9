#include "backend/cpu/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "backend/cpu/huge_buffer.h"
#include "base/target_clones.h"

namespace sluice::backend::cpu {
namespace {

// Independent sums and a prefetch well ahead, so that nothing but memory limits the loop.
SLUICE_TARGET_CLONES uint64_t sum_words(const uint64_t* words, size_t count) {
  constexpr size_t kLanes = 32;
  constexpr size_t kAhead = 512;
  uint64_t sums[kLanes] = {};
  for (size_t i = 0; i + kLanes <= count; i += kLanes) {
    for (size_t line = 0; line < kLanes; line += 8) __builtin_prefetch(words + i + kAhead + line);
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += words[i + lane];
  }
  uint64_t sum = 0;
  for (const uint64_t partial : sums) sum += partial;
  return sum;
}

}  // namespace

double measure_read_bandwidth(Team& team) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kBytes = size_t{1} << 30;
  constexpr size_t kChunkBytes = size_t{4} << 20;
  constexpr int kNumChunks = kBytes / kChunkBytes;
  constexpr auto kTime = std::chrono::seconds(1);

  const HugeBuffer buffer(kBytes, "the bandwidth test");
  std::memset(buffer.data(), 1, kBytes);
  std::atomic<uint64_t> sink{0};  // so that the sums are needed
  double best = 0.0;
  const auto end = Clock::now() + kTime;
  do {
    const auto start = Clock::now();
    team.run(kNumChunks, [&](Pieces& pieces) {
      uint64_t sum = 0;
      for (const int chunk : pieces) {
        const std::byte* bytes = buffer.data() + static_cast<size_t>(chunk) * kChunkBytes;
        sum += sum_words(reinterpret_cast<const uint64_t*>(bytes), kChunkBytes / sizeof(uint64_t));
      }
      sink += sum;
    });
    const std::chrono::duration<double> seconds = Clock::now() - start;
    best = std::max(best, static_cast<double>(kBytes) / seconds.count());
  } while (Clock::now() < end);
  return best;
}

double measure_read_bandwidth(int num_threads) {
  Team team(num_threads);
  return measure_read_bandwidth(team);
}

}  // namespace sluice::backend::cpu
