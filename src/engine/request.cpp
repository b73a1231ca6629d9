#include "engine/request.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "engine/sampling.h"

namespace sluice::engine {
namespace {

constexpr size_t kMaxStopBytes = 4096;
constexpr int kMaxTopLogprobs = 20;

}  // namespace

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEndOfSequence:
      return "end_of_sequence";
    case FinishReason::kStopString:
      return "stop_string";
    case FinishReason::kMaxTokens:
      return "max_tokens";
    case FinishReason::kContextFull:
      return "context_full";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kEmbedded:
      return "embedded";
    case FinishReason::kError:
      return "error";
  }
  return "unknown";
}

std::chrono::nanoseconds TimeHistogram::limit(size_t bucket) {
  static const auto limits = [] {
    std::array<std::chrono::nanoseconds, kNumBuckets> limits;
    for (size_t i = 0; i + 1 < kNumBuckets; ++i) {
      const double nanoseconds = 250'000 * std::exp2(0.5 * static_cast<double>(i));
      limits[i] = std::chrono::nanoseconds(static_cast<int64_t>(nanoseconds));
    }
    limits.back() = std::chrono::nanoseconds::max();
    return limits;
  }();
  return limits.at(bucket);
}

void TimeHistogram::add(std::chrono::nanoseconds time) {
  size_t bucket = 0;
  while (time > limit(bucket)) ++bucket;
  ++counts[bucket];
}

namespace {

void check_biases(const std::vector<backend::TokenBias>& biases, int vocab_size) {
  require_argument(biases.size() <= kMaxBiases, "logit_bias must be of at most 1024 tokens");
  std::vector<int32_t> tokens;
  for (const backend::TokenBias& item : biases) {
    require_argument(item.token >= 0 && item.token < vocab_size,
                     "logit_bias is of the token " + std::to_string(item.token) +
                         ", which is not in the vocabulary of " + std::to_string(vocab_size));
    require_argument(std::isfinite(item.bias), "logit_bias must be of finite numbers");
    tokens.push_back(item.token);
  }
  std::ranges::sort(tokens);
  require_argument(std::ranges::adjacent_find(tokens) == tokens.end(),
                   "logit_bias must have a token once at most");
}

}  // namespace

void check_request(const Request& request, int vocab_size) {
  require_argument(!request.prompt.empty(), "prompt must hold at least one token");
  const auto [lowest, highest] = std::minmax_element(request.prompt.begin(), request.prompt.end());
  require_argument(
      *lowest >= 0 && *highest < vocab_size,
      "prompt holds a token that is not in the vocabulary of " + std::to_string(vocab_size));
  check_sampling_params(request.sampling);
  require_argument(request.max_tokens >= -1, "max_tokens must be at least 0, or -1 for no limit");
  require_argument(request.context_limit >= 0,
                   "context_limit must be at least 0 (0: the engine's own)");
  require_argument(request.num_keep >= -1,
                   "num_keep must be at least 0, or -1 for the whole prompt");
  require_argument(request.num_top_logprobs >= -1 && request.num_top_logprobs <= kMaxTopLogprobs,
                   "num_top_logprobs must be between 0 and 20, or -1 for none");
  require_argument(request.stop_strings.size() <= kMaxStopStrings,
                   "stop_strings must hold at most 64 strings");
  check_biases(request.biases, vocab_size);
  for (const std::string& stop : request.stop_strings) {
    require_argument(!stop.empty(), "stop_strings must not hold an empty string");
    require_argument(stop.size() <= kMaxStopBytes,
                     "stop_strings must hold strings of at most 4096 bytes");
  }
}

}  // namespace sluice::engine
