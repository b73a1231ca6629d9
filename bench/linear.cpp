// Matrix products of the CPU backend in the shapes of a Llama 3.2 1B, beside the machine's ceilings
// measured in the same run. Columns: how fast packed weights go by (GB/s, what counts for few
// tokens) and multiply-adds (GOPS, what counts for many).
//
//   linear [threads] [isa] [types, as Q4_0,Q4_K] [rows x columns, as 2048x2048] [tokens, as 1,512]
#include <immintrin.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "backend/cpu/ceilings.h"
#include "backend/cpu/dispatch.h"
#include "backend/cpu/huge_buffer.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/team.h"
#include "base/cpu_features.h"
#include "base/threads.h"
#include "quant/types.h"
#include "timing.h"

namespace {

using namespace sluice;
using namespace sluice::backend::cpu;
using bench::best_time;
using bench::split;

constexpr int kPeakRounds = 2'000'000;

__attribute__((target("avx512f,avx512vnni"))) void spin_vnni() {
  __m512i acc[12];
  for (auto& a : acc) a = _mm512_setzero_si512();
  const __m512i x = _mm512_set1_epi8(3);
  for (int i = 0; i < kPeakRounds; ++i) {
    // In assembly, as compilers put copies between.
#pragma GCC unroll 12
    for (auto& a : acc) asm volatile("vpdpbusd %1, %1, %0" : "+v"(a) : "v"(x));
  }
}

// What AVX2 has for it: products of bytes added up in pairs, and these in 16 bits.
__attribute__((target("avx2"))) void spin_avx2() {
  __m256i acc[6];
  for (auto& a : acc) a = _mm256_setzero_si256();
  const __m256i x = _mm256_set1_epi8(3);
  for (int i = 0; i < kPeakRounds; ++i) {
#pragma GCC unroll 6
    for (auto& a : acc) {
      __m256i pairs;
      asm volatile("vpmaddubsw %2, %2, %1; vpaddw %1, %0, %0" : "+x"(a), "=&x"(pairs) : "x"(x));
    }
  }
}

// Operations a second of products of bytes.
double product_peak(Team& team, bool has_vnni) {
  const double time = best_time(0.5, [&] {
    team.run(team.size(), [&](Pieces& pieces) {
      for ([[maybe_unused]] const int piece : pieces) has_vnni ? spin_vnni() : spin_avx2();
    });
  });
  return 2.0 * (has_vnni ? 64 * 12 : 32 * 6) * kPeakRounds * team.size() / time;
}

struct Shape {
  int rows, columns;
};

// Enough copies that weights come from memory and not from a cache.
struct Bench {
  std::vector<PackedMatrix> copies;
  HugeBuffer memory;

  Bench(quant::Type type, const Shape& shape, size_t cache_bytes) {
    const PackedMatrix plan = plan_packing(type, shape.columns, shape.rows);
    const size_t count = std::clamp<size_t>(cache_bytes / plan.size_bytes(), 1, 512);
    memory = HugeBuffer(plan.size_bytes() * count, "the matrices");
    std::mt19937_64 random(1);
    auto* words = reinterpret_cast<uint64_t*>(memory.data());
    for (size_t i = 0; i < memory.size() / 8; ++i) words[i] = random();
    for (size_t i = 0; i < count; ++i) {
      copies.push_back(plan);
      copies.back().data = memory.data() + i * plan.size_bytes();
    }
  }
};

void measure(const Kernels& kernels, Team& team, Bench& bench, int tokens) {
  const PackedMatrix& first = bench.copies.front();
  const HugeBuffer tile_memory(activation_bytes(tokens, first.columns), "activations");
  const Activations in{reinterpret_cast<uint8_t*>(tile_memory.data()),
                       activation_form(kernels, first, tokens), tokens, first.num_blocks()};
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(first.columns));
  for (int t = 0; t < tokens; ++t) {
    for (float& value : x) value = normal(random);
    quantize_row(kernels, in, t, x.data(), 0, in.num_blocks);
  }
  const size_t scratch_bytes = linear_scratch_bytes(kernels);
  const HugeBuffer scratch(scratch_bytes * static_cast<size_t>(team.size()), "scratch");
  const HugeBuffer out_memory(static_cast<size_t>(tokens) * static_cast<size_t>(first.rows) * 4,
                              "out");
  auto* out = reinterpret_cast<float*>(out_memory.data());
  const double flops = 2.0 * first.rows * first.columns * tokens;
  // As many copies a round as take a few milliseconds.
  const size_t per_round =
      std::clamp<size_t>(static_cast<size_t>(4e9 / flops), 1, bench.copies.size());
  std::vector<LinearTarget> targets(
      per_round, {nullptr, &in, nullptr, out, static_cast<size_t>(first.rows), false});
  PhaseList phases;
  size_t next = 0;
  const double time =
      best_time(0.4,
                [&] {
                  const size_t start = next;
                  next = (next + per_round) % bench.copies.size();
                  phases.clear();
                  for (size_t i = 0; i < per_round; ++i) {
                    targets[i].matrix = &bench.copies[(start + i) % bench.copies.size()];
                    const std::span target(&targets[i], 1);
                    phases.add(cut_linear(target, team.size()), [&, target](Pieces& pieces) {
                      run_linear(
                          kernels, target, pieces,
                          scratch.data() + static_cast<size_t>(pieces.member()) * scratch_bytes);
                    });
                  }
                  team.run(team.size(), phases.phases());
                }) /
      static_cast<double>(per_round);
  std::printf("  %4d tokens: %8.3f ms  %6.1f GB/s  %7.1f GOPS\n", tokens, time * 1e3,
              static_cast<double>(first.size_bytes()) / time * 1e-9, flops / time * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : usable_cores();
  const Kernels& kernels = choose_kernels(argc > 2 ? argv[2] : "");
  const std::vector<std::string> types = split(argc > 3 ? argv[3] : "Q4_0,Q4_1,Q4_K,Q6_K,Q8_0");
  std::vector<Shape> shapes = {{2048, 2048}, {8192, 2048}, {2048, 8192}, {128256, 2048}};
  Shape one{};
  if (argc > 4 && std::sscanf(argv[4], "%dx%d", &one.rows, &one.columns) == 2) shapes = {one};

  std::vector<int> token_counts = {1, 2, 4, 8, 16, 32, 128, 512};
  if (argc > 5) {
    token_counts.clear();
    for (const std::string& count : split(argv[5]))
      token_counts.push_back(std::atoi(count.c_str()));
  }

  Team team(threads);
  std::printf("%s, %s kernels, %d threads\n", cpu_model_name().c_str(), kernels.name, threads);
  if (const bool has_vnni = cpu_features().avx512_vnni; has_vnni || cpu_features().avx2) {
    std::printf("read bandwidth %.1f GB/s, %s peak %.0f GOPS\n",
                measure_read_bandwidth(team) * 1e-9, has_vnni ? "VNNI" : "AVX2",
                product_peak(team, has_vnni) * 1e-9);
  }
  for (const std::string& name : types) {
    for (uint32_t raw = 0; raw < 64; ++raw) {
      const quant::TypeInfo* info = quant::find_type(raw);
      if (!info || info->name != name) continue;
      for (const Shape& shape : shapes) {
        std::printf("%s, %d rows, %d columns\n", name.c_str(), shape.rows, shape.columns);
        Bench bench(info->type, shape, size_t{1} << 30);
        for (int tokens : token_counts) measure(kernels, team, bench, tokens);
      }
    }
  }
}
