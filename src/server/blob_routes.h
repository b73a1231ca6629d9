#pragma once

#include "base/work.h"
#include "server/exchange.h"
#include "server/http_message.h"
#include "server/server_context.h"

// /api/blobs/sha256:...: the files that `create` is told of by their digests. They may throw Error.
namespace sluice::server {

Reply check_blob(const ServerContext& context, const HttpRequest& request, Work& work);
// Takes the body as it comes, whatever its size: a few MiB of it are in memory.
Awaitable<void> take_blob(const ServerContext& context, Exchange& exchange);

}  // namespace sluice::server
