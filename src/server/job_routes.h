#pragma once

#include "server/exchange.h"
#include "server/server_context.h"

// The routes whose work takes long: a job that is told line by line and goes on for as long as
// somebody listens. They may throw Error.
namespace sluice::server {

Awaitable<void> answer_pull(const ServerContext& context, Exchange& exchange);
Awaitable<void> answer_push(const ServerContext& context, Exchange& exchange);
Awaitable<void> answer_create(const ServerContext& context, Exchange& exchange);

// What all of them do: joins the job of that key, or begins it, and writes its lines as they come;
// without `stream` the last one alone. An error before the first line is thrown, one behind it is a
// line {"error": ".."}.
Awaitable<void> answer_job(const ServerContext& context, Exchange& exchange, bool stream,
                           const std::string& key, JobBoard::Task task);

}  // namespace sluice::server
