#include "server/model_wait.h"

#include <cmath>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "server/failure.h"

namespace sluice::server {
namespace {

// What the loader tells the coroutine.
struct LoadNews {
  explicit LoadNews(Waker owner) : waker(std::move(owner)) {}

  const Waker waker;
  std::mutex mutex;  // guards what follows
  std::optional<double> progress;
  std::optional<Failure> failure;
  Lease lease;
  bool is_over = false;  // or nobody waits any longer
};

}  // namespace

Awaitable<Lease> acquire_model(ModelManager& models, Exchange& exchange, SharedRecord record,
                               std::optional<api::KeepAlive> keep_alive,
                               const api::ModelOptions& options,
                               const std::function<void(double)>& on_progress) {
  std::optional<int> gpu_layers = api::merge_options(record->options, options).num_gpu;
  if (gpu_layers && *gpu_layers < 0) gpu_layers.reset();  // Ollama's word for as many as fit
  const auto news = std::make_shared<LoadNews>(exchange.waker());
  auto tell_end = [news](Lease lease, const Failure* failure) {
    {
      std::lock_guard lock(news->mutex);
      if (news->is_over) return;
      news->is_over = true;
      news->lease = std::move(lease);
      if (failure) news->failure = copy_of(*failure);
    }
    news->waker.wake();
  };
  auto tell_progress = [news](double fraction) {
    {
      std::lock_guard lock(news->mutex);
      news->progress = fraction;
    }
    news->waker.wake();
  };
  struct Wait {
    ModelManager& models;
    LoadNews& news;
    ModelManager::WaiterId id;
    ~Wait() {
      models.withdraw(id);
      Lease unused;  // given back without the lock
      std::lock_guard lock(news.mutex);
      news.is_over = true;
      unused = std::move(news.lease);
    }
  } wait{models, *news,
         models.acquire(std::move(record), keep_alive, tell_end, tell_progress, gpu_layers)};
  while (true) {
    exchange.check();
    std::optional<double> progress;
    {
      std::lock_guard lock(news->mutex);
      if (news->failure) news->failure->raise();
      if (news->is_over) co_return std::move(news->lease);
      progress = std::exchange(news->progress, std::nullopt);
    }
    if (!progress) {
      co_await exchange.pause();
      continue;
    }
    const auto percent = std::to_string(std::lround(*progress * 100));
    exchange.set_stage("the model was still loading (" + percent + "%)");
    on_progress(*progress);
    co_await exchange.flush();
  }
}

}  // namespace sluice::server
