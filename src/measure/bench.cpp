#include "measure/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <random>

namespace sluice::measure {
namespace {

using SteadyClock = std::chrono::steady_clock;

int blocks_per_sequence(const BenchCase& test) {
  const int tokens = test.depth + test.prompt_tokens + test.decode_tokens;
  return static_cast<int>(backend::blocks_for_tokens(tokens));
}

class BenchRunner {
 public:
  BenchRunner(model::Model& model, const BenchOptions& options)
      : model_(model), options_(options) {}

  // Fills the cache to the case's depth, then returns the seconds the timed part took.
  double run(const BenchCase& test) {
    for (int s = 0; test.depth > 0 && s < test.num_sequences; ++s) prefill(test, test.depth, 0, s);
    const auto start = SteadyClock::now();
    if (test.prompt_tokens > 0) prefill(test, test.prompt_tokens, test.depth, 0);
    for (int i = 0; i < test.decode_tokens; ++i) decode_step(test, test.depth + i);
    return std::chrono::duration<double>(SteadyClock::now() - start).count();
  }

 private:
  std::span<const int32_t> blocks(const BenchCase& test, int sequence) {
    const size_t count = static_cast<size_t>(blocks_per_sequence(test));
    if (block_table_.size() < count * static_cast<size_t>(test.num_sequences)) {
      block_table_.resize(count * static_cast<size_t>(test.num_sequences));
      std::iota(block_table_.begin(), block_table_.end(), 0);
    }
    return std::span(block_table_).subspan(count * static_cast<size_t>(sequence), count);
  }

  int32_t random_token() {
    return static_cast<int32_t>(random_() % static_cast<uint64_t>(model_.spec().vocab_size));
  }

  void prefill(const BenchCase& test, int num_tokens, int num_cached, int sequence) {
    for (int begin = 0; begin < num_tokens; begin += options_.step_tokens) {
      const int count = std::min(options_.step_tokens, num_tokens - begin);
      batch_.clear();
      for (int i = 0; i < count; ++i) batch_.tokens.push_back(random_token());
      batch_.sequences.push_back({0, count, num_cached + begin, blocks(test, sequence), true});
      if (begin + count == num_tokens) batch_.logit_rows = {count - 1};
      model_.backend().forward(batch_);
    }
  }

  void decode_step(const BenchCase& test, int num_cached) {
    batch_.clear();
    for (int s = 0; s < test.num_sequences; ++s) {
      batch_.tokens.push_back(random_token());
      batch_.sequences.push_back({s, 1, num_cached, blocks(test, s)});
      batch_.logit_rows.push_back(s);
    }
    model_.backend().forward(batch_);
  }

  model::Model& model_;
  const BenchOptions& options_;
  std::mt19937_64 random_{42};
  std::vector<int32_t> block_table_;
  backend::Batch batch_;
};

}  // namespace

std::string BenchCase::name() const {
  std::string name = prompt_tokens > 0 ? "prefill " + std::to_string(prompt_tokens)
                                       : "decode " + std::to_string(num_sequences) + " x " +
                                             std::to_string(decode_tokens);
  if (depth > 0) name += " at " + std::to_string(depth);
  return name;
}

double BenchResult::median() const {
  std::vector<double> sorted = tokens_per_second;
  std::sort(sorted.begin(), sorted.end());
  return sorted.empty() ? 0.0 : sorted[sorted.size() / 2];
}

double BenchResult::best() const {
  return *std::max_element(tokens_per_second.begin(), tokens_per_second.end());
}

int bench_blocks(const std::vector<BenchCase>& cases) {
  int blocks = 1;
  for (const BenchCase& test : cases) {
    blocks = std::max(blocks, blocks_per_sequence(test) * test.num_sequences);
  }
  return blocks;
}

std::vector<BenchResult> run_bench(model::Model& model, const std::vector<BenchCase>& cases,
                                   const BenchOptions& options) {
  BenchRunner runner(model, options);
  std::vector<BenchResult> results;
  for (const BenchCase& test : cases) {
    BenchCase warm_up = test;
    warm_up.decode_tokens = std::min(test.decode_tokens, 4);
    runner.run(warm_up);
    results.push_back({test, {}});
  }
  for (int repetition = 0; repetition < options.repetitions; ++repetition) {
    for (BenchResult& result : results) {
      result.tokens_per_second.push_back(result.test.tokens() / runner.run(result.test));
      if (options.on_result) options.on_result(result);
    }
  }
  return results;
}

}  // namespace sluice::measure
