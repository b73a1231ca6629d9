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

// True when the route of a request takes its body with Exchange::read_body().
bool takes_body_in_pieces(const HttpRequest& request);

// "METHOD path" of every route, for documentation and tests.
std::vector<std::string> route_names();

}  // namespace sluice::server
