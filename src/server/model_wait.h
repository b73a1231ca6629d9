#pragma once

#include <functional>
#include <optional>

#include "server/exchange.h"
#include "server/model_manager.h"

namespace sluice::server {

// The model of a request, when it is there; given up when the request is over. Of the request's
// `options` num_gpu says how it is loaded, where it is not in memory yet. `on_progress`, which
// may write to the exchange, is told each time that it is news how much of the model is there (0 to
// 1). Throws Error: what the load threw, kBusy when the queue is full or the server drains, and
// what Exchange::check() does.
Awaitable<Lease> acquire_model(ModelManager& models, Exchange& exchange, SharedRecord record,
                               std::optional<api::KeepAlive> keep_alive,
                               const api::ModelOptions& options,
                               const std::function<void(double)>& on_progress);

}  // namespace sluice::server
