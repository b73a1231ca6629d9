#pragma once

#include "base/work.h"
#include "server/exchange.h"
#include "server/server_context.h"

// OpenAI's responses: made, and, of those that are kept, looked at and removed.
namespace sluice::server {

Awaitable<void> answer_response(const ServerContext& context, Exchange& exchange);
Reply show_response(const ServerContext& context, const HttpRequest& request, Work& work);
Reply remove_response(const ServerContext& context, const HttpRequest& request, Work& work);

}  // namespace sluice::server
