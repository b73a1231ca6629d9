// A whole model on the CPU backend, without server or sampler: prefill, and what a step costs for
// several tokens of one sequence (a draft being checked) and for one token each of several.
//
//   forward MODEL.gguf [context] [most sequences] [threads] [isa] [cache: f16, q8_0]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/load.h"
#include "timing.h"

namespace {

using namespace sluice;
using bench::now;

constexpr int kRounds = 3;
constexpr int kStepsARound = 4;

struct Case {
  int sequences, tokens;      // of each
  std::vector<double> times;  // of steps, seconds
};

class Bench {
 public:
  Bench(model::Model& model, int context, int most_sequences) : model_(model), context_(context) {
    const int blocks = static_cast<int>(backend::blocks_for_tokens(context + 64));
    model.backend().allocate_cache(blocks * most_sequences);
    for (int s = 0; s < most_sequences; ++s) {
      tables_.emplace_back();
      for (int b = 0; b < blocks; ++b) tables_.back().push_back(s * blocks + b);
    }
  }

  // Fills sequence s up to the context; returns the time.
  double prefill(int s, int step_tokens) {
    const double begin = now();
    for (int done = 0; done < context_;) {
      const int count = std::min(step_tokens, context_ - done);
      backend::Batch batch;
      add(batch, s, done, count, done + count == context_);
      model_.backend().forward(batch);
      done += count;
    }
    return now() - begin;
  }

  void step(Case& c) {
    backend::Batch batch;
    for (int s = 0; s < c.sequences; ++s) add(batch, s, context_, c.tokens, true);
    const double begin = now();
    model_.backend().forward(batch);
    c.times.push_back(now() - begin);
  }

 private:
  void add(backend::Batch& batch, int s, int first, int count, bool with_logits) {
    const int at = static_cast<int>(batch.tokens.size());
    for (int i = 0; i < count; ++i) {
      batch.tokens.push_back(
          static_cast<int32_t>(random_() % static_cast<unsigned>(model_.spec().vocab_size)));
      if (with_logits && (first == context_ || i + 1 == count)) batch.logit_rows.push_back(at + i);
    }
    batch.sequences.push_back({at, count, first, tables_[static_cast<size_t>(s)]});
  }

  model::Model& model_;
  const int context_;
  std::mt19937 random_{1};
  std::vector<std::vector<int32_t>> tables_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    return std::puts("forward MODEL.gguf [context] [sequences] [threads] [isa] [cache]"), 1;
  const int context = argc > 2 ? std::atoi(argv[2]) : 128;
  const int most_sequences = argc > 3 ? std::atoi(argv[3]) : 32;
  const backend::CpuOptions cpu{argc > 4 ? std::atoi(argv[4]) : 0, argc > 5 ? argv[5] : ""};
  backend::LoadOptions options;
  if (argc > 6) options.cache_type = backend::parse_cache_type(argv[6]);
  const double start = now();
  model::Model model = model::load_on(backend::make_cpu_backend(cpu), argv[1], options);
  std::printf("%s, %s cache, loaded in %.2f s\n", model.backend().description().c_str(),
              std::string(backend::cache_type_name(options.cache_type)).c_str(), now() - start);

  Bench bench(model, context, most_sequences);
  std::vector<double> prefills;
  for (int s = 0; s < most_sequences; ++s) prefills.push_back(bench.prefill(s, 512));
  std::printf("prefill %d: %.1f tokens/s\n", context, context / median(prefills));

  std::vector<Case> cases;
  for (int tokens = 1; tokens <= 8; ++tokens) cases.push_back({1, tokens, {}});
  for (int sequences = 2; sequences <= most_sequences; sequences *= 2) {
    cases.push_back({sequences, 1, {}});
  }
  for (int round = 0; round < kRounds; ++round) {
    for (Case& c : cases) {
      for (int i = 0; i < kStepsARound; ++i) bench.step(c);
    }
  }
  const double single = median(cases.front().times);
  std::printf("step at %d tokens of context    median ms   best ms   of a single's   tokens/s\n",
              context);
  for (const Case& c : cases) {
    const double time = median(c.times);
    std::printf("  %2d sequences x %d tokens     %10.2f %9.2f %15.2f %10.1f\n", c.sequences,
                c.tokens, time * 1e3, *std::min_element(c.times.begin(), c.times.end()) * 1e3,
                time / single, c.sequences * c.tokens / time);
  }
}
