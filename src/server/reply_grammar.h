#pragma once

#include <optional>
#include <string_view>

#include "api/request.h"
#include "grammar/compiler.h"
#include "server/chat_style.h"

namespace sluice::server {

// What a reply has to be: the request's format, or the calls that it must have, in the family's own
// way of writing them; behind thinking, when the model may think. `prompt`: rendered, "" for tokens
// and raw prompts, which have no thinking. Nullopt: any text. Throws Error: kInvalidArgument for
// tools whose parameters are no objects, kUnsupported naming what cannot be honoured.
std::optional<grammar::Source> reply_source(const api::GenerationRequest& request,
                                            const ChatStyle& style, std::string_view prompt);

}  // namespace sluice::server
