// Attention of the CPU backend alone, all layers of a step, beside the speed at which the machine
// reads memory, measured in the same run. What counts for decoding is how fast the KV cache goes by
// (GB/s), for a prompt multiply-adds (GFLOPS).
//
//   attention [threads] [isa] [cache: f16, q8_0] [sequences x context, as 1x4096,64x512]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/attention.h"
#include "backend/cpu/ceilings.h"
#include "backend/cpu/dispatch.h"
#include "backend/cpu/team.h"
#include "base/cpu_features.h"
#include "base/threads.h"
#include "timing.h"

namespace {

using namespace sluice;
using namespace sluice::backend::cpu;

struct Shape {
  const char* name;
  int layers, heads, kv_heads, head_dim;
};
constexpr Shape kShapes[] = {{"SmolLM2 135M", 30, 9, 3, 64},
                             {"Llama 3.2 1B", 16, 32, 8, 64},
                             {"Llama 3.1 8B", 32, 32, 8, 128}};

struct Case {
  int sequences, context;
  int tokens;  // of each sequence in the step, the last of the context
};

std::vector<float> random_floats(size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

class Bench {
 public:
  Bench(const Shape& shape, const Case& c, const Kernels& kernels, Team& team, bool is_q8)
      : shape_(shape),
        case_(c),
        kernels_(kernels),
        team_(team),
        cache_(shape.layers, shape.kv_heads, shape.head_dim, is_q8),
        plan_(shape.heads, shape.kv_heads, team.size(), c.sequences * c.tokens,
              cache_.padded_dim()),
        stride_(static_cast<size_t>(shape.heads * shape.head_dim)),
        q_(random_floats(static_cast<size_t>(c.sequences * c.tokens) * stride_)),
        out_(q_.size()) {
    plan_.reserve(c.context);
    const auto blocks = static_cast<int>(backend::blocks_for_tokens(c.context));
    cache_.allocate(blocks * c.sequences);
    fill();
    // As in a server after a while: a sequence's blocks lie anywhere.
    std::vector<int32_t> order(static_cast<size_t>(cache_.num_blocks()));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    std::shuffle(order.begin(), order.end(), std::mt19937(2));
    for (int s = 0; s < c.sequences; ++s) {
      tables_.emplace_back(order.begin() + s * blocks, order.begin() + (s + 1) * blocks);
    }
    for (int s = 0; s < c.sequences; ++s) {
      batch_.sequences.push_back(
          {s * c.tokens, c.tokens, c.context - c.tokens, tables_[static_cast<size_t>(s)]});
    }
  }

  void step() {
    plan_.begin(batch_, team_.size());
    phases_.clear();
    for (int layer = 0; layer < shape_.layers; ++layer) {
      const AttentionPlan::Operation op{q_.data(), out_.data(), stride_, layer, 0.1f, 0};
      phases_.add(plan_.num_attend_pieces(op), [this, op](Pieces& pieces) {
        plan_.attend(op, kernels_, cache_, batch_, pieces);
      });
      phases_.add(plan_.num_fold_pieces(op),
                  [this, op](Pieces& pieces) { plan_.fold(op, kernels_, cache_, batch_, pieces); });
    }
    team_.run(team_.size(), phases_.phases());
  }

  // Keys that are seen, of all layers, tokens and query heads.
  double num_scores() const {
    const double seen = case_.context - 0.5 * (case_.tokens - 1);
    return seen * case_.tokens * case_.sequences * shape_.layers * shape_.heads;
  }
  double cache_bytes() const {
    return static_cast<double>(cache_.block_bytes()) / backend::kBlockTokens * case_.context *
           case_.sequences;
  }

 private:
  void fill() {
    const auto dim = static_cast<size_t>(shape_.head_dim);
    const std::vector<float> x = random_floats(2 * backend::kBlockTokens * dim);
    for (int block = 0; block < cache_.num_blocks(); ++block) {
      for (int layer = 0; layer < shape_.layers; ++layer) {
        for (int head = 0; head < shape_.kv_heads; ++head) {
          cache_.store(kernels_, layer, head, block * backend::kBlockTokens, backend::kBlockTokens,
                       x.data(), x.data() + backend::kBlockTokens * dim, dim);
        }
      }
    }
  }

  const Shape& shape_;
  const Case& case_;
  const Kernels& kernels_;
  Team& team_;
  KvCache cache_;
  AttentionPlan plan_;
  const size_t stride_;
  const std::vector<float> q_;
  std::vector<float> out_;
  std::vector<std::vector<int32_t>> tables_;
  backend::Batch batch_;
  PhaseList phases_;
};

void measure(const Shape& shape, const Case& c, const Kernels& kernels, Team& team, bool is_q8,
             double bandwidth) {
  Bench bench(shape, c, kernels, team, is_q8);
  const double time = bench::best_time(0.5, [&] { bench.step(); });
  const double speed = bench.cache_bytes() / time;
  std::printf("  %3d x %5d, %3d new: %8.3f ms  %6.1f GB/s (%3.0f%%)  %6.1f GFLOPS\n", c.sequences,
              c.context, c.tokens, time * 1e3, speed * 1e-9, 100 * speed / bandwidth,
              bench.num_scores() * 4 * shape.head_dim / time * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 && std::atoi(argv[1]) > 0 ? std::atoi(argv[1]) : usable_cores();
  const Kernels& kernels = choose_kernels(argc > 2 ? argv[2] : "");
  const std::string type = argc > 3 ? argv[3] : "f16";
  const bool is_q8 = backend::parse_cache_type(type) == backend::CacheType::kQ8_0;
  std::vector<Case> cases = {{1, 4096, 1}, {4, 1024, 1}, {16, 256, 1},  {64, 16, 1},
                             {64, 128, 1}, {64, 512, 1}, {1, 2048, 512}};
  if (argc > 4) {
    cases.clear();
    for (const std::string& text : bench::split(argv[4])) {
      Case c{0, 0, 1};
      if (std::sscanf(text.c_str(), "%dx%d", &c.sequences, &c.context) == 2) cases.push_back(c);
    }
  }
  Team team(threads);
  const double bandwidth = measure_read_bandwidth(team);
  std::printf("%s, %s kernels, %d threads, %s cache, read bandwidth %.1f GB/s\n",
              cpu_model_name().c_str(), kernels.name, threads, type.c_str(), bandwidth * 1e-9);
  for (const Shape& shape : kShapes) {
    std::printf("%s: sequences x context, tokens of each in the step\n", shape.name);
    for (const Case& c : cases) measure(shape, c, kernels, team, is_q8, bandwidth);
  }
}
