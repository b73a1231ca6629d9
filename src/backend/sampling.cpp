#include "backend/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <optional>

#include "backend/maxima.h"
#include "backend/philox.h"

namespace sluice::backend {
namespace {

constexpr float kNoLogit = -std::numeric_limits<float>::infinity();

// Scratch of a thread, so that a sequence holds no vocabulary.
struct Workspace {
  std::vector<Candidate> candidates;
  std::vector<double> weights;
  std::vector<int32_t> counts;  // [vocab_size], all zero between calls
};

Workspace& workspace() {
  thread_local Workspace workspace;
  return workspace;
}

// After logits from `index` on, of one stride, have changed.
void update_maximum(const LogitRow& row, size_t index) {
  if (row.maxima.empty()) return;
  const size_t stride = index / kMaximaStride;
  row.maxima[stride] = highest_of(row.logits, stride * kMaximaStride, kMaximaStride);
}

void apply_mask(std::span<const uint32_t> mask, const LogitRow& row) {
  static_assert(32 % kMaximaStride == 0, "the logits of a word are whole strides");
  for (size_t begin = 0; begin < row.logits.size(); begin += 32) {
    const uint32_t allowed = begin / 32 < mask.size() ? mask[begin / 32] : 0;
    if (allowed == ~uint32_t{0}) continue;
    const size_t count = std::min<size_t>(32, row.logits.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      if (!(allowed >> i & 1)) row.logits[begin + i] = kNoLogit;
    }
    for (size_t i = 0; i < count; i += kMaximaStride) update_maximum(row, begin + i);
  }
}

void add_biases(std::span<const TokenBias> biases, const LogitRow& row) {
  for (const TokenBias& item : biases) {
    const auto index = static_cast<size_t>(item.token);
    if (item.token < 0 || index >= row.logits.size()) continue;
    row.logits[index] += item.bias;
    update_maximum(row, index);
  }
}

void penalize(const RowSampling& sampling, const LogitRow& row) {
  const SamplingParams& params = sampling.params;
  if (!params.has_penalty()) return;
  const std::span<float> logits = row.logits;
  std::vector<int32_t>& counts = workspace().counts;
  if (counts.size() < logits.size()) counts.resize(logits.size());
  const auto is_known = [&](int32_t id) {
    return id >= 0 && static_cast<size_t>(id) < logits.size();
  };
  for (const auto tokens : {sampling.history, sampling.draft}) {
    for (const int32_t id : tokens) {
      if (is_known(id)) ++counts[static_cast<size_t>(id)];
    }
  }
  for (const auto tokens : {sampling.history, sampling.draft}) {
    for (const int32_t id : tokens) {
      if (!is_known(id) || counts[static_cast<size_t>(id)] == 0) continue;
      int32_t& count = counts[static_cast<size_t>(id)];
      float& logit = logits[static_cast<size_t>(id)];
      logit = logit <= 0.0f ? logit * params.repeat_penalty : logit / params.repeat_penalty;
      logit -= static_cast<float>(count) * params.frequency_penalty + params.presence_penalty;
      count = 0;
      update_maximum(row, static_cast<size_t>(id));
    }
  }
}

// The best token; nothing when the row holds no finite logit.
std::optional<Candidate> checked_best(const LogitsSummary& summary) {
  const Candidate best = best_candidate(summary);
  const auto is_finite = [](float x) { return std::isfinite(x); };
  const bool is_surely_finite =
      best.id >= 0 && is_finite(summary.logits[static_cast<size_t>(best.id)]);
  if (!is_surely_finite && std::ranges::none_of(summary.logits, is_finite)) return std::nullopt;
  return best;
}

// What can still be drawn after all cuts, in the order of ids.
void collect_candidates(const SamplingParams& params, const LogitsSummary& summary,
                        float best_logit, std::vector<Candidate>& candidates) {
  const bool has_top_k = params.top_k > 0;
  const bool has_typical = params.typical_p < 1.0f;
  const bool has_top_p = params.top_p < 1.0f;
  if (has_top_k) {
    collect_top_k(summary, params.top_k, candidates);
  } else if (has_top_p && !has_typical) {
    collect_top_p(summary, params.top_p, best_logit, candidates);
  } else {
    collect_above(summary, kNoLogit, candidates);
  }
  if (has_typical) cut_to_typical(params.typical_p, candidates);
  if (has_top_p && (has_top_k || has_typical)) {
    const float max_logit = max_logit_of(candidates);
    cut_to_top_p(params.top_p, max_logit, sum_of_exp(candidates, max_logit), candidates);
  }
  if (params.min_p > 0.0f) cut_to_min_p(params.min_p, candidates);
  // In the order of ids a small change of logits moves the borders of the draw a little; in the
  // order of probability it could swap two neighbours whole.
  const auto has_lower_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
  if (!std::is_sorted(candidates.begin(), candidates.end(), has_lower_id)) {
    std::sort(candidates.begin(), candidates.end(), has_lower_id);
  }
}

// Unnormalised probabilities of the candidates after temperature; returns their sum.
double weigh(const std::vector<Candidate>& candidates, double temperature,
             std::vector<double>& weights) {
  const float max_logit = max_logit_of(candidates);
  double total = 0;
  weights.clear();
  for (const Candidate& candidate : candidates) {
    const double difference = static_cast<double>(candidate.logit) - max_logit;
    weights.push_back(std::exp(difference / temperature));
    total += weights.back();
  }
  return total;
}

int32_t draw(const LogitRow& row, const RowSampling& sampling) {
  if (!sampling.mask.empty()) apply_mask(sampling.mask, row);
  add_biases(sampling.biases, row);
  penalize(sampling, row);
  const LogitsSummary summary(row.logits, row.maxima);
  const auto best = checked_best(summary);
  if (!best) return kNoToken;
  if (sampling.params.temperature == 0.0f) return best->id;

  auto& [candidates, weights, counts] = workspace();
  collect_candidates(sampling.params, summary, best->logit, candidates);
  const double total = weigh(candidates, sampling.params.temperature, weights);
  double left = uniform_draw(sampling.seed, sampling.position) * total;
  int32_t chosen = candidates.front().id;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (weights[i] == 0.0) continue;
    chosen = candidates[i].id;
    left -= weights[i];
    if (left < 0) break;
  }
  return chosen;
}

// Log-probabilities of `token` and of the `count` best ones.
SampledToken with_logprobs(int32_t token, std::span<const float> logits, int count) {
  const LogitsSummary summary(logits);
  const float best = best_candidate(summary).logit;
  const double log_total = std::log(sum_of_exp(logits, best));
  const auto logprob = [&](float logit) {
    if (std::isnan(logit)) logit = kNoLogit;
    logit = std::min(logit, std::numeric_limits<float>::max());
    return static_cast<float>(static_cast<double>(logit) - best - log_total);
  };
  SampledToken result{token, logprob(logits[static_cast<size_t>(token)]), {}};
  if (count <= 0) return result;
  std::vector<Candidate>& candidates = workspace().candidates;
  collect_top_k(summary, count, candidates);
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  });
  for (const Candidate& candidate : candidates) {
    result.top.push_back({candidate.id, logprob(candidate.logit)});
  }
  return result;
}

SampledToken sample(const LogitRow& row, const RowSampling& sampling) {
  if (sampling.num_top_logprobs < 0) return {draw(row, sampling), 0, {}};
  const std::vector<float> unchanged(row.logits.begin(), row.logits.end());
  const int32_t token = draw(row, sampling);
  if (token == kNoToken) return {};
  return with_logprobs(token, unchanged, sampling.num_top_logprobs);
}

}  // namespace

SampledToken sample_row(const LogitRow& row, const RowSampling& sampling) {
  try {
    return sample(row, sampling);
  } catch (const std::bad_alloc&) {
    return {kNoMemory, 0, {}};
  }
}

void sample_rows(std::span<float> logits, std::span<const RowSampling> samplings,
                 std::vector<SampledToken>& tokens) {
  tokens.clear();
  const size_t vocab_size = samplings.empty() ? 0 : logits.size() / samplings.size();
  for (size_t i = 0; i < samplings.size(); ++i) {
    tokens.push_back(sample_row({logits.subspan(i * vocab_size, vocab_size)}, samplings[i]));
  }
}

std::vector<double> sampling_distribution(std::span<const float> logits,
                                          const RowSampling& sampling) {
  std::vector<float> changed(logits.begin(), logits.end());
  const LogitRow row{changed};
  if (!sampling.mask.empty()) apply_mask(sampling.mask, row);
  add_biases(sampling.biases, row);
  penalize(sampling, row);
  const LogitsSummary summary(changed);
  std::vector<double> result(logits.size(), 0.0);
  const auto best = checked_best(summary);
  if (!best) return result;
  if (sampling.params.temperature == 0.0f) {
    result[static_cast<size_t>(best->id)] = 1.0;
    return result;
  }
  std::vector<Candidate> candidates;
  std::vector<double> weights;
  collect_candidates(sampling.params, summary, best->logit, candidates);
  const double total = weigh(candidates, sampling.params.temperature, weights);
  for (size_t i = 0; i < candidates.size(); ++i) {
    result[static_cast<size_t>(candidates[i].id)] = weights[i] / total;
  }
  return result;
}

}  // namespace sluice::backend
