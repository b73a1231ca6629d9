#include "measure/traffic.h"

#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <limits>
#include <list>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/threads.h"
#include "measure/workload.h"

namespace sluice::measure {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr std::chrono::milliseconds kTick{100};
constexpr std::chrono::milliseconds kPauseAfterFailure{100};
constexpr int kFailuresWhenGone = 32;
constexpr int kWarmUpIndex = 1 << 30;  // a prompt that no request of the test has

void check(const TrafficOptions& options) {
  require_argument(!options.model.empty(), "the load test needs a model");
  require_argument(!options.arrivals.empty(), "the load test needs a number of clients or a rate");
  for (const Arrivals& arrivals : options.arrivals) {
    require_argument((arrivals.speedup > 0) == (options.kind == TrafficKind::kTrace),
                     "a trace, and nothing else, is sent at a speed");
    if (arrivals.rate > 0) {
      require_argument(arrivals.rate <= 1e5, "the rate must be at most 100000 requests a second");
    } else if (arrivals.speedup == 0) {
      require_argument(arrivals.num_clients >= 1 && arrivals.num_clients <= kMaxClients,
                       "clients must be from 1 to " + std::to_string(kMaxClients));
    }
  }
  require_argument(options.num_requests >= 0 && options.num_requests <= 10'000'000,
                   "the number of requests must be at most 10000000");
  const bool is_trace = options.kind == TrafficKind::kTrace;
  require_argument(is_trace || options.num_requests > 0 || options.duration.count() > 0,
                   "the load test needs a duration or a number of requests");
  require_argument(!is_trace || !options.trace.requests.empty(), "the trace has no requests");
  require_argument(options.kind != TrafficKind::kPrompts || !options.prompts.empty(),
                   "the load test needs prompts");
  require_argument(options.shared_prefix_tokens >= 0 && options.shared_prefix_tokens <= 1'000'000,
                   "the shared beginning must be at most 1000000 tokens");
  require_argument(options.cancel_rate >= 0 && options.cancel_rate <= 1,
                   "the share of requests to cancel must be from 0 to 1");
  require_argument(options.num_turns >= 1 && options.num_turns <= 1000,
                   "a chat must have from 1 to 1000 turns");
  for (const Arrivals& arrivals : options.arrivals) {
    require_argument(options.num_turns == 1 || !arrivals.is_open_loop(),
                     "chats of several turns need clients that wait for their replies");
  }
  require_argument(options.story_words >= 1 && options.max_tokens >= 1,
                   "words and the most tokens must be at least 1");
}

double process_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Each replay has words of its own, so that it finds nothing of the one before in a cache.
std::string trace_prompt(const TrafficOptions& options, const TrafficRecord& record) {
  const auto place = static_cast<size_t>(record.place);
  const auto first_index = static_cast<uint64_t>(record.index - record.place);
  return make_trace_prompt(options.trace.requests[place % options.trace.requests.size()],
                           options.seed + first_index, static_cast<uint64_t>(place));
}

// What a request asks: its prompt, and how long its reply may be.
Prompt prompt_of(const TrafficOptions& options, const TrafficRecord& record) {
  const auto index = static_cast<uint64_t>(record.index);
  switch (options.kind) {
    case TrafficKind::kMixed: {
      MixedRequest request = make_mixed_request(options.mix, options.seed, index);
      return {std::move(request.prompt), request.max_tokens};
    }
    case TrafficKind::kSized: {
      MixedRequest request = make_sized_request(options.input, options.output, options.seed, index);
      return {std::move(request.prompt), request.max_tokens};
    }
    case TrafficKind::kPrompts:
      return options.prompts[index % options.prompts.size()];
    case TrafficKind::kTrace:
      return {trace_prompt(options, record)};
    case TrafficKind::kStories:
      break;
  }
  return {make_prompt(output_workload(options.story_words), 0)};
}

int max_tokens_of(const TrafficOptions& options, const TrafficRecord& record) {
  if (options.kind == TrafficKind::kTrace) {  // whose prompts may be long: not only for this
    return options.trace.requests[static_cast<size_t>(record.place)].output_tokens;
  }
  return prompt_of(options, record).max_tokens.value_or(options.max_tokens);
}

// At which piece of text its client leaves; 0: it stays.
int leaves_at(const TrafficOptions& options, const TrafficRecord& record) {
  if (options.cancel_rate <= 0) return 0;
  constexpr uint64_t kLeaving = 0xBB67AE8584CAA73B;  // drawn apart from lengths and words
  std::mt19937_64 random(options.seed + kLeaving + static_cast<uint64_t>(record.index));
  if (uniform_from_bits(random()) > options.cancel_rate) return 0;
  const int latest = std::clamp(record.max_tokens - 1, 1, kLeavesBy);
  return 1 + static_cast<int>(random() % static_cast<uint64_t>(latest));
}

ChatQuery make_query(const TrafficOptions& options, const TrafficRecord& record) {
  const auto index = static_cast<uint64_t>(record.index);
  return {.model = options.model,
          .prompt = prompt_of(options, record).text,
          .seed = options.seed + index,
          .temperature = options.temperature,
          .max_tokens = record.max_tokens,
          .ignore_end = options.ignore_end,
          .headers = options.headers,
          .keeps_text = options.num_turns > 1};
}

// One point: its threads (one a client) and what they share.
class PointRunner {
 public:
  PointRunner(const TrafficOptions& options, const Arrivals& arrivals, int place, int first_index,
              Clock::time_point start, const std::atomic<bool>& stop,
              const std::function<void(const TrafficProgress&)>& on_progress)
      : options_(options),
        arrivals_(arrivals),
        is_open_loop_(arrivals.is_open_loop()),
        most_requests_(most_requests(options)),
        has_duration_(options.num_requests == 0 && options.duration.count() > 0),
        first_index_(first_index),
        start_(start),
        stop_(stop),
        on_progress_(on_progress),
        begin_(Clock::now()),
        shared_prefix_(make_shared_prefix(options.shared_prefix_tokens, options.seed)),
        place_(place),
        random_(options.seed + static_cast<uint64_t>(first_index)) {}

  TrafficPoint run();
  bool is_server_gone() const { return num_failures_in_a_row_ >= kFailuresWhenGone; }

 private:
  using Lock = std::unique_lock<std::mutex>;

  static int most_requests(const TrafficOptions& options) {
    const int most =
        options.num_requests > 0 ? options.num_requests : std::numeric_limits<int>::max();
    if (options.kind != TrafficKind::kTrace) return most;
    return static_cast<int>(std::min(static_cast<size_t>(most), options.trace.requests.size()));
  }

  void add_client();
  void run_client(http::Client& client);
  std::optional<TrafficRecord> next_request(int turn);
  TrafficRecord new_record(Clock::time_point due);
  void send(http::Client& client, TrafficRecord& record, std::vector<ChatTurn>& history);
  void finish(TrafficRecord record);
  void let_arrive(Clock::time_point now);
  Clock::time_point arrival_after(Clock::time_point last);
  bool has_sent_all(Clock::time_point now) const;
  void send_all(Lock& lock);
  void drain(Lock& lock);
  void cut_off(Lock& lock);
  double share_done(Clock::time_point now) const;
  void report(Lock& lock, bool is_last);
  void join();

  const TrafficOptions& options_;
  const Arrivals arrivals_;
  const bool is_open_loop_;
  const int most_requests_;
  const bool has_duration_;
  const int first_index_;
  const Clock::time_point start_;  // of the test
  const std::atomic<bool>& stop_;
  const std::function<void(const TrafficProgress&)>& on_progress_;
  const Clock::time_point begin_;  // of the point
  const std::string shared_prefix_;
  const int place_;  // of the points, from 1
  std::atomic<int64_t> num_pieces_{0};
  LiveLatencies latencies_;

  std::mutex mutex_;                 // guards the rest
  std::condition_variable work_;     // for clients: a request arrived, or it is over
  std::condition_variable changed_;  // for the runner: a request has ended
  std::mt19937_64 random_;           // of the arrivals
  Clock::time_point next_arrival_{};
  std::deque<TrafficRecord> arrived_;  // not yet taken by a client
  std::list<http::Client> clients_;    // one a thread; connections are kept
  std::vector<std::thread> threads_;
  std::vector<TrafficRecord> done_;
  Clock::time_point last_report_{};
  int num_requests_ = 0;
  int num_idle_ = 0;
  int num_running_ = 0;
  int num_failures_in_a_row_ = 0;  // without any reply
  int num_refused_ = 0;
  int num_errors_ = 0;
  bool is_over_ = false;  // nothing more is sent but what has arrived
};

void PointRunner::add_client() {
  http::Client& client = clients_.emplace_back(
      options_.url,
      http::ClientOptions{.idle_timeout = options_.idle_timeout, .api_key = options_.api_key});
  threads_.emplace_back() = start_thread("load-client", [this, &client] { run_client(client); });
}

void PointRunner::run_client(http::Client& client) {
  std::vector<ChatTurn> history;  // of this client's chat
  while (std::optional<TrafficRecord> record = next_request(static_cast<int>(history.size()) + 1)) {
    send(client, *record, history);
    const bool must_pause = !is_open_loop_ && !record->is_success() && !record->has_left;
    finish(std::move(*record));
    if (!must_pause) continue;
    Lock lock(mutex_);
    work_.wait_for(lock, kPauseAfterFailure, [&] { return is_over_; });
  }
}

// None when the point is over. In an open loop it waits for a request to arrive.
std::optional<TrafficRecord> PointRunner::next_request(int turn) {
  Lock lock(mutex_);
  if (!is_open_loop_) {
    const Clock::time_point now = Clock::now();
    if (is_over_ || has_sent_all(now)) return std::nullopt;
    ++num_running_;
    TrafficRecord record = new_record(now);
    record.turn = turn;
    return record;
  }
  ++num_idle_;
  work_.wait(lock, [&] { return is_over_ || !arrived_.empty(); });
  --num_idle_;
  if (arrived_.empty()) return std::nullopt;
  TrafficRecord record = std::move(arrived_.front());
  arrived_.pop_front();
  ++num_running_;
  return record;
}

TrafficRecord PointRunner::new_record(Clock::time_point due) {
  TrafficRecord record;
  record.place = num_requests_++;
  record.index = first_index_ + record.place;
  record.due = due - start_;
  record.max_tokens = max_tokens_of(options_, record);
  record.leaves_at = leaves_at(options_, record);
  return record;
}

// A chat that has ended, or cannot go on, leaves an empty history.
void PointRunner::send(http::Client& client, TrafficRecord& record,
                       std::vector<ChatTurn>& history) {
  record.sent = Clock::now() - start_;
  try {
    ChatQuery query = make_query(options_, record);
    if (record.turn == 1) query.prompt.insert(0, shared_prefix_);
    query.history = std::move(history);
    history.clear();
    const auto on_pieces = [&](int num_pieces) {
      num_pieces_ += num_pieces;
      latencies_.add(record, record.due, num_pieces);
      return record.leaves_at == 0 || record.pieces.size() < static_cast<size_t>(record.leaves_at);
    };
    exchange(client, options_.api, query, start_, record, on_pieces);
    if (record.is_success() && record.turn < options_.num_turns) {
      history = std::move(query.history);
      history.push_back({std::move(query.prompt), std::exchange(record.text, "")});
    }
    record.text.clear();
  } catch (const std::exception& error) {
    record_failure(record, error, Clock::now() - start_);
    record.num_output_tokens = static_cast<int>(record.pieces.size());
  }
}

void PointRunner::finish(TrafficRecord record) {
  std::lock_guard lock(mutex_);
  --num_running_;
  const bool has_reply = record.http_status != 0 || !record.pieces.empty();
  num_failures_in_a_row_ = has_reply || record.was_cancelled ? 0 : num_failures_in_a_row_ + 1;
  if (record.is_refused()) {
    ++num_refused_;
  } else if (!record.is_success() && !record.was_cancelled && !record.has_left) {
    ++num_errors_;
  }
  done_.push_back(std::move(record));
  changed_.notify_one();
}

bool PointRunner::has_sent_all(Clock::time_point now) const {
  return num_requests_ >= most_requests_ || (has_duration_ && now >= begin_ + options_.duration);
}

// Of the next request; the last of a trace has none.
Clock::time_point PointRunner::arrival_after(Clock::time_point last) {
  std::chrono::duration<double> gap{0};
  if (arrivals_.rate > 0) {
    gap = std::chrono::duration<double>(exponential_from_bits(random_()) / arrivals_.rate);
  } else if (num_requests_ < most_requests_) {
    constexpr double kLongest = 4e18;  // nanoseconds: a century, and far from the clock's end
    const nanoseconds due = options_.trace.requests[static_cast<size_t>(num_requests_)].due;
    const double scaled = static_cast<double>(due.count()) / arrivals_.speedup;
    return begin_ + nanoseconds(static_cast<int64_t>(std::min(scaled, kLongest)));
  }
  return last + std::chrono::duration_cast<nanoseconds>(gap);
}

// Queues what is due by now, and sees to it that a client is there for each.
void PointRunner::let_arrive(Clock::time_point now) {
  while (next_arrival_ <= now && !has_sent_all(next_arrival_)) {
    arrived_.push_back(new_record(next_arrival_));
    next_arrival_ = arrival_after(next_arrival_);
    if (num_idle_ < static_cast<int>(arrived_.size()) && clients_.size() < kMaxInFlight) {
      add_client();
    }
    work_.notify_one();
  }
}

void PointRunner::send_all(Lock& lock) {
  next_arrival_ = begin_;
  while (true) {
    const Clock::time_point now = Clock::now();
    if (is_open_loop_) let_arrive(now);
    if (stop_ || is_server_gone() || has_sent_all(now)) break;
    report(lock, /*is_last=*/false);
    Clock::time_point wake = now + kTick;
    if (is_open_loop_) wake = std::min(wake, next_arrival_);
    if (has_duration_) wake = std::min(wake, begin_ + options_.duration);
    changed_.wait_until(lock, wake);
  }
  is_over_ = true;
  work_.notify_all();
}

void PointRunner::drain(Lock& lock) {
  const Clock::time_point end = Clock::now() + options_.drain;
  while ((num_running_ > 0 || !arrived_.empty()) && !stop_ && !is_server_gone() &&
         Clock::now() < end) {
    changed_.wait_until(lock, std::min(Clock::now() + kTick, end));
    report(lock, /*is_last=*/false);
  }
}

void PointRunner::cut_off(Lock& lock) {
  for (TrafficRecord& record : arrived_) {
    record.was_cancelled = true;
    record.sent = record.ended = Clock::now() - start_;
    done_.push_back(std::move(record));
  }
  arrived_.clear();
  // Again and again, because an abort does nothing to a call that is about to begin.
  while (num_running_ > 0) {
    for (http::Client& client : clients_) client.abort();
    changed_.wait_for(lock, kTick, [&] { return num_running_ == 0; });
  }
}

double PointRunner::share_done(Clock::time_point now) const {
  const double share = has_duration_
                           ? seconds_of(now - begin_) / seconds_of(options_.duration)
                           : static_cast<double>(done_.size()) / std::max(most_requests_, 1);
  return std::min(share, 1.0);
}

void PointRunner::report(Lock& lock, bool is_last) {
  const Clock::time_point now = Clock::now();
  if (!is_last && now - last_report_ < kTick) return;
  last_report_ = now;
  TrafficProgress progress{.arrivals = arrivals_,
                           .num_running = num_running_ + static_cast<int>(arrived_.size()),
                           .num_done = static_cast<int>(done_.size()),
                           .num_refused = num_refused_,
                           .num_errors = num_errors_,
                           .seconds = seconds_of(now - begin_),
                           .num_pieces = num_pieces_,
                           .latency = latencies_.figures(),
                           .share_done = share_done(now),
                           .place = place_,
                           .is_last = is_last};
  progress.tokens_per_second =
      static_cast<double>(progress.num_pieces) / std::max(progress.seconds, 1e-9);
  lock.unlock();
  on_progress_(progress);
  lock.lock();
}

TrafficPoint PointRunner::run() {
  const double cpu_before = process_cpu_seconds();
  TrafficPoint point{.arrivals = arrivals_, .begin = begin_ - start_};
  Lock lock(mutex_);
  try {
    for (int i = 0; i < arrivals_.num_clients && !is_open_loop_; ++i) add_client();
    send_all(lock);
  } catch (const std::exception&) {  // no thread or no memory for another client
    is_over_ = true;
    work_.notify_all();
    cut_off(lock);
    lock.unlock();
    join();
    throw;
  }
  point.end = Clock::now() - start_;
  point.client_cpu_seconds = process_cpu_seconds() - cpu_before;
  drain(lock);
  cut_off(lock);
  report(lock, /*is_last=*/true);
  lock.unlock();
  join();
  if (!has_duration_) {
    point.client_cpu_seconds = process_cpu_seconds() - cpu_before;
    for (const TrafficRecord& record : done_) point.end = std::max(point.end, record.ended);
  }
  point.requests = std::move(done_);
  return point;
}

void PointRunner::join() {
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

double warm_up(const TrafficOptions& options, Clock::time_point start) {
  TrafficRecord record;
  record.index = kWarmUpIndex;
  record.max_tokens = 1;
  http::Client client(options.url,
                      {.idle_timeout = options.idle_timeout, .api_key = options.api_key});
  exchange(client, options.api, make_query(options, record), start, record,
           [](int) { return true; });
  if (!record.error.empty()) {
    throw Error(ErrorCode::kIo, "the first request failed: " + record.error);
  }
  return record.total_seconds();
}

}  // namespace

std::string_view traffic_name(TrafficKind kind) {
  switch (kind) {
    case TrafficKind::kStories:
      return "clients";
    case TrafficKind::kMixed:
      return "mixed";
    case TrafficKind::kSized:
      return "sized";
    case TrafficKind::kTrace:
      return "trace";
    case TrafficKind::kPrompts:
      break;
  }
  return "prompts";
}

std::optional<double> TrafficRecord::ttft_seconds() const {
  if (pieces.empty()) return std::nullopt;
  return std::chrono::duration<double>(pieces.front() - due).count();
}

TrafficResult run_traffic(const TrafficOptions& options, const std::atomic<bool>& stop,
                          const std::function<void(const TrafficProgress&)>& on_progress) {
  const auto next = [&](const std::vector<TrafficPoint>& points) -> std::optional<Arrivals> {
    if (points.size() == options.arrivals.size()) return std::nullopt;
    return options.arrivals[points.size()];
  };
  return run_traffic_points(options, next, stop, on_progress);
}

TrafficResult run_traffic_points(const TrafficOptions& options, const NextArrivals& next,
                                 const std::atomic<bool>& stop,
                                 const std::function<void(const TrafficProgress&)>& on_progress) {
  check(options);
  TrafficResult result;
  result.started_at = std::chrono::system_clock::now();
  const Clock::time_point start = Clock::now();
  if (options.warm_up) {
    on_progress({.is_warm_up = true});
    result.warm_up_seconds = warm_up(options, start);
  }
  int num_requests = 0;
  while (const std::optional<Arrivals> arrivals = next(result.points)) {
    const int place = static_cast<int>(result.points.size()) + 1;
    PointRunner runner(options, *arrivals, place, num_requests, start, stop, on_progress);
    result.points.push_back(runner.run());
    num_requests += static_cast<int>(result.points.back().requests.size());
    result.was_stopped = stop || runner.is_server_gone();
    if (result.was_stopped) break;
  }
  return result;
}

}  // namespace sluice::measure
