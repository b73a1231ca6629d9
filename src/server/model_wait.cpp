#include "server/model_wait.h"

#include <mutex>
#include <utility>

#include "server/failure.h"

namespace sluice::server {

// The loader's side and the coroutine's.
struct ModelWait::State {
  explicit State(Waker owner) : waker(std::move(owner)) {}

  const Waker waker;
  std::mutex mutex;  // guards what follows
  std::optional<double> news;
  std::optional<Failure> failure;
  Lease lease;
  bool is_over = false;  // or nobody waits any longer
};

ModelWait::ModelWait(ModelManager& models, Exchange& exchange, const store::ModelRecord& record,
                     std::optional<api::KeepAlive> keep_alive)
    : models_(models), exchange_(exchange), state_(std::make_shared<State>(exchange.waker())) {
  id_ = models.acquire(
      record, keep_alive,
      [state = state_](Lease lease, const Error* error) {
        {
          std::lock_guard lock(state->mutex);
          if (state->is_over) return;
          state->is_over = true;
          state->lease = std::move(lease);
          if (error) state->failure = Failure{error->code(), std::string(error->what())};
        }
        state->waker.wake();
      },
      [state = state_](double fraction) {
        {
          std::lock_guard lock(state->mutex);
          state->news = fraction;
        }
        state->waker.wake();
      });
}

ModelWait::~ModelWait() {
  models_.withdraw(id_);
  std::lock_guard lock(state_->mutex);
  state_->is_over = true;
  state_->lease.release();
}

Awaitable<std::optional<double>> ModelWait::progress() {
  while (true) {
    exchange_.check();
    {
      std::lock_guard lock(state_->mutex);
      if (state_->is_over) co_return std::nullopt;
      if (state_->news) co_return std::exchange(state_->news, std::nullopt);
    }
    co_await exchange_.pause();
  }
}

Lease ModelWait::take() {
  std::lock_guard lock(state_->mutex);
  if (state_->failure) state_->failure->raise();
  return std::move(state_->lease);
}

}  // namespace sluice::server
