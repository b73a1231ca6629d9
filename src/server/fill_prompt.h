#pragma once

#include "server/prompt.h"

namespace sluice::server {

// The prompt that asks a model for what stands between the request's prompt and its suffix, by the
// model's own tokens for that (`fill`). What is too long loses text at its outer ends, when
// `may_cut`: the suffix has at least a quarter of the room. Throws Error: kContextOverflow, and
// what `work` throws, to which all of it is charged.
PreparedPrompt fill_prompt(const text::Tokenizer& tokenizer, const text::FillTokens& fill,
                           const api::GenerationRequest& request, int context_limit, bool may_cut,
                           Work& work);

}  // namespace sluice::server
