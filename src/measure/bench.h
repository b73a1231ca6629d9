#pragma once

#include <functional>
#include <string>
#include <vector>

#include "model/model.h"

namespace sluice::measure {

// One thing to time, in process, without sampling or HTTP.
struct BenchCase {
  int prompt_tokens = 0;  // > 0: prefill of one prompt of this length
  int decode_tokens = 0;  // > 0: decode this many tokens a sequence
  int num_sequences = 1;  // decoded together
  int depth = 0;          // tokens already in each sequence's cache

  std::string name() const;  // "prefill 512", "decode 4 x 64 at 4096"
  int tokens() const { return (prompt_tokens + decode_tokens) * num_sequences; }
};

struct BenchResult {
  BenchCase test;
  std::vector<double> tokens_per_second;  // one a repetition, in order

  double median() const;
  double best() const;
};

struct BenchOptions {
  int repetitions = 5;
  int step_tokens = 512;  // prefill chunk
  std::function<void(const BenchResult&)> on_result;
};

// Cache blocks that the cases need.
int bench_blocks(const std::vector<BenchCase>& cases);

// Runs every case once to warm up, then the repetitions of all cases interleaved, so that a
// neighbour's noise falls on all alike. The tokens are random, the same in every run.
std::vector<BenchResult> run_bench(model::Model& model, const std::vector<BenchCase>& cases,
                                   const BenchOptions& options);

}  // namespace sluice::measure
