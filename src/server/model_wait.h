#pragma once

#include <memory>
#include <optional>

#include "server/exchange.h"
#include "server/model_manager.h"

namespace sluice::server {

// A request's wait for its model; given up when it goes.
class ModelWait {
 public:
  ModelWait(ModelManager& models, Exchange& exchange, const store::ModelRecord& record,
            std::optional<api::KeepAlive> keep_alive);
  ~ModelWait();
  ModelWait(const ModelWait&) = delete;
  ModelWait& operator=(const ModelWait&) = delete;

  // How much of the model is there (0 to 1), each time that this is news; nothing when the wait is
  // over. Throws what Exchange::check() does.
  Awaitable<std::optional<double>> progress();
  // When the wait is over. Throws Error: what the load threw, kBusy when the queue is full or the
  // server drains.
  Lease take();

 private:
  struct State;
  ModelManager& models_;
  Exchange& exchange_;
  std::shared_ptr<State> state_;
  ModelManager::WaiterId id_ = 0;
};

}  // namespace sluice::server
