#pragma once

#include <string>
#include <vector>

#include "api/request.h"
#include "server/loaded_model.h"
#include "store/store.h"

namespace sluice::server {

// The prompt that a request becomes.
struct PreparedPrompt {
  std::string text;  // as rendered; without the tokens of `context`
  std::vector<text::TokenId> tokens;
  int num_dropped_tokens = 0;  // of messages or context left out because they did not fit
};

// Renders and tokenizes. `context_limit`: most tokens of prompt and reply together; the prompt may
// have one less. A conversation that is too long loses whole messages, the oldest first, but never
// the system messages nor the last one; `context` of /api/generate loses its oldest tokens.
// Throws Error: kContextOverflow with the limit and what was needed when that is not enough or
// `truncate` is off; kUnsupported for what the model cannot do (tools, thinking, images, insert) or
// we cannot (Go templates, constrained output); kInvalidArgument from the template.
PreparedPrompt prepare_prompt(const LoadedModel& model, const store::ModelRecord& record,
                              const api::GenerationRequest& request, int context_limit);

}  // namespace sluice::server
