#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "keys/scope.h"
#include "server/exchange.h"
#include "server/server_context.h"

namespace sluice::server {

// Finds the route of a request and answers it. Whatever goes wrong becomes an error in the route's
// dialect; nothing is thrown but for want of memory.
Awaitable<void> dispatch(const ServerContext& context, Exchange& exchange);

// A request that did not come to a route: for the journal.
void note_refused(const ServerContext& context, const HttpRequest& request, int status);

// Refuses a request before it comes to a route, as the dialect under its path does.
Reply refusal(const HttpRequest& request, int status, std::string_view message);

// What the gate has to know of a request's route; nothing when there is none. All that has no route
// is for any key.
struct RouteTerms {
  keys::Access access;
  bool costs_tokens = false;
};
std::optional<RouteTerms> terms_of(const HttpRequest& request);

// An error as the dialect under a request's path tells it.
std::string error_text_for(const HttpRequest& request, int status, std::string_view message);

// True when the route of a request takes its body with Exchange::read_body().
bool takes_body_in_pieces(const HttpRequest& request);

// Every route, for documentation and tests.
struct RouteInfo {
  std::string_view method;
  std::string_view path;  // ends with "/*" where more follows
  keys::Access access;
};
std::vector<RouteInfo> all_routes();

}  // namespace sluice::server
