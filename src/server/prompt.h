#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/request.h"
#include "base/work.h"
#include "server/chat_style.h"
#include "server/loaded_model.h"

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
// we cannot (a template with a fault); kInvalidArgument from the template; what `work`
// throws, to which all of it is charged. `style`: the model's under this name. A template in the
// request is a Go template, and used in place of the model's.
PreparedPrompt prepare_prompt(const LoadedModel& model, const CatalogRecord& record,
                              const ChatStyle& style, const api::GenerationRequest& request,
                              const PromptLimits& limits, Work& work);

// Throws Error(kUnsupported) for what the model cannot do: complete, call tools, think, see.
void require_abilities(const LoadedModel& model, const CatalogRecord& record,
                       const ChatStyle& style, const api::GenerationRequest& request);

// Throws Error(kContextOverflow). `num_tokens`: "120", "at least 120".
[[noreturn]] void throw_too_long(const std::string& num_tokens, int context_limit);

// Throws Error(kInvalidArgument) for ids that the model does not have. `field`: where they stood.
void check_token_ids(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& ids,
                     std::string_view field);

}  // namespace sluice::server
