#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <type_traits>

#include "base/work.h"
#include "server/exchange.h"
#include "server/failure.h"
#include "server/worker_pool.h"

namespace sluice::server {

// Runs `task`, T(Work&), on a thread of `pool` and gives what it returns. Throws what it throws as
// Error (failure_of), and what Exchange::check() does: at once when the task has not begun by then,
// else when it has ended, as it may use what the coroutine holds. Its Work ends it soon.
template <typename Task>
Awaitable<std::invoke_result_t<Task, Work&>> on_worker(WorkerPool& pool, Exchange& exchange,
                                                       Task task) {
  enum State { kQueued, kRunning, kDone, kGivenUp };
  struct Job {
    std::atomic<State> state = kQueued;
    std::optional<std::invoke_result_t<Task, Work&>> result;
    std::optional<Failure> failure;
  };
  const auto job = std::make_shared<Job>();
  // Whatever ends the coroutine, the task does not outlive what it uses.
  struct Guard {
    Job& job;
    ~Guard() {
      State queued = kQueued;
      if (!job.state.compare_exchange_strong(queued, kGivenUp)) job.state.wait(kRunning);
    }
  } guard{*job};
  pool.post([job, &task, waker = exchange.waker(), stop = exchange.stop_token(),
             deadline = exchange.deadline()] {
    State queued = kQueued;
    if (!job->state.compare_exchange_strong(queued, kRunning)) return;
    try {
      Work work(Work::kUnlimited, stop, deadline);
      job->result.emplace(task(work));
    } catch (...) {
      job->failure = failure_of(std::current_exception());
    }
    job->state = kDone;
    job->state.notify_all();
    waker.wake();
  });
  while (job->state != kDone) {
    State queued = kQueued;
    if (exchange.is_over() && job->state.compare_exchange_strong(queued, kGivenUp)) break;
    co_await exchange.pause();
  }
  exchange.check();
  if (job->failure) job->failure->raise();
  co_return std::move(*job->result);
}

}  // namespace sluice::server
