#pragma once

#include "api/dialect.h"
#include "server/exchange.h"
#include "server/server_context.h"

namespace sluice::server {

// Answers one chat or completion, from its body to the last byte of the reply. Errors become
// replies in the dialect; nothing is thrown but what is thrown for want of memory.
Awaitable<void> answer_generation(const ServerContext& context, Exchange& exchange,
                                  api::Dialect& dialect);
Awaitable<void> answer_generation(const ServerContext& context, Exchange& exchange,
                                  api::MakeDialect make_dialect);

}  // namespace sluice::server
