#pragma once

#include "api/json.h"
#include "api/request.h"

namespace sluice::api::anthropic {

// The body of POST /v1/messages, or, `is_count_only`, of /v1/messages/count_tokens, which is the
// same without what is about the reply. Throws what Dialect::parse() does.
GenerationRequest parse_request(Json& body, bool is_count_only);

}  // namespace sluice::api::anthropic
