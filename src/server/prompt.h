#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/request.h"
#include "base/work.h"
#include "server/loaded_model.h"
#include "store/store.h"

namespace sluice::server {

// The prompt that a request becomes.
struct PreparedPrompt {
  std::string text;  // as rendered, behind that of `context`; "" of a prompt of token ids
  std::vector<text::TokenId> tokens;
  int num_dropped_tokens = 0;  // left out because they did not fit
};

struct PromptLimits {
  int context = 0;   // most tokens of prompt and reply together; the prompt may have one less
  int num_keep = 4;  // tokens that a prompt which is cut begins with; a BOS comes on top; -1: all
};

// Renders and tokenizes. What is too long is cut by Ollama's rules. A conversation loses whole
// messages, the oldest first, but never the system messages nor the last one. A prompt (with the
// `context` before it) keeps its first num_keep tokens and as many of its last ones as fill half of
// the room behind them, so that the reply has the other half; only if `shift` is on.
// Throws Error: kContextOverflow with the limit and what was needed when that is not enough or
// `truncate` is off; kUnsupported for what the model cannot do (tools, thinking, images, insert) or
// we cannot (templates in a request); kInvalidArgument from the template; what `work`
// throws, to which all of it is charged.
PreparedPrompt prepare_prompt(const LoadedModel& model, const store::ModelRecord& record,
                              const api::GenerationRequest& request, const PromptLimits& limits,
                              Work& work);

// Throws Error(kInvalidArgument) for ids that the model does not have. `field`: where they stood.
void check_token_ids(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& ids,
                     std::string_view field);

}  // namespace sluice::server
