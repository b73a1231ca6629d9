#pragma once

#include <variant>

#include "keys/gatekeeper.h"
#include "server/access.h"
#include "server/http_message.h"

namespace sluice::server {

// The one gate before every route, asked when a request's head is there: what check_access() says,
// then whether the API key that came with it opens its route. Refuses with 401 (no key, or one that
// is not known), 403 (of another scope) or 429 (the key's limits, with Retry-After), as the dialect
// under the path does.
std::variant<Caller, Reply> pass_gate(const AccessRules& rules, keys::Gatekeeper& gatekeeper,
                                      const HttpRequest& request);

}  // namespace sluice::server
