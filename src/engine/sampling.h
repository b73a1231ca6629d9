#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/sampling.h"
#include "engine/request.h"
#include "engine/sequence.h"

// What a sequence wants to be drawn; the backend draws it.
namespace sluice::engine {

// Throws Error(kInvalidArgument) naming a parameter that is out of range or not a number.
void check_sampling_params(const SamplingParams& params);

// The tokens that penalties count: the last `repeat_last_n` of a context, whose first
// `num_prompt_tokens` are the prompt's, and of a draft behind it.
struct PenaltyWindow {
  std::span<const text::TokenId> history, draft;
};
PenaltyWindow penalty_window(const SamplingParams& params, std::span<const text::TokenId> tokens,
                             size_t num_prompt_tokens, std::span<const text::TokenId> draft = {});

// Adds what is to be drawn from the row of logits behind the sequence's last token, and from those
// behind each of the first `num_draft_tokens` of its draft, as if each came in a step of its own.
// `seed`: SamplingParams::seed or a random one. Points into the sequence.
void want_samples(const Request& request, uint64_t seed, const Sequence& sequence,
                  int num_draft_tokens, std::vector<backend::RowSampling>& samplings);

}  // namespace sluice::engine
