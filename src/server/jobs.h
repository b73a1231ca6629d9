#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "registry/progress.h"
#include "server/exchange.h"
#include "server/failure.h"

namespace sluice::server {

// Long work (pull, push, create) that runs on threads of its own and is told as lines. Who asks for
// what is under way already joins it; it is ended when the last who asked has left. Safe to share
// between threads.
class JobBoard {
 public:
  using Task = std::function<void(const registry::OnProgress&, std::stop_token)>;
  static constexpr int kMaxRunning = 16;

  JobBoard();
  ~JobBoard();  // stop()
  JobBoard(const JobBoard&) = delete;
  JobBoard& operator=(const JobBoard&) = delete;

  struct Job;
  // One client's interest in a job, given up by its end.
  class Interest {
   public:
    Interest(JobBoard& board, std::shared_ptr<Job> job, uint64_t id);
    ~Interest();
    Interest(const Interest&) = delete;
    Interest& operator=(const Interest&) = delete;

    struct News {
      std::vector<registry::Progress> lines;
      bool is_over = false;
      std::optional<Failure> failure;
    };
    // What this client has not seen yet: of a blob's progress the latest line alone. Who joins late
    // gets what was before.
    News take();

   private:
    JobBoard& board_;
    std::shared_ptr<Job> job_;
    uint64_t id_;
    size_t num_seen_ = 0;
    uint64_t seen_version_ = 0;
  };

  // Starts `task` unless work of that key runs; `waker` is roused when there is news. Throws
  // Error(kBusy) when too much runs, kOutOfMemory.
  std::unique_ptr<Interest> join(const std::string& key, Waker waker, Task task);

  // Ends all work and waits for its end; nothing can be joined afterwards.
  void stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sluice::server
