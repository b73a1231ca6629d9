#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "backend/maxima.h"
#include "base/error.h"
#include "engine/candidates.h"

namespace sluice::engine {
namespace {

// Scratch that all samplers of a thread share, so that a waiting request holds no vocabulary.
struct Workspace {
  std::vector<Candidate> candidates;
  std::vector<double> weights;
  std::vector<int32_t> counts;  // [vocab_size], all zero between calls
};

Workspace& workspace() {
  thread_local Workspace workspace;
  return workspace;
}

void require(bool is_valid, const std::string& message) {
  if (!is_valid) throw Error(ErrorCode::kInvalidArgument, message);
}

void require_fraction(const char* name, float value) {
  require(value >= 0.0f && value <= 1.0f, std::string(name) + " must be between 0 and 1");
}

// After a logit has changed.
void update_maximum(const LogitRow& row, size_t index) {
  if (row.maxima.empty()) return;
  const size_t stride = index / backend::kMaximaStride;
  row.maxima[stride] =
      backend::highest_of(row.logits, stride * backend::kMaximaStride, backend::kMaximaStride);
}

void penalize(const SamplingParams& params, const LogitRow& row,
              std::span<const text::TokenId> history) {
  const std::span<float> logits = row.logits;
  const auto tokens = penalized_tokens(params, history, 0);
  if (tokens.empty()) return;
  std::vector<int32_t>& counts = workspace().counts;
  if (counts.size() < logits.size()) counts.resize(logits.size());
  const auto is_known = [&](text::TokenId id) {
    return id >= 0 && static_cast<size_t>(id) < logits.size();
  };
  for (const text::TokenId id : tokens) {
    if (is_known(id)) ++counts[id];
  }
  for (const text::TokenId id : tokens) {
    if (!is_known(id) || counts[id] == 0) continue;
    float& logit = logits[id];
    logit = logit <= 0.0f ? logit * params.repeat_penalty : logit / params.repeat_penalty;
    logit -= static_cast<float>(counts[id]) * params.frequency_penalty + params.presence_penalty;
    counts[id] = 0;
    update_maximum(row, static_cast<size_t>(id));
  }
}

// The best token; throws when the row holds no finite logit.
Candidate checked_best(const LogitsSummary& summary) {
  const Candidate best = best_candidate(summary);
  const bool is_surely_finite = best.id >= 0 && std::isfinite(summary.logits[best.id]);
  if (!is_surely_finite && std::none_of(summary.logits.begin(), summary.logits.end(),
                                        [](float x) { return std::isfinite(x); })) {
    throw Error(ErrorCode::kInternal,
                "the model gave no finite logit; its file or a kernel is broken");
  }
  return best;
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

}  // namespace

void check_sampling_params(const SamplingParams& params) {
  require(std::isfinite(params.temperature) && params.temperature >= 0.0f,
          "temperature must be a number of at least 0");
  require(params.top_k >= -1, "top_k must be at least 0 (0 or -1: off)");
  require_fraction("top_p", params.top_p);
  require_fraction("min_p", params.min_p);
  require_fraction("typical_p", params.typical_p);
  require(params.repeat_last_n >= -1,
          "repeat_last_n must be at least 0 (off), or -1 for the whole context");
  require(std::isfinite(params.repeat_penalty) && params.repeat_penalty > 0.0f,
          "repeat_penalty must be a number above 0");
  require(std::isfinite(params.presence_penalty), "presence_penalty must be a finite number");
  require(std::isfinite(params.frequency_penalty), "frequency_penalty must be a finite number");
}

std::span<const text::TokenId> penalized_tokens(const SamplingParams& params,
                                                std::span<const text::TokenId> tokens,
                                                size_t num_prompt_tokens) {
  const bool has_penalty = params.repeat_penalty != 1.0f || params.presence_penalty != 0.0f ||
                           params.frequency_penalty != 0.0f;
  if (!has_penalty) return {};
  if (!params.penalize_prompt) tokens = tokens.subspan(num_prompt_tokens);
  if (params.repeat_last_n < 0) return tokens;
  return tokens.last(std::min(tokens.size(), static_cast<size_t>(params.repeat_last_n)));
}

Sampler::Sampler(const SamplingParams& params) : params_(params) {
  check_sampling_params(params);
  if (params.seed) {
    random_.seed(*params.seed);
  } else {
    std::random_device device;
    random_.seed(uint64_t{device()} << 32 | device());
  }
}

text::TokenId Sampler::sample(std::span<float> logits, std::span<const text::TokenId> history) {
  return sample(LogitRow{logits}, history);
}

text::TokenId Sampler::sample(const LogitRow& row, std::span<const text::TokenId> history) {
  penalize(params_, row, history);
  const LogitsSummary summary(row.logits, row.maxima);
  if (params_.temperature == 0.0f) return checked_best(summary).id;

  auto& [candidates, weights, counts] = workspace();
  collect_candidates(summary, candidates);
  const double total = weigh(candidates, params_.temperature, weights);
  // 53 random bits make a double in [0, 1); the library's distributions differ between libraries.
  const double uniform = static_cast<double>(random_() >> 11) * 0x1p-53;
  double left = uniform * total;
  text::TokenId chosen = candidates.front().id;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (weights[i] == 0.0) continue;
    chosen = candidates[i].id;
    left -= weights[i];
    if (left < 0) break;
  }
  return chosen;
}

std::vector<double> Sampler::distribution(std::span<const float> logits,
                                          std::span<const text::TokenId> history) const {
  std::vector<float> penalized(logits.begin(), logits.end());
  penalize(params_, LogitRow{penalized}, history);
  std::vector<double> result(logits.size(), 0.0);
  if (params_.temperature == 0.0f) {
    result[checked_best(LogitsSummary(penalized)).id] = 1.0;
    return result;
  }
  std::vector<Candidate> candidates;
  std::vector<double> weights;
  collect_candidates(LogitsSummary(penalized), candidates);
  const double total = weigh(candidates, params_.temperature, weights);
  for (size_t i = 0; i < candidates.size(); ++i) result[candidates[i].id] = weights[i] / total;
  return result;
}

void Sampler::collect_candidates(const LogitsSummary& summary,
                                 std::vector<Candidate>& candidates) const {
  const Candidate best = checked_best(summary);
  const bool has_top_k = params_.top_k > 0;
  const bool has_typical = params_.typical_p < 1.0f;
  const bool has_top_p = params_.top_p < 1.0f;
  if (has_top_k) {
    collect_top_k(summary, params_.top_k, candidates);
  } else if (has_top_p && !has_typical) {
    collect_top_p(summary, params_.top_p, best.logit, candidates);
  } else {
    collect_above(summary, -std::numeric_limits<float>::infinity(), candidates);
  }
  if (has_typical) cut_to_typical(params_.typical_p, candidates);
  if (has_top_p && (has_top_k || has_typical)) {
    const float max_logit = max_logit_of(candidates);
    cut_to_top_p(params_.top_p, max_logit, sum_of_exp(candidates, max_logit), candidates);
  }
  if (params_.min_p > 0.0f) cut_to_min_p(params_.min_p, candidates);
  // In the order of ids a small change of logits moves the borders of the draw a little; in the
  // order of probability it could swap two neighbours whole.
  const auto has_lower_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
  if (!std::is_sorted(candidates.begin(), candidates.end(), has_lower_id)) {
    std::sort(candidates.begin(), candidates.end(), has_lower_id);
  }
}

OutputToken logprobs(std::span<const float> logits, text::TokenId token, int count) {
  const LogitsSummary summary(logits);
  const Candidate best = checked_best(summary);
  const double log_total = std::log(sum_of_exp(logits, best.logit));
  const auto logprob = [&](float logit) {
    if (std::isnan(logit)) logit = -std::numeric_limits<float>::infinity();
    logit = std::min(logit, std::numeric_limits<float>::max());
    return static_cast<float>(static_cast<double>(logit) - best.logit - log_total);
  };
  OutputToken result;
  result.token = token;
  result.logprob = logprob(logits[token]);
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

}  // namespace sluice::engine
