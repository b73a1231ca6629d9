#pragma once

#include <memory>

#include "api/request.h"
#include "server/admission.h"
#include "server/reply_writer.h"

namespace sluice::server {

// Answers one chat or completion in the dialect that has parsed it: looks the model up, waits until
// it is loaded, prepares the prompt, runs it, and writes the reply; ends the work when the client
// goes away or its time is over. Returns at once; throws Error only for what is wrong before the
// model is needed.
void start_generation(const GenerationContext& context, std::shared_ptr<Exchange> exchange,
                      std::unique_ptr<api::Dialect> dialect, api::GenerationRequest request);

}  // namespace sluice::server
