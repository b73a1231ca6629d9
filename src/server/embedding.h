#pragma once

#include <memory>

#include "api/embedding.h"
#include "server/admission.h"

namespace sluice::server {

// Answers one request for embeddings: its inputs go to the engine together (a bounded number at a
// time), so that they are computed in the same steps as each other and as everything else. One that
// fails fails the request. Returns at once; throws Error only for what is wrong before the model is
// needed.
void start_embedding(const GenerationContext& context, std::shared_ptr<Exchange> exchange,
                     std::unique_ptr<api::EmbeddingDialect> dialect, api::EmbeddingRequest request);

}  // namespace sluice::server
