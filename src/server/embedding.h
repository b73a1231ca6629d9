#pragma once

#include "api/embedding.h"
#include "server/exchange.h"
#include "server/server_context.h"

namespace sluice::server {

// Answers one request for embeddings: its inputs go to the engine together (a bounded number at a
// time), so that they are computed in the same steps as each other and as everything else. One that
// fails fails the request. Throws as answer_generation().
Awaitable<void> answer_embedding(const ServerContext& context, Exchange& exchange,
                                 api::MakeEmbeddingDialect make_dialect);

}  // namespace sluice::server
