#include "server/jobs.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/threads.h"

namespace sluice::server {
namespace {

constexpr size_t kMaxLines = 20'000;  // more than any manifest has layers

}  // namespace

struct JobBoard::Job {
  explicit Job(std::string name) : key(std::move(name)) {}

  const std::string key;
  std::stop_source stop;
  std::mutex mutex;  // guards what follows
  struct Line {
    registry::Progress progress;
    uint64_t version = 0;
  };
  std::vector<Line> lines;
  uint64_t version = 0;  // grows with every line and change
  bool is_over = false;
  std::optional<Failure> failure;
  std::map<uint64_t, Waker> watchers;

  void add_line(const registry::Progress& line) {
    std::lock_guard lock(mutex);
    ++version;
    const registry::Progress* last = lines.empty() ? nullptr : &lines.back().progress;
    if (last && !line.digest.empty() && last->digest == line.digest &&
        last->status == line.status) {
      lines.back() = {line, version};
    } else if (lines.size() < kMaxLines) {
      lines.push_back({line, version});
    }
    for (const auto& [id, waker] : watchers) waker.wake();
  }

  void finish(std::optional<Failure> reason) {
    std::lock_guard lock(mutex);
    is_over = true;
    failure = std::move(reason);
    for (const auto& [id, waker] : watchers) waker.wake();
  }
};

struct JobBoard::State {
  std::mutex mutex;  // guards what follows; never taken while a job's is held
  std::map<std::string, std::shared_ptr<Job>> jobs;  // that can be joined
  int num_running = 0;
  uint64_t last_id = 0;
  bool is_stopping = false;
  std::condition_variable has_ended;

  void forget(const std::shared_ptr<Job>& job) {
    const auto found = jobs.find(job->key);
    if (found != jobs.end() && found->second == job) jobs.erase(found);
  }

  void run(const std::shared_ptr<Job>& job, const Task& task) {
    std::optional<Failure> failure;
    try {
      task([&](const registry::Progress& line) { job->add_line(line); }, job->stop.get_token());
    } catch (...) {
      failure = failure_of(std::current_exception());
    }
    {
      std::lock_guard lock(mutex);
      forget(job);  // who comes from here on begins anew
    }
    job->finish(std::move(failure));
  }
};

JobBoard::JobBoard() : state_(std::make_shared<State>()) {}
JobBoard::~JobBoard() { stop(); }

std::unique_ptr<JobBoard::Interest> JobBoard::join(const std::string& key, Waker waker, Task task) {
  std::lock_guard lock(state_->mutex);
  if (state_->is_stopping) throw Error(ErrorCode::kBusy, "server busy: it is shutting down");
  std::shared_ptr<Job> job;
  if (const auto found = state_->jobs.find(key); found != state_->jobs.end()) job = found->second;
  const bool is_new = !job;
  if (is_new) {
    if (state_->num_running >= kMaxRunning) {
      throw Error(ErrorCode::kBusy, "server busy: " + std::to_string(kMaxRunning) +
                                        " models are being moved already; try again later");
    }
    job = std::make_shared<Job>(key);
  }
  const uint64_t id = ++state_->last_id;
  {
    std::lock_guard job_lock(job->mutex);
    job->watchers.emplace(id, std::move(waker));
  }
  if (is_new) {
    // Nobody joins the thread; stop() waits by the count. It owns all that it uses.
    start_thread("job", [state = state_, job, work = std::move(task)]() mutable {
      state->run(job, work);
      work = {};
      job.reset();
      std::lock_guard end_lock(state->mutex);
      --state->num_running;
      state->has_ended.notify_all();
    }).detach();
    ++state_->num_running;
    state_->jobs.emplace(key, job);
  }
  return std::make_unique<Interest>(*this, std::move(job), id);
}

void JobBoard::stop() {
  std::unique_lock lock(state_->mutex);
  state_->is_stopping = true;
  for (const auto& [key, job] : state_->jobs) job->stop.request_stop();
  state_->has_ended.wait(lock, [this] { return state_->num_running == 0; });
}

JobBoard::Interest::Interest(JobBoard& board, std::shared_ptr<Job> job, uint64_t id)
    : board_(board), job_(std::move(job)), id_(id) {}

JobBoard::Interest::~Interest() {
  bool is_last = false;
  std::lock_guard board_lock(board_.state_->mutex);  // nobody joins in between
  {
    std::lock_guard lock(job_->mutex);
    job_->watchers.erase(id_);
    is_last = job_->watchers.empty();
  }
  if (!is_last) return;
  board_.state_->forget(job_);
  job_->stop.request_stop();
}

JobBoard::Interest::News JobBoard::Interest::take() {
  News news;
  std::lock_guard lock(job_->mutex);
  const auto& lines = job_->lines;
  // The last one that was seen may have gone on since.
  const bool has_changed = num_seen_ > 0 && lines[num_seen_ - 1].version > seen_version_;
  for (size_t i = num_seen_ - (has_changed ? 1 : 0); i < lines.size(); ++i) {
    news.lines.push_back(lines[i].progress);
  }
  num_seen_ = lines.size();
  seen_version_ = job_->version;
  news.is_over = job_->is_over;
  if (job_->failure) news.failure = copy_of(*job_->failure);
  return news;
}

}  // namespace sluice::server
