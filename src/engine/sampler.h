#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "engine/request.h"

namespace sluice::engine {

struct Candidate;
struct LogitRow;
struct LogitsSummary;

// Throws Error(kInvalidArgument) naming a parameter that is out of range or not a number.
void check_sampling_params(const SamplingParams& params);

// The tokens that penalties see: the last `repeat_last_n` of a context whose first
// `num_prompt_tokens` are the prompt's.
std::span<const text::TokenId> penalized_tokens(const SamplingParams& params,
                                                std::span<const text::TokenId> tokens,
                                                size_t num_prompt_tokens);

// Picks tokens for one sequence. Order of the steps, as llama.cpp and Ollama have it: penalties,
// top_k, typical_p, top_p, min_p, temperature, then a draw. Temperature 0 takes the best after the
// penalties. NaN logits count as minus infinity; a row without any finite logit throws
// Error(kInternal).
//
// Penalties are llama.cpp's: each token among the last `repeat_last_n` of the history has a
// positive logit divided, any other multiplied, by repeat_penalty, and then loses frequency_penalty
// times its count plus presence_penalty.
class Sampler {
 public:
  // Throws Error(kInvalidArgument) naming a parameter that is out of range.
  explicit Sampler(const SamplingParams& params);

  // `row` is changed in place. `history`: prompt and reply so far, for penalties. The same seed and
  // the same logits give the same tokens; greedy takes no random numbers.
  text::TokenId sample(const LogitRow& row, std::span<const text::TokenId> history);
  text::TokenId sample(std::span<float> logits, std::span<const text::TokenId> history);

  // Probabilities that sample() would draw from, [vocab_size]; zero for what was cut. For tests.
  std::vector<double> distribution(std::span<const float> logits,
                                   std::span<const text::TokenId> history) const;

 private:
  // What can still be drawn after all cuts, in the order of ids. The logits are penalised already.
  void collect_candidates(const LogitsSummary& summary, std::vector<Candidate>& candidates) const;

  SamplingParams params_;
  std::mt19937_64 random_;
};

// Log-probability of `token` under plain softmax of `logits`, and the `count` best, best first
// (those of probability zero are left out).
OutputToken logprobs(std::span<const float> logits, text::TokenId token, int count);

}  // namespace sluice::engine
