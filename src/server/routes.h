#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/generation.h"
#include "server/http_server.h"

namespace sluice::server {

// Everything a route may use.
struct RouteContext {
  GenerationContext generation;
  std::function<int()> num_connections;
  std::chrono::steady_clock::time_point started;
  const std::atomic<bool>& is_draining;
};

// Finds the route of a request and answers it. Routes that read the disk or much input run on the
// preparers' threads, the others at once. Whatever goes wrong becomes an error in the route's
// dialect; nothing is thrown.
void dispatch(const RouteContext& context, std::shared_ptr<Exchange> exchange);

// Refuses a request before it comes to a route, as the dialect under its path does.
Reply refusal(const HttpRequest& request, int status, std::string_view message);

struct AccessRules {
  bool checks_host = true;           // when only this machine can reach us
  std::vector<std::string> origins;  // allowed besides the usual ones
};
// What the transport asks before it reads a body: 403 for a foreign Host or Origin, 204 for a
// browser's preflight.
std::optional<Reply> check_access(const AccessRules& rules, const HttpRequest& request);
// The headers for replies to pages of other origins; the request passed check_access().
void add_cors_headers(const std::shared_ptr<Exchange>& exchange);

// "METHOD path" of every route, for documentation and tests.
std::vector<std::string> route_names();

}  // namespace sluice::server
