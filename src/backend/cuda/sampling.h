#pragma once

#include <cstddef>
#include <cstdint>

// What the sampling kernel is told of a row of logits, and says of it.
namespace sluice::backend::cuda {

inline constexpr int kSampleThreads = 1024;
// Candidates that are sorted on the device; rows that keep more are sampled on the host, but where
// nothing cuts by rank.
inline constexpr int kMostCandidates = 4096;
inline constexpr int kMostDeviceTopK = 512;
inline constexpr int kMostTopLogprobs = 128;
inline constexpr int kMostSampledVocab = 512 * 1024;

struct TokenCount {
  int32_t token;
  int32_t count;  // how often the penalties count it
  float raw;      // its logit before; kept while the row is changed
  int32_t unused;
};

// backend::RowSampling, as data.
struct SampleTask {
  double uniform;    // in [0, 1): the draw
  double log_min_p;  // minus infinity: no cut
  float temperature, top_p, typical_p;
  float repeat_penalty, presence_penalty, frequency_penalty;
  int32_t top_k;                    // 0: off
  int32_t num_top_logprobs;         // -1: no log-probabilities
  int32_t first_count, num_counts;  // in SampleArgs::counts
  int32_t has_mask;
  int32_t unused;
};

inline constexpr int32_t kSampleOnHost = -3;  // SampleResult::token: too many candidates

struct SampleResult {
  int32_t token;  // as in SampledToken, or kSampleOnHost
  int32_t num_top;
  // Of the model's own logits, only when log-probabilities are wanted.
  float best, logit;  // the highest, the drawn token's
  double total;       // sum of exp(logit - best)
  struct Top {
    int32_t token;
    float logit;
  } top[kMostTopLogprobs];  // best first
};

struct SampleArgs {
  float* logits;  // [rows, stride]; changed meanwhile, as before afterwards
  int64_t stride;
  int32_t vocab_size;
  int32_t mask_words;       // of a row
  const SampleTask* tasks;  // [rows]
  TokenCount* counts;
  const uint32_t* masks;  // [rows, mask_words]: bit t: token t may be drawn
  SampleResult* results;  // [rows], the host's
};

// Dynamic shared memory of the kernel.
inline constexpr size_t kSampleSharedBytes =
    kMostCandidates * (sizeof(uint64_t) + sizeof(double)) + kMostSampledVocab / 256 * sizeof(float);

}  // namespace sluice::backend::cuda
