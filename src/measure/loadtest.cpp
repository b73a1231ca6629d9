#include "measure/loadtest.h"

#include <algorithm>
#include <condition_variable>
#include <latch>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "base/error.h"
#include "base/threads.h"
#include "measure/steady.h"

namespace sluice::measure {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr std::chrono::milliseconds kProgressInterval{100};

struct Point {
  Workload workload;
  int concurrency = 1;
};

// Output and input apart, then by requests at a time, then by words: the article's order.
std::vector<Point> plan(const LoadTestOptions& options) {
  std::vector<Point> points;
  for (WorkloadKind kind : {WorkloadKind::kOutput, WorkloadKind::kInput}) {
    for (int concurrency : options.concurrency) {
      for (const Workload& workload : options.workloads) {
        if (workload.kind == kind) points.push_back({workload, concurrency});
      }
    }
  }
  return points;
}

void check(const LoadTestOptions& options) {
  require_argument(!options.model.empty(), "the load test needs a model");
  require_argument(!options.workloads.empty(), "the load test has nothing to do: name a test");
  require_argument(!options.concurrency.empty(),
                   "the load test needs a number of requests at a time");
  for (int concurrency : options.concurrency) {
    require_argument(concurrency >= 1 && concurrency <= kMaxConcurrency,
                     "requests at a time must be from 1 to " + std::to_string(kMaxConcurrency));
  }
  for (const Workload& workload : options.workloads) {
    require_argument(workload.num_words >= 1, "the number of words must be at least 1");
  }
  require_argument(options.repeat >= 1 && options.repeat <= 100'000,
                   "--repeat must be from 1 to 100000");
  require_argument(!options.max_tokens || *options.max_tokens >= 1,
                   "the most tokens must be at least 1");
}

// What the client threads of one wave share with the thread that waits for them.
struct Wave {
  explicit Wave(int num_clients) : start(num_clients), num_running(num_clients) {}

  std::latch start;
  std::mutex mutex;
  std::condition_variable changed;
  int num_running;  // guarded by mutex
  std::atomic<int64_t> num_pieces{0};
  std::atomic<int> num_errors{0};
  std::atomic<int> num_cancelled{0};
};

class WaveRunner {
 public:
  WaveRunner(const LoadTestOptions& options, const std::atomic<bool>& stop,
             const std::function<void(const LoadTestProgress&)>& on_progress)
      : options_(options), stop_(stop), on_progress_(on_progress), start_(Clock::now()) {}

  double warm_up();
  // False when the test must end: stopped, or the server is gone.
  bool run_point(const Point& point, int place, int num_places);

  std::vector<LoadRecord> take_records() { return std::move(records_); }

 private:
  LoadRecord next_record(const Point& point);
  bool must_repeat(int num_waves, size_t first) const;
  void run_wave(std::span<LoadRecord> records, LoadTestProgress& progress);
  void run_client(http::Client& client, LoadRecord& record, Wave& wave);
  void send(http::Client& client, LoadRecord& record, Wave& wave);
  void finish(const LoadRecord& record, Wave& wave);
  void watch(Wave& wave, size_t num_clients, LoadTestProgress& progress);
  void report(LoadTestProgress& progress);
  nanoseconds now() const { return Clock::now() - start_; }

  const LoadTestOptions& options_;
  const std::atomic<bool>& stop_;
  const std::function<void(const LoadTestProgress&)>& on_progress_;
  Clock::time_point start_;
  std::vector<std::unique_ptr<http::Client>> clients_;  // kept, so that connections are reused
  std::vector<LoadRecord> records_;
  std::unique_ptr<LiveLatencies> latencies_ = std::make_unique<LiveLatencies>();  // of the point
  Clock::time_point point_begin_{};
  Clock::time_point last_report_{};
  int num_waves_ = 0;
  int num_requests_ = 0;
  bool is_warming_up_ = false;
};

LoadRecord WaveRunner::next_record(const Point& point) {
  LoadRecord record;
  record.index = num_requests_++;
  record.workload = point.workload;
  record.concurrency = point.concurrency;
  record.wave = num_waves_;
  record.seed = options_.seed + (options_.same_prompt ? 0 : static_cast<uint64_t>(record.index));
  return record;
}

void WaveRunner::send(http::Client& client, LoadRecord& record, Wave& wave) {
  const ChatQuery query{
      .model = options_.model,
      .prompt = make_prompt(record.workload, options_.same_prompt ? 0 : record.seed),
      .seed = record.seed,
      .temperature = options_.temperature,
      .max_tokens = is_warming_up_ ? 1 : options_.max_tokens,
      .headers = options_.headers};
  exchange(client, options_.api, query, start_, record, [&](int num_pieces) {
    wave.num_pieces += num_pieces;
    latencies_->add(record, record.sent, num_pieces);
    return true;
  });
}

void WaveRunner::run_client(http::Client& client, LoadRecord& record, Wave& wave) {
  bool has_started = false;
  try {
    client.connect();
    has_started = true;
    wave.start.arrive_and_wait();
    send(client, record, wave);
  } catch (const std::exception& error) {
    if (!has_started) {
      wave.start.count_down();
      record.sent = now();
    }
    record_failure(record, error, now());
  }
  finish(record, wave);
}

void WaveRunner::finish(const LoadRecord& record, Wave& wave) {
  if (record.was_cancelled) {
    ++wave.num_cancelled;
  } else if (!record.error.empty()) {
    ++wave.num_errors;
  }
  std::lock_guard lock(wave.mutex);
  --wave.num_running;
  wave.changed.notify_one();
}

// Not more often than the interval, however short the waves are.
void WaveRunner::report(LoadTestProgress& progress) {
  const Clock::time_point time = Clock::now();
  if (time - last_report_ < kProgressInterval) return;
  last_report_ = time;
  progress.latency = latencies_->figures();
  on_progress_(progress);
}

// Until all clients are done: reports progress, and cancels when asked to stop.
void WaveRunner::watch(Wave& wave, size_t num_clients, LoadTestProgress& progress) {
  const Clock::time_point begin = Clock::now();
  std::unique_lock lock(wave.mutex);
  while (wave.num_running > 0) {
    wave.changed.wait_for(lock, kProgressInterval, [&] { return wave.num_running == 0; });
    const int num_running = wave.num_running;
    lock.unlock();
    // Again and again, because an abort does nothing to a call that is about to begin.
    for (size_t i = 0; stop_ && i < num_clients; ++i) clients_[i]->abort();
    const Clock::time_point time = Clock::now();
    const double seconds = seconds_of(time - begin);
    const auto num_pieces = static_cast<double>(wave.num_pieces);
    progress.tokens_per_second = seconds > 0 ? num_pieces / seconds : 0;
    LoadTestProgress shown = progress;
    shown.seconds = seconds_of(time - point_begin_);
    shown.num_pieces += wave.num_pieces;
    shown.num_running = num_running;
    shown.num_done += static_cast<int>(num_clients) - num_running - wave.num_cancelled;
    shown.num_errors += wave.num_errors;
    report(shown);
    lock.lock();
  }
}

void WaveRunner::run_wave(std::span<LoadRecord> records, LoadTestProgress& progress) {
  while (clients_.size() < records.size()) {
    clients_.push_back(std::make_unique<http::Client>(
        options_.url,
        http::ClientOptions{.idle_timeout = options_.idle_timeout, .api_key = options_.api_key}));
  }
  Wave wave(static_cast<int>(records.size()));
  std::vector<std::thread> threads(records.size());
  for (size_t i = 0; i < records.size(); ++i) {
    try {
      threads[i] = start_thread("load-" + std::to_string(records[i].index),
                                [&, i] { run_client(*clients_[i], records[i], wave); });
    } catch (const std::exception& error) {
      wave.start.count_down();
      records[i].sent = now();
      record_failure(records[i], error, now());
      finish(records[i], wave);
    }
  }
  watch(wave, records.size(), progress);
  for (std::thread& thread : threads) {
    if (thread.joinable()) thread.join();
  }
  progress.num_done += static_cast<int>(records.size()) - wave.num_cancelled;
  progress.num_errors += wave.num_errors;
  progress.num_pieces += wave.num_pieces;
}

double WaveRunner::warm_up() {
  is_warming_up_ = true;
  LoadRecord record;
  record.workload = output_workload(1);
  LoadTestProgress progress{.concurrency = 1, .num_total = 1, .is_warm_up = true};
  run_wave({&record, 1}, progress);
  is_warming_up_ = false;
  if (!record.error.empty() && !record.was_cancelled) {
    throw Error(ErrorCode::kIo, "the first request failed: " + record.error);
  }
  return record.total_seconds();
}

// Whether a line of which `num_waves` are done, recorded from `first` on, gets another.
bool WaveRunner::must_repeat(int num_waves, size_t first) const {
  if (options_.steady_limit <= 0) return num_waves < options_.repeat;
  const auto done = std::span<const LoadRecord>(records_).subspan(first);
  return num_waves < kMostRepeats && steadiness_of_waves(done).must_go_on(options_.steady_limit);
}

bool WaveRunner::run_point(const Point& point, int place, int num_places) {
  LoadTestProgress progress{.workload = point.workload, .concurrency = point.concurrency};
  progress.num_total = point.concurrency * options_.repeat;
  progress.place = place;
  progress.num_places = num_places;
  latencies_ = std::make_unique<LiveLatencies>();
  point_begin_ = Clock::now();
  bool is_alive = true;
  const size_t first = records_.size();
  for (int i = 0; must_repeat(i, first) && is_alive && !stop_; ++i) {
    progress.num_total = std::max(progress.num_total, (i + 1) * point.concurrency);
    std::vector<LoadRecord> records;
    for (int client = 0; client < point.concurrency; ++client) {
      records.push_back(next_record(point));
    }
    run_wave(records, progress);
    ++num_waves_;
    is_alive = std::any_of(records.begin(), records.end(), [](const LoadRecord& record) {
      return record.http_status != 0 || !record.pieces.empty();
    });
    std::move(records.begin(), records.end(), std::back_inserter(records_));
  }
  progress.is_last = true;
  progress.seconds = seconds_of(Clock::now() - point_begin_);
  progress.latency = latencies_->figures();
  on_progress_(progress);
  return is_alive && !stop_;
}

}  // namespace

LoadTestResult run_load_test(const LoadTestOptions& options, const std::atomic<bool>& stop,
                             const std::function<void(const LoadTestProgress&)>& on_progress) {
  check(options);
  LoadTestResult result;
  result.started_at = std::chrono::system_clock::now();
  WaveRunner runner(options, stop, on_progress);
  if (options.warm_up) result.warm_up_seconds = runner.warm_up();
  const std::vector<Point> points = plan(options);
  size_t num_points_done = 0;
  while (num_points_done < points.size() && !stop &&
         runner.run_point(points[num_points_done], static_cast<int>(num_points_done) + 1,
                          static_cast<int>(points.size()))) {
    ++num_points_done;
  }
  result.was_stopped = num_points_done < points.size();
  result.requests = runner.take_records();
  return result;
}

}  // namespace sluice::measure
