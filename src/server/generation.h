#pragma once

#include <memory>

#include "api/request.h"
#include "server/catalog.h"
#include "server/model_manager.h"
#include "server/reply_writer.h"
#include "server/worker_pool.h"

namespace sluice::server {

// What a generation needs of the server; all of it outlives the generations.
struct GenerationContext {
  Catalog& catalog;
  ModelManager& models;
  WorkerPool& preparers;  // rendering and tokenizing
  int default_context = 4096;
};

// Answers one chat or completion: looks the model up, waits until it is loaded, prepares the
// prompt, runs it, and writes the reply; ends the work when the client goes away. Returns at once;
// throws Error only for what is wrong before the model is needed.
void start_generation(const GenerationContext& context, std::shared_ptr<Exchange> exchange,
                      Dialect dialect, api::GenerationRequest request);

}  // namespace sluice::server
