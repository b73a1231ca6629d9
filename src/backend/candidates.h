#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// Choosing among the tokens of a vocabulary of 50,000 to 260,000 without sorting it.
//
// Everywhere here: NaN and minus infinity are no candidates, plus infinity counts as the largest
// float, and of two equal logits the lower id is better, so that every choice is reproducible.
namespace sluice::backend {

struct Candidate {
  float logit = 0;
  int32_t id = 0;
};

// One row of logits and what a single pass over its maxima, or over all of it, found out. Views,
// valid until the next one is made on the same thread.
struct LogitsSummary {
  explicit LogitsSummary(std::span<const float> logits, std::span<const float> maxima = {});

  std::span<const float> logits;       // [vocab_size]
  std::span<const float> maxima;       // of each kStride logits; minus infinity where all are NaN
  std::span<const float> fine_maxima;  // of each kMaximaStride; empty: not known
  static constexpr size_t kStride = 64;
};

// Nothing when no logit is above minus infinity: then the id is -1.
Candidate best_candidate(const LogitsSummary& summary);

// Sum of exp(logit - max_logit) over all of them, to about seven digits.
double sum_of_exp(std::span<const float> logits, float max_logit);

// Replace `candidates` with ...
// ... every logit above `threshold`, in the order of ids;
void collect_above(const LogitsSummary& summary, float threshold,
                   std::vector<Candidate>& candidates);
// ... the `count` best (fewer if there are not so many), in any order;
void collect_top_k(const LogitsSummary& summary, int count, std::vector<Candidate>& candidates);
// ... the fewest best ones whose probabilities reach `top_p` together, in any order.
void collect_top_p(const LogitsSummary& summary, double top_p, float max_logit,
                   std::vector<Candidate>& candidates);

// Cut `candidates` (at least one) down to ...
// ... the fewest best ones that reach `top_p`, where exp(logit - max_logit) / `total` is a
// probability;
void cut_to_top_p(double top_p, float max_logit, double total, std::vector<Candidate>& candidates);
// ... those whose surprise is nearest to the expected one, until they pass `typical_p` together.
// Meister et al. 2023, "Locally typical sampling";
void cut_to_typical(double typical_p, std::vector<Candidate>& candidates);
// ... those at least `min_p` times as likely as the best.
void cut_to_min_p(double min_p, std::vector<Candidate>& candidates);

float max_logit_of(std::span<const Candidate> candidates);
// Sum of exp(logit - max_logit).
double sum_of_exp(std::span<const Candidate> candidates, float max_logit);

}  // namespace sluice::backend
