#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sluice::server {

// A few threads that run tasks in the order they come. Tasks must not throw.
class WorkerPool {
 public:
  // Throws what start_thread() does.
  WorkerPool(const std::string& thread_name, int num_threads);
  ~WorkerPool();  // stop()
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // From any thread; dropped after stop().
  void post(std::function<void()> task);
  // Finishes the tasks that run, drops the others, joins.
  void stop();

 private:
  void work();

  std::mutex mutex_;  // guards the members up to threads_
  std::condition_variable has_task_;
  std::deque<std::function<void()>> tasks_;
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace sluice::server
