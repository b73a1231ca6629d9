#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/exchange.h"
#include "server/server_context.h"

namespace sluice::server {

// Finds the route of a request and answers it. Whatever goes wrong becomes an error in the route's
// dialect; nothing is thrown but for want of memory.
Awaitable<void> dispatch(const ServerContext& context, Exchange& exchange);

// Refuses a request before it comes to a route, as the dialect under its path does.
Reply refusal(const HttpRequest& request, int status, std::string_view message);

struct AccessRules {
  bool checks_host = true;           // when only this machine can reach us
  std::vector<std::string> origins;  // allowed besides the usual ones
};
// What the transport asks before it reads a body: who asks, or 403 for a foreign Host or Origin,
// 204 for a browser's preflight.
std::variant<Client, Reply> check_access(const AccessRules& rules, const HttpRequest& request);

// "METHOD path" of every route, for documentation and tests.
std::vector<std::string> route_names();

}  // namespace sluice::server
