#include "engine/sampling.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"

namespace sluice::engine {
namespace {

void require_fraction(const char* name, float value) {
  require_argument(value >= 0.0f && value <= 1.0f, std::string(name) + " must be between 0 and 1");
}

// The last `count` of them, or all.
std::span<const text::TokenId> last_of(std::span<const text::TokenId> tokens, size_t count) {
  return tokens.last(std::min(tokens.size(), count));
}

}  // namespace

void check_sampling_params(const SamplingParams& params) {
  require_argument(std::isfinite(params.temperature) && params.temperature >= 0.0f,
                   "temperature must be a number of at least 0");
  require_argument(params.top_k >= -1, "top_k must be at least 0 (0 or -1: off)");
  require_fraction("top_p", params.top_p);
  require_fraction("min_p", params.min_p);
  require_fraction("typical_p", params.typical_p);
  require_argument(params.repeat_last_n >= -1,
                   "repeat_last_n must be at least 0 (off), or -1 for the whole context");
  require_argument(std::isfinite(params.repeat_penalty) && params.repeat_penalty > 0.0f,
                   "repeat_penalty must be a number above 0");
  require_argument(std::isfinite(params.presence_penalty),
                   "presence_penalty must be a finite number");
  require_argument(std::isfinite(params.frequency_penalty),
                   "frequency_penalty must be a finite number");
}

PenaltyWindow penalty_window(const SamplingParams& params, std::span<const text::TokenId> tokens,
                             size_t num_prompt_tokens, std::span<const text::TokenId> draft) {
  if (!params.has_penalty()) return {};
  if (!params.penalize_prompt) tokens = tokens.subspan(num_prompt_tokens);
  if (params.repeat_last_n < 0) return {tokens, draft};
  const auto count = static_cast<size_t>(params.repeat_last_n);
  draft = last_of(draft, count);
  return {last_of(tokens, count - draft.size()), draft};
}

void want_samples(const Request& request, uint64_t seed, const Sequence& sequence,
                  int num_draft_tokens, std::vector<backend::RowSampling>& samplings) {
  for (int i = 0; i <= num_draft_tokens; ++i) {
    const auto draft = std::span(sequence.draft).first(static_cast<size_t>(i));
    const PenaltyWindow window =
        penalty_window(request.sampling, sequence.tokens,
                       static_cast<size_t>(sequence.num_leading_prompt_tokens), draft);
    backend::RowSampling& sampling = samplings.emplace_back();
    sampling.params = request.sampling;
    sampling.seed = seed;
    sampling.position = static_cast<uint64_t>(sequence.num_output_tokens() + i);
    sampling.biases = request.biases;
    sampling.history = window.history;
    sampling.draft = window.draft;
    sampling.num_top_logprobs = request.num_top_logprobs;
  }
}

}  // namespace sluice::engine
