#pragma once

#include <vector>

#include "api/json.h"
#include "api/request.h"
#include "base/work.h"

namespace sluice::api::openai {

// The items of a response's "input" as messages, behind those that are there. Moves texts out of
// `body`. Throws Error: kInvalidArgument, kUnsupported naming what is not done.
void append_input(Json& body, std::vector<Message>& messages, Work& work);

// The tools of a response in the form of OpenAI's chats. A tool of the server's, which we do not
// have, is refused, but for the search of the web, which clients add unasked: the model is not told
// of it.
Json parse_response_tools(Json& list);

}  // namespace sluice::api::openai
