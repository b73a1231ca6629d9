#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/candidates.h"

namespace sluice::backend {

// How a row of logits becomes a token. Order of the steps, as llama.cpp and Ollama have it: mask,
// biases, penalties, top_k, typical_p, top_p, min_p, temperature, then a draw. Defaults are
// Ollama's.
struct SamplingParams {
  float temperature = 0.8f;  // 0: the best after the penalties
  int top_k = 40;            // 0 or -1: off
  float top_p = 0.9f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  float repeat_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;

  bool has_penalty() const {
    return repeat_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
};

// Added to a token's logit.
struct TokenBias {
  int32_t token = 0;
  float bias = 0;
};

// What is to be drawn from one row of logits; all it points to must live until the step is over.
struct RowSampling {
  SamplingParams params;
  // Which random number is taken, philox.h: of one seed, each position's is another one.
  uint64_t seed = 0;
  uint64_t position = 0;
  // What the penalties count, the draft behind the history. A token seen there once or more has a
  // positive logit divided, any other multiplied, by repeat_penalty, and then loses
  // frequency_penalty times its count plus presence_penalty.
  std::span<const int32_t> history, draft;
  // Bit t % 32 of word t / 32: token t may be drawn. Empty: every token may. The words may still
  // be written between submit() and wait(), while the device computes the logits.
  std::span<const uint32_t> mask;
  std::span<const TokenBias> biases;  // each of another token
  int num_top_logprobs = -1;          // -1: no log-probabilities; 0: only the token's own
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

inline constexpr int32_t kNoToken = -1;   // no logit was finite and allowed
inline constexpr int32_t kNoMemory = -2;  // to sample that row: a matter of one sequence

// Log-probabilities are the model's own: plain softmax, before mask, biases, penalties and
// temperature.
struct SampledToken {
  int32_t token = kNoToken;  // or kNoMemory
  float logprob = 0;         // only when asked for
  // The most likely ones, best first, without those of probability 0; only when asked for.
  std::vector<TokenLogprob> top;
};

// A row of logits as a backend has computed it.
struct LogitRow {
  std::span<float> logits;       // [vocab_size]
  std::span<float> maxima = {};  // [num_maxima(vocab_size)], as maxima.h has it; empty: not known
};

// Draws a token; changes `row`. NaN logits count as minus infinity. The plain implementation that
// every backend's is tested against, and the CPU's own.
SampledToken sample_row(const LogitRow& row, const RowSampling& sampling);

// The same for each row of `logits`, [samplings, vocab_size].
void sample_rows(std::span<float> logits, std::span<const RowSampling> samplings,
                 std::vector<SampledToken>& tokens);

// Probabilities that sample_row() would draw from, [vocab_size]; zero for what was cut; all zero
// for kNoToken. For tests.
std::vector<double> sampling_distribution(std::span<const float> logits,
                                          const RowSampling& sampling);

}  // namespace sluice::backend
