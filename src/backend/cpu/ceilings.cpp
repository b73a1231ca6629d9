#include "backend/cpu/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "backend/cpu/dispatch.h"
#include "backend/cpu/huge_buffer.h"
#include "backend/cpu/linear.h"
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

double measure_product_rate(int num_threads) {
  using Clock = std::chrono::steady_clock;
  constexpr int kTokens = 256, kColumns = 1024, kRowsEach = 512;
  constexpr auto kTime = std::chrono::milliseconds(500);
  Team team(num_threads);
  const Kernels& kernels = choose_kernels("");
  PackedMatrix matrix =
      plan_packing(quant::Type::kQ4_0, kColumns, int64_t{kRowsEach} * num_threads);
  const HugeBuffer weights(matrix.size_bytes(), "the test of products");
  matrix.data = weights.data();
  constexpr int kSmallNumbers = 0x11;  // codes and scales alike
  std::memset(matrix.data, kSmallNumbers, matrix.size_bytes());
  const HugeBuffer tiles(activation_bytes(kTokens, kColumns), "the test of products");
  const Activations in{reinterpret_cast<uint8_t*>(tiles.data()), prompt_form(kernels, matrix),
                       kTokens, matrix.num_blocks()};
  const std::vector<float> row(kColumns, 0.5F);
  for (int token = 0; token < kTokens; ++token) {
    quantize_row(kernels, in, token, row.data(), 0, in.num_blocks);
  }
  const size_t scratch_bytes = linear_scratch_bytes(kernels);
  const HugeBuffer scratch(std::max<size_t>(scratch_bytes, 64) * static_cast<size_t>(team.size()),
                           "the test of products");
  const auto stride = static_cast<size_t>(matrix.rows);
  const HugeBuffer out(stride * kTokens * sizeof(float), "the test of products");
  LinearTarget target{&matrix, &in, nullptr, reinterpret_cast<float*>(out.data()), stride, false};
  const int num_pieces = cut_linear({&target, 1}, team.size());
  const double operations = 2.0 * kColumns * matrix.rows * kTokens;
  double best = 0;
  const auto end = Clock::now() + kTime;
  do {
    const auto start = Clock::now();
    team.run(num_pieces, [&](Pieces& pieces) {
      run_linear(kernels, {&target, 1}, pieces,
                 scratch.data() + static_cast<size_t>(pieces.member()) * scratch_bytes);
    });
    const std::chrono::duration<double> seconds = Clock::now() - start;
    best = std::max(best, operations / seconds.count());
  } while (Clock::now() < end);
  return best;
}

}  // namespace sluice::backend::cpu
