#include "backend/candidates.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>

#include "backend/maxima.h"

namespace sluice::backend {
namespace {

constexpr float kNoLogit = -std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr size_t kStride = LogitsSummary::kStride;

// Four at once, spelled out, as in backend/maxima.h.
using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
constexpr size_t kLanes = 4;

Floats load(const float* values) {
  Floats result;
  std::memcpy(&result, values, sizeof(result));
  return result;
}

bool is_better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Appends the first index of each stretch of logits whose highest is wanted; the size of a stretch
// is returned. Asks for the logits, which may lie far away: another core has written them.
template <typename IsWanted>
size_t find_stretches(const LogitsSummary& summary, IsWanted is_wanted,
                      std::vector<size_t>& stretches) {
  const bool is_fine = !summary.fine_maxima.empty();
  const size_t size = is_fine ? kMaximaStride : kStride;
  for (size_t stride = 0; stride < summary.maxima.size(); ++stride) {
    if (!is_wanted(summary.maxima[stride])) continue;
    const size_t end = std::min((stride + 1) * kStride, summary.logits.size());
    for (size_t begin = stride * kStride; begin < end; begin += size) {
      if (is_fine && !is_wanted(summary.fine_maxima[begin / size])) continue;
      __builtin_prefetch(&summary.logits[begin]);
      stretches.push_back(begin);
    }
  }
  return size;
}

// Calls visit(candidate) for each logit for which is_wanted(logit).
template <typename IsWanted, typename Visit>
void visit_if(const LogitsSummary& summary, IsWanted is_wanted, Visit visit) {
  thread_local std::vector<size_t> stretches;
  stretches.clear();
  const size_t size = find_stretches(summary, is_wanted, stretches);
  for (const size_t begin : stretches) {
    const size_t end = std::min(begin + size, summary.logits.size());
    for (size_t i = begin; i < end; ++i) {
      const float logit = std::min(summary.logits[i], kLargest);
      if (is_wanted(logit)) visit(Candidate{logit, static_cast<int32_t>(i)});
    }
  }
}

// A value that at least `count` of `maxima` (no fewer than that) reach, and not many logits: the
// count-th highest among the highest of 2 to 4 times `count` groups of them.
float reached_by(std::span<const float> maxima, size_t count) {
  thread_local std::vector<float> groups;
  const size_t group_size = std::max<size_t>(maxima.size() / (2 * count), 1);
  groups.clear();
  for (size_t i = 0; i < maxima.size(); i += group_size) {
    groups.push_back(highest_of(maxima, i, group_size));
  }
  const auto wanted = groups.begin() + static_cast<ptrdiff_t>(count) - 1;
  std::nth_element(groups.begin(), wanted, groups.end(), std::greater<>());
  return *wanted;
}

// exp(x) within 2e-7 for x <= 0 (above counts as 0), about 1e-38 below -87 and for NaN:
// 2^n * 2^f with a polynomial for |f| <= 0.5.
Floats exp_of_negative(Floats x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats lowest = Floats{} - 87.0f;
  x = x > lowest ? x : lowest;
  x = x < Floats{} ? x : Floats{};
  const Floats exponent = x * 1.44269504f;
  const Floats rounded = exponent + kRounder;
  const Ints n = std::bit_cast<Ints>(rounded) - std::bit_cast<int32_t>(kRounder);
  const Floats f = exponent - (rounded - kRounder);
  Floats power = f * 1.5403530e-4f + 1.3333558e-3f;  // Taylor coefficients ln(2)^k / k!
  power = power * f + 9.6181291e-3f;
  power = power * f + 5.5504109e-2f;
  power = power * f + 2.4022651e-1f;
  power = power * f + 6.9314718e-1f;
  power = power * f + 1.0f;
  return std::bit_cast<Floats>(std::bit_cast<Ints>(power) + n * (1 << 23));
}

// Moves the best candidates under `is_better_than` to the end of `items`, one at a time, until
// `is_enough(item)`, and erases the rest. Linear in the number of items when few are kept.
template <typename Item, typename Better, typename Enough>
void keep_best_until(std::vector<Item>& items, Better is_better_than, Enough is_enough) {
  const auto is_worse = [&](const Item& a, const Item& b) { return is_better_than(b, a); };
  std::make_heap(items.begin(), items.end(), is_worse);
  auto heap_end = items.end();
  while (heap_end != items.begin()) {
    std::pop_heap(items.begin(), heap_end, is_worse);
    --heap_end;
    if (is_enough(*heap_end)) break;
  }
  items.erase(items.begin(), heap_end);
}

}  // namespace

LogitsSummary::LogitsSummary(std::span<const float> row, std::span<const float> known)
    : logits(row), fine_maxima(known) {
  static_assert(kStride % kMaximaStride == 0);
  const std::span<const float> values = known.empty() ? row : known;
  const size_t stride = known.empty() ? kStride : kStride / kMaximaStride;
  thread_local std::vector<float> buffer;
  buffer.resize((row.size() + kStride - 1) / kStride);
  for (size_t i = 0; i < buffer.size(); ++i) {
    buffer[i] = highest_of(values, i * stride, stride);
  }
  maxima = buffer;
}

Candidate best_candidate(const LogitsSummary& summary) {
  const auto highest = std::max_element(summary.maxima.begin(), summary.maxima.end());
  if (highest == summary.maxima.end() || *highest == kNoLogit) return {kNoLogit, -1};
  const auto first = static_cast<size_t>(highest - summary.maxima.begin()) * kStride;
  const auto found = std::find(summary.logits.begin() + static_cast<ptrdiff_t>(first),
                               summary.logits.end(), *highest);
  return {std::min(*highest, kLargest), static_cast<int32_t>(found - summary.logits.begin())};
}

double sum_of_exp(std::span<const float> logits, float max_logit) {
  constexpr size_t kChunk = 64 * kLanes;  // summed in float, then on in double
  double total = 0;
  size_t i = 0;
  while (i + kLanes <= logits.size()) {
    const size_t end = std::min(i + kChunk, logits.size());
    Floats sum{};
    for (; i + kLanes <= end; i += kLanes) sum += exp_of_negative(load(&logits[i]) - max_logit);
    total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }
  for (; i < logits.size(); ++i) {
    total += exp_of_negative(Floats{} + (logits[i] - max_logit))[0];
  }
  return total;
}

void collect_above(const LogitsSummary& summary, float threshold,
                   std::vector<Candidate>& candidates) {
  candidates.clear();
  visit_if(
      summary, [&](float logit) { return logit > threshold; },
      [&](Candidate candidate) { candidates.push_back(candidate); });
}

void collect_top_k(const LogitsSummary& summary, int count, std::vector<Candidate>& candidates) {
  const size_t keep = std::min(static_cast<size_t>(count), summary.logits.size());
  candidates.clear();
  // At least k logits reach the threshold, so none below it is kept.
  float threshold = kNoLogit;
  if (keep <= summary.maxima.size()) {
    threshold = std::min(reached_by(summary.maxima, keep), kLargest);
  }
  visit_if(
      summary, [&](float logit) { return logit >= threshold && logit > kNoLogit; },
      [&](Candidate candidate) { candidates.push_back(candidate); });
  if (candidates.size() > keep) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(keep) - 1,
                     candidates.end(), is_better);
    candidates.resize(keep);
  }
}

void collect_top_p(const LogitsSummary& summary, double top_p, float max_logit,
                   std::vector<Candidate>& candidates) {
  const double total = sum_of_exp(summary.logits, max_logit);
  // The nucleus is nearly always within a few units of the best: widen only when it is not.
  for (const float depth : {4.0f, 8.0f, 16.0f}) {
    collect_above(summary, max_logit - depth, candidates);
    if (sum_of_exp(candidates, max_logit) >= top_p * total) {
      cut_to_top_p(top_p, max_logit, total, candidates);
      return;
    }
  }
  collect_above(summary, kNoLogit, candidates);
  cut_to_top_p(top_p, max_logit, total, candidates);
}

void cut_to_top_p(double top_p, float max_logit, double total, std::vector<Candidate>& candidates) {
  const double wanted = top_p * total;
  double sum = 0;
  keep_best_until(candidates, is_better, [&](const Candidate& candidate) {
    sum += std::exp(static_cast<double>(candidate.logit) - max_logit);
    return sum >= wanted;
  });
}

void cut_to_typical(double typical_p, std::vector<Candidate>& candidates) {
  struct Scored {
    double distance;  // of the surprise -log p from the entropy
    double probability;
    Candidate candidate;
  };
  const float max_logit = max_logit_of(candidates);
  const double log_total = std::log(sum_of_exp(candidates, max_logit));
  const auto log_probability = [&](const Candidate& candidate) {
    return static_cast<double>(candidate.logit) - max_logit - log_total;
  };
  double entropy = 0;
  for (const Candidate& candidate : candidates) {
    const double log_p = log_probability(candidate);
    const double p = std::exp(log_p);
    if (p > 0) entropy -= p * log_p;
  }
  std::vector<Scored> scored;
  scored.reserve(candidates.size());
  for (const Candidate& candidate : candidates) {
    const double log_p = log_probability(candidate);
    scored.push_back({std::abs(-log_p - entropy), std::exp(log_p), candidate});
  }
  double sum = 0;
  keep_best_until(
      scored,
      [](const Scored& a, const Scored& b) {
        if (a.distance != b.distance) return a.distance < b.distance;
        return is_better(a.candidate, b.candidate);
      },
      [&](const Scored& item) {
        sum += item.probability;
        return sum > typical_p;
      });
  candidates.clear();
  for (const Scored& item : scored) candidates.push_back(item.candidate);
}

void cut_to_min_p(double min_p, std::vector<Candidate>& candidates) {
  const double threshold = max_logit_of(candidates) + std::log(min_p);
  std::erase_if(candidates,
                [&](const Candidate& candidate) { return candidate.logit < threshold; });
}

float max_logit_of(std::span<const Candidate> candidates) {
  float max_logit = kNoLogit;
  for (const Candidate& candidate : candidates) max_logit = std::max(max_logit, candidate.logit);
  return max_logit;
}

double sum_of_exp(std::span<const Candidate> candidates, float max_logit) {
  double total = 0;
  for (const Candidate& candidate : candidates) {
    total += std::exp(static_cast<double>(candidate.logit) - max_logit);
  }
  return total;
}

}  // namespace sluice::backend
