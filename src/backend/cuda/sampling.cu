// A row of logits becomes a token, as backend/sampling.cpp does it: mask, penalties, top_k,
// typical_p, top_p, min_p, temperature, then a draw; and, if wanted, what log-probabilities are
// made of.
//
// A block has a row, and reads it a few times:
//
//   1. the highest of each thread's logits, and so of all; that is all that temperature 0 needs
//   2. those that can be among the candidates, into shared memory: for top_k, all that reach the
//   k-th
//      highest of the threads' highest (k of them do, few more); for top_p alone, all within 4, 8
//      or 16 of the best, as backend/candidates.cpp has it
//   3. there they are sorted, cut, put into the order of ids, weighed and drawn from by one thread:
//      the sums have the host's order
//
// Where nothing cuts by rank (the model's own distribution, min_p alone), each warp adds up a
// stretch of the row and the one in which the draw falls walks through it. A row with too many
// candidates for shared memory is left to the host, which finds its logits unchanged.
//
// Sums of exp over all logits are the host's to the last bit: the same polynomial, the same order
// of additions, each rounded once.
//
// Tested by tests/simt/sampling_test.cpp against sample_rows() on random rows and parameters.

#include "backend/cuda/ptx.cuh"
#include "backend/cuda/sampling.h"

namespace sluice::backend::cuda {
namespace {

constexpr int kThreads = kSampleThreads;
constexpr int kWarps = kThreads / 32;
constexpr float kLargest = 3.4028234663852886e38f;

__device__ float no_logit() { return ptx::bits_float(0xff800000u); }  // minus infinity

__device__ bool is_finite(float x) { return (ptx::float_bits(x) & 0x7f800000u) != 0x7f800000u; }

// Of floats that are no NaN: keys in the same order.
__device__ uint32_t ordered(float x) {
  const uint32_t bits = ptx::float_bits(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ float unordered(uint32_t key) {
  return ptx::bits_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// A candidate as one number: the better, the larger; of equal logits the lower id is better.
__device__ uint64_t candidate_key(float logit, int id) {
  return static_cast<uint64_t>(ordered(logit)) << 32 | ~static_cast<uint32_t>(id);
}
__device__ int key_id(uint64_t key) { return static_cast<int>(~static_cast<uint32_t>(key)); }
__device__ float key_logit(uint64_t key) { return unordered(static_cast<uint32_t>(key >> 32)); }

struct Row {
  const float* logits;
  const uint32_t* mask;  // null: none
  int size;

  // NaN counts as minus infinity.
  __device__ float value(int i) const {
    const float x = logits[i];
    if (mask && !(mask[i / 32] >> (i % 32) & 1u)) return no_logit();
    return x == x ? x : no_logit();
  }
  // As the host's sums see it: NaN as it is.
  __device__ float plain(int i) const {
    if (mask && !(mask[i / 32] >> (i % 32) & 1u)) return no_logit();
    return logits[i];
  }
};

struct Shared {
  uint64_t* keys;   // [kMostCandidates]
  double* weights;  // [kMostCandidates]
  float* chunks;    // [kMostSampledVocab / 256]
};

// ---- the whole block
// ------------------------------------------------------------------------------

__device__ uint64_t highest_in_block(uint64_t value) {
  __shared__ uint64_t highest[kWarps];
  for (int distance = 16; distance > 0; distance /= 2) {
    value = max(value, ptx::shuffle_xor(value, distance));
  }
  ptx::sync_block();
  if (ptx::lane() == 0) highest[ptx::warp()] = value;
  ptx::sync_block();
  uint64_t result = highest[0];
  for (int w = 1; w < kWarps; ++w) result = max(result, highest[w]);
  return result;
}

// The k-th highest of the threads' values (k <= kThreads), bit by bit.
__device__ uint32_t kth_highest(uint32_t value, int k) {
  uint32_t found = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const uint32_t tried = found | 1u << bit;
    if (ptx::count_in_block(value >= tried) >= k) found = tried;
  }
  return found;
}

// Sorts keys [count], the highest first; `count` is the same for all threads.
__device__ void sort_keys(uint64_t* keys, int count) {
  int size = 1;
  while (size < count) size *= 2;
  for (int i = count + static_cast<int>(threadIdx.x); i < size; i += kThreads) keys[i] = 0;
  for (int width = 2; width <= size; width *= 2) {
    for (int distance = width / 2; distance > 0; distance /= 2) {
      ptx::sync_block();
      for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
        const int other = i ^ distance;
        if (other <= i) continue;
        const uint64_t a = keys[i], b = keys[other];
        const bool falls = (i & width) == 0;
        if (falls ? a < b : a > b) {
          keys[i] = b;
          keys[other] = a;
        }
      }
    }
  }
  ptx::sync_block();
}

// All candidates that reach `threshold` (a key of a logit) into `keys`, in no order. Returns how
// many there are, which may be more than there was room for.
__device__ int collect(const Row& row, uint32_t threshold, bool above, uint64_t* keys) {
  __shared__ uint32_t num_found;
  ptx::sync_block();
  if (threadIdx.x == 0) num_found = 0;
  ptx::sync_block();
  for (int i = static_cast<int>(threadIdx.x); i < row.size; i += kThreads) {
    const float logit = fminf(row.value(i), kLargest);
    const uint32_t key = ordered(logit);
    if (!(logit > no_logit()) || (above ? key <= threshold : key < threshold)) continue;
    const uint32_t at = ptx::atomic_add(&num_found, 1u);
    if (at < kMostCandidates) keys[at] = candidate_key(logit, i);
  }
  ptx::sync_block();
  return static_cast<int>(num_found);
}

// exp(x) for x <= 0 as backend/candidates.cpp computes it, bit for bit.
__device__ float exp_of_negative(float x) {
  constexpr float kRounder = 12582912.0f;
  x = x > -87.0f ? x : -87.0f;
  x = x < 0.0f ? x : 0.0f;
  const float exponent = ptx::multiply_exact(x, 1.44269504f);
  const float rounded = ptx::add_exact(exponent, kRounder);
  const uint32_t n = ptx::float_bits(rounded) - ptx::float_bits(kRounder);
  const float f = ptx::add_exact(exponent, -ptx::add_exact(rounded, -kRounder));
  float power = ptx::add_exact(ptx::multiply_exact(f, 1.5403530e-4f), 1.3333558e-3f);
  power = ptx::add_exact(ptx::multiply_exact(power, f), 9.6181291e-3f);
  power = ptx::add_exact(ptx::multiply_exact(power, f), 5.5504109e-2f);
  power = ptx::add_exact(ptx::multiply_exact(power, f), 2.4022651e-1f);
  power = ptx::add_exact(ptx::multiply_exact(power, f), 6.9314718e-1f);
  power = ptx::add_exact(ptx::multiply_exact(power, f), 1.0f);
  return ptx::bits_float(ptx::float_bits(power) + (n << 23));
}

// Sum of exp(logit - best) over the row: four sums of each 256 logits, then the chunks in their
// order. The result is thread 0's.
__device__ double sum_of_exp(const Row& row, float best, float* chunks) {
  const int num_vectors = row.size / 4, num_chunks = (num_vectors + 63) / 64;
  const int quad = static_cast<int>(threadIdx.x) / 4, lane = static_cast<int>(threadIdx.x) % 4;
  for (int first = 0; first < num_chunks; first += kThreads / 4) {
    const int chunk = first + quad;
    float sum = 0.0f;
    const int end = min(64 * chunk + 64, num_vectors);
    for (int v = 64 * chunk; v < end; ++v) {
      const float difference = ptx::add_exact(row.plain(4 * v + lane), -best);
      sum = ptx::add_exact(sum, exp_of_negative(difference));
    }
    // (s0 + s1) + (s2 + s3)
    sum = ptx::add_exact(sum, ptx::shuffle_xor(sum, 1));
    sum = ptx::add_exact(sum, ptx::shuffle_xor(sum, 2));
    if (lane == 0 && chunk < num_chunks) chunks[chunk] = sum;
  }
  ptx::sync_block();
  double total = 0.0;
  if (threadIdx.x == 0) {
    for (int chunk = 0; chunk < num_chunks; ++chunk) total += static_cast<double>(chunks[chunk]);
    for (int i = 4 * num_vectors; i < row.size; ++i) {
      total += static_cast<double>(exp_of_negative(ptx::add_exact(row.plain(i), -best)));
    }
  }
  ptx::sync_block();
  return total;
}

// What thread 0 knows, to all.
__device__ double tell_all(double value) {
  __shared__ double told;
  ptx::sync_block();
  if (threadIdx.x == 0) told = value;
  ptx::sync_block();
  return told;
}

// weights[i] = exp((logit of keys[i] - best) / temperature). Not inlined: its registers are one too
// many for the kernel.
__device__ SLUICE_NOINLINE void weigh(const uint64_t* keys, int count, double best, double temperature,
                      double* weights) {
  ptx::sync_block();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    weights[i] = exp((static_cast<double>(key_logit(keys[i])) - best) / temperature);
  }
  ptx::sync_block();
}
__device__ double sum_in_order(const double* weights, int count) {
  double sum = 0.0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < count; ++i) sum += weights[i];
  }
  return tell_all(sum);
}

// How many of the first weights reach `wanted` together (at least one; all if none do): as many as
// pass it if `passes`.
__device__ int count_until(const double* weights, int count, double wanted, bool passes) {
  int kept = count;
  if (threadIdx.x == 0) {
    double sum = 0.0;
    for (int i = 0; i < count; ++i) {
      sum += weights[i];
      if (passes ? sum > wanted : sum >= wanted) {
        kept = i + 1;
        break;
      }
    }
  }
  return static_cast<int>(tell_all(static_cast<double>(kept)));
}

// ---- penalties
// ------------------------------------------------------------------------------------

__device__ void penalize(const SampleTask& task, float* logits, TokenCount* counts) {
  for (int i = static_cast<int>(threadIdx.x); i < task.num_counts; i += kThreads) {
    TokenCount& entry = counts[i];
    float logit = logits[entry.token];
    entry.raw = logit;
    logit = logit <= 0.0f ? ptx::multiply_exact(logit, task.repeat_penalty)
                          : logit / task.repeat_penalty;
    const float loss =
        ptx::add_exact(ptx::multiply_exact(static_cast<float>(entry.count), task.frequency_penalty),
                       task.presence_penalty);
    logits[entry.token] = ptx::add_exact(logit, -loss);
  }
  ptx::sync_block();
}
__device__ void restore(const SampleTask& task, float* logits, const TokenCount* counts) {
  ptx::sync_block();
  for (int i = static_cast<int>(threadIdx.x); i < task.num_counts; i += kThreads) {
    logits[counts[i].token] = counts[i].raw;
  }
  ptx::sync_block();
}

// ---- candidates
// -----------------------------------------------------------------------------------

struct Highest {
  float logit;  // unclamped
  int id;       // -1: none
  uint32_t of_thread;
};

__device__ Highest find_highest(const Row& row) {
  uint64_t best = 0;
  for (int i = static_cast<int>(threadIdx.x); i < row.size; i += kThreads) {
    const float x = row.value(i);
    if (x > no_logit()) best = max(best, candidate_key(x, i));
  }
  Highest highest;
  highest.of_thread = ordered(fminf(best == 0 ? no_logit() : key_logit(best), kLargest));
  const uint64_t all = highest_in_block(best);
  highest.id = all == 0 ? -1 : key_id(all);
  highest.logit = all == 0 ? no_logit() : key_logit(all);
  return highest;
}

// The `count` best, sorted, in shared.keys; how many there are, or -1: too many to sort.
__device__ int collect_top_k(const Row& row, const Highest& highest, int count,
                             const Shared& shared) {
  const int k = min(count, row.size);
  if (k > kMostDeviceTopK) return -1;
  const uint32_t threshold = kth_highest(highest.of_thread, k);
  const int found = collect(row, threshold, false, shared.keys);
  if (found > kMostCandidates) return -1;
  sort_keys(shared.keys, found);
  return min(found, k);
}

// The nucleus, sorted; -1: too many.
__device__ int collect_top_p(const Row& row, float best, double top_p, const Shared& shared) {
  const double wanted = top_p * tell_all(sum_of_exp(row, best, shared.chunks));
  for (float depth = 4.0f; depth <= 16.0f; depth *= 2.0f) {
    const int found = collect(row, ordered(ptx::add_exact(best, -depth)), true, shared.keys);
    if (found > kMostCandidates) return -1;
    sort_keys(shared.keys, found);
    weigh(shared.keys, found, best, 1.0, shared.weights);
    if (sum_in_order(shared.weights, found) >= wanted) {
      return count_until(shared.weights, found, wanted, false);
    }
  }
  return -1;
}

__device__ int cut_to_top_p(int count, double top_p, const Shared& shared) {
  weigh(shared.keys, count, key_logit(shared.keys[0]), 1.0, shared.weights);
  const double total = sum_in_order(shared.weights, count);
  return count_until(shared.weights, count, top_p * total, false);
}

// Those whose surprise is nearest to the expected one. `keys` are sorted before and after.
__device__ int cut_to_typical(int count, double typical_p, const Shared& shared) {
  const double best = key_logit(shared.keys[0]);
  weigh(shared.keys, count, best, 1.0, shared.weights);
  const double log_total = log(sum_in_order(shared.weights, count));
  const auto log_probability = [&](int i) {
    return static_cast<double>(key_logit(shared.keys[i])) - best - log_total;
  };
  double entropy = 0.0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < count; ++i) {
      const double log_p = log_probability(i), p = exp(log_p);
      if (p > 0.0) entropy -= p * log_p;
    }
  }
  entropy = tell_all(entropy);
  // Where each stands by its distance: few candidates, so each counts who comes before it. Places
  // go to where the weights were.
  auto* const places = reinterpret_cast<int*>(shared.weights);
  ptx::sync_block();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const double mine = fabs(-log_probability(i) - entropy);
    int place = 0;
    for (int k = 0; k < count; ++k) {
      const double other = fabs(-log_probability(k) - entropy);
      place += other < mine || (other == mine && k < i);
    }
    places[place] = i;
  }
  ptx::sync_block();
  int kept = count;
  if (threadIdx.x == 0) {
    double sum = 0.0;
    for (int i = 0; i < count; ++i) {
      sum += exp(log_probability(places[i]));
      if (sum > typical_p) {
        kept = i + 1;
        break;
      }
    }
  }
  kept = static_cast<int>(tell_all(static_cast<double>(kept)));
  // What is cut counts as nothing, and goes behind the rest.
  for (int i = kept + static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    shared.keys[places[i]] = 0;
  }
  sort_keys(shared.keys, count);
  return kept;
}

// Sorted candidates: those before the first that is too unlikely.
__device__ int cut_to_min_p(int count, double log_min_p, const Shared& shared) {
  const double threshold = static_cast<double>(key_logit(shared.keys[0])) + log_min_p;
  int kept = 0;
  for (int first = 0; first < count; first += kThreads) {
    const int i = first + static_cast<int>(threadIdx.x);
    const bool stays = i < count && !(static_cast<double>(key_logit(shared.keys[i])) < threshold);
    kept += ptx::count_in_block(stays);
  }
  return kept;
}

// In the order of ids, as the host draws.
__device__ int draw_candidate(const SampleTask& task, int count, const Shared& shared) {
  const double best = key_logit(shared.keys[0]);
  // Sorted by id, logits behind: low ids first.
  ptx::sync_block();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const uint64_t key = shared.keys[i];
    shared.keys[i] = key << 32 | key >> 32;
  }
  sort_keys(shared.keys, count);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const uint64_t key = shared.keys[i];
    shared.keys[i] = key << 32 | key >> 32;
  }
  weigh(shared.keys, count, best, static_cast<double>(task.temperature), shared.weights);
  const double total = sum_in_order(shared.weights, count);
  int chosen = 0;
  if (threadIdx.x == 0) {
    double left = ptx::multiply_exact(task.uniform, total);
    for (int i = 0; i < count; ++i) {
      if (shared.weights[i] == 0.0) continue;
      chosen = i;
      left -= shared.weights[i];
      if (left < 0.0) break;
    }
    chosen = key_id(shared.keys[chosen]);
  }
  return chosen;
}

// ---- without cuts by rank
// -------------------------------------------------------------------------

__device__ double weight_of(const Row& row, int i, double best, double temperature,
                            double threshold) {
  const float x = row.value(i);
  if (!(x > no_logit())) return 0.0;
  const double logit = static_cast<double>(fminf(x, kLargest));
  return logit < threshold ? 0.0 : exp((logit - best) / temperature);
}

// From all logits at least `log_min_p` from the best; the result is thread 0's.
__device__ int draw_from_all(const SampleTask& task, const Row& row, float best_logit) {
  __shared__ double sums[kWarps];
  __shared__ int chosen, chosen_warp;
  __shared__ double left;
  const double best = static_cast<double>(fminf(best_logit, kLargest));
  const double temperature = static_cast<double>(task.temperature);
  const double threshold = best + task.log_min_p;
  const int stretch = (row.size + kThreads - 1) / kThreads * 32;
  const int begin = min(ptx::warp() * stretch, row.size), end = min(begin + stretch, row.size);
  double sum = 0.0;
  for (int i = begin + ptx::lane(); i < end; i += 32) {
    sum += weight_of(row, i, best, temperature, threshold);
  }
  for (int distance = 16; distance > 0; distance /= 2) sum += ptx::shuffle_xor(sum, distance);
  if (ptx::lane() == 0) sums[ptx::warp()] = sum;
  ptx::sync_block();
  if (threadIdx.x == 0) {
    double total = 0.0;
    for (const double part : sums) total += part;
    left = ptx::multiply_exact(task.uniform, total);
    chosen_warp = 0;
    for (int w = 0; w < kWarps; ++w) {
      if (sums[w] == 0.0) continue;
      chosen_warp = w;
      if (left < sums[w]) break;
      left -= sums[w];
    }
  }
  ptx::sync_block();
  if (ptx::warp() == chosen_warp) {
    double rest = left;
    int found = -1;  // the last with a weight, or the one in which the draw falls
    for (int first = begin; first < end; first += 32) {
      const int i = first + ptx::lane();
      const double weight = i < end ? weight_of(row, i, best, temperature, threshold) : 0.0;
      double before = weight;  // of this and the lanes before it
      for (int distance = 1; distance < 32; distance *= 2) {
        const double other = ptx::shuffle_up(before, distance);
        if (ptx::lane() >= distance) before += other;
      }
      const uint32_t weighty = ptx::ballot(weight > 0.0);
      const uint32_t passed = ptx::ballot(weight > 0.0 && before > rest);
      if (passed != 0) {
        found = first + ptx::lowest_bit(passed);
        break;
      }
      if (weighty != 0) found = first + 31 - ptx::leading_zeros(weighty);
      rest -= ptx::shuffle(before, 31);
    }
    if (ptx::lane() == 0) chosen = found;
  }
  ptx::sync_block();
  return chosen;
}

// ---- a row
// ----------------------------------------------------------------------------------------

__device__ bool has_finite(const Row& row) {
  bool found = false;
  for (int i = static_cast<int>(threadIdx.x); i < row.size && !found; i += kThreads) {
    found = is_finite(row.plain(i));
  }
  return ptx::any_in_block(found);
}

// The token; the result is thread 0's.
__device__ int draw(const SampleTask& task, const Row& row, const Shared& shared) {
  const Highest highest = find_highest(row);
  const bool is_surely_finite = highest.id >= 0 && is_finite(highest.logit);
  if (!is_surely_finite && !has_finite(row)) return -1;  // kNoToken
  if (task.temperature == 0.0f) return highest.id;
  const float best = fminf(highest.logit, kLargest);
  const bool has_top_k = task.top_k > 0, has_top_p = task.top_p < 1.0f;
  const bool has_typical = task.typical_p < 1.0f;
  if (!has_top_k && !has_top_p && !has_typical) return draw_from_all(task, row, highest.logit);
  if (!has_top_k && has_typical) return kSampleOnHost;
  int count = has_top_k ? collect_top_k(row, highest, task.top_k, shared)
                        : collect_top_p(row, best, static_cast<double>(task.top_p), shared);
  if (count < 0) return kSampleOnHost;
  if (has_typical) count = cut_to_typical(count, static_cast<double>(task.typical_p), shared);
  if (has_top_p && has_top_k) {
    count = cut_to_top_p(count, static_cast<double>(task.top_p), shared);
  }
  if (task.log_min_p > -1.0e300) count = cut_to_min_p(count, task.log_min_p, shared);
  return draw_candidate(task, count, shared);
}

// What log-probabilities are made of, but for the drawn token's logit. False: too many to sort.
__device__ bool describe(const SampleTask& task, const Row& row, const Shared& shared,
                         SampleResult& result) {
  const Highest highest = find_highest(row);
  const float best = fminf(highest.logit, kLargest);
  const double total = sum_of_exp(row, best, shared.chunks);
  int count = 0;
  if (task.num_top_logprobs > 0) {
    count = collect_top_k(row, highest, task.num_top_logprobs, shared);
    if (count < 0 || count > kMostTopLogprobs) return false;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
      result.top[i] = {key_id(shared.keys[i]), key_logit(shared.keys[i])};
    }
  }
  if (threadIdx.x == 0) {
    result.num_top = count;
    result.best = best;
    result.total = total;
  }
  return true;
}

}  // namespace

SLUICE_KERNEL(sample, SampleArgs, kSampleThreads, 1) {
  const int index = static_cast<int>(blockIdx.x);
  const SampleTask& task = args.tasks[index];
  float* const logits = args.logits + index * args.stride;
  TokenCount* const counts = args.counts + task.first_count;
  SampleResult& result = args.results[index];
  Shared shared;
  shared.keys = reinterpret_cast<uint64_t*>(ptx::dynamic_shared());
  shared.weights = reinterpret_cast<double*>(shared.keys + kMostCandidates);
  shared.chunks = reinterpret_cast<float*>(shared.weights + kMostCandidates);

  Row row = {logits, nullptr, args.vocab_size};
  bool is_told = true;
  if (task.num_top_logprobs >= 0) is_told = describe(task, row, shared, result);
  penalize(task, logits, counts);
  if (task.has_mask) row.mask = args.masks + static_cast<int64_t>(index) * args.mask_words;
  const int token = is_told ? draw(task, row, shared) : kSampleOnHost;
  restore(task, logits, counts);
  if (threadIdx.x == 0) {
    result.token = token;
    if (task.num_top_logprobs >= 0 && token >= 0) result.logit = logits[token];
  }
}

}  // namespace sluice::backend::cuda
