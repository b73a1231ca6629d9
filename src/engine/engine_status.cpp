#include <algorithm>
#include <new>
#include <utility>

#include "engine/engine_loop.h"

// What monitors and those who wait get to know of an engine.
namespace sluice::engine {
namespace {

// More requests than this are counted, but not listed: nobody reads on, and the lists of a full
// queue would take more memory than the queue.
constexpr size_t kMostListed = 256;
constexpr auto kQueueEventsEvery = std::chrono::milliseconds(250);

}  // namespace

EngineStats Engine::Loop::stats() const {
  const Clock::time_point now = Clock::now();
  std::lock_guard lock(mutex_);
  EngineStats stats = published_;
  stats.num_requests_rejected = num_rejected_;
  list_inbox(now, stats);
  stats.estimated_wait = place_behind(stats.num_waiting).estimated_wait;
  return stats;
}

// With the mutex held: those that have just come, behind all who wait. Without memory they are
// counted, but not listed.
void Engine::Loop::list_inbox(Clock::time_point now, EngineStats& stats) const noexcept {
  for (const auto& [id, state] : inbox_) {
    RequestStatus status;
    status.id = id;
    status.tag = state.request().tag;
    status.estimated_wait = place_behind(stats.num_waiting).estimated_wait;
    status.queue_position = ++stats.num_waiting;
    status.num_prompt_tokens = static_cast<int>(state.request().prompt.size());
    status.age = status.queued = now - state.submitted();
    if (stats.requests.size() >= kMostListed) continue;
    try {
      stats.requests.push_back(status);
    } catch (const std::bad_alloc&) {
      // Its number in the queue is known all the same.
    }
  }
}

// With the mutex held: where a request stands behind so many waiting ones.
QueuePlace Engine::Loop::place_behind(int num_ahead) const {
  const int position = std::max(0, num_ahead + 1 - num_free_places_);
  return {position, position * queue_interval_};
}

void Engine::Loop::measure_pace(Clock::time_point now) {
  pace_.observe(now, {scheduler_.counters().num_queued_starts, num_ended_, scheduler_.num_running(),
                      scheduler_.num_waiting()});
}

// To those who want to know: at once where they stand, later where they have got to.
void Engine::Loop::tell_places(Clock::time_point now) {
  tell_newcomers();
  if (told_places_.empty() || now - last_told_ < kQueueEventsEvery) return;
  last_told_ = now;
  int position = 0;
  auto told = told_places_.begin();
  scheduler_.for_each_waiting([&](const Sequence& sequence) {
    ++position;
    // Who is not met in the queue has begun or ended.
    while (told != told_places_.end() && told->first < sequence.id) told = told_places_.erase(told);
    if (told == told_places_.end() || told->first != sequence.id) return;
    if (told->second != position) tell_place(sequence.id, position);
    told->second = position;
    ++told;
  });
  told_places_.erase(told, told_places_.end());
}

// They are the last ones of the queue, so it need not be walked.
void Engine::Loop::tell_newcomers() {
  int position = scheduler_.num_waiting();
  for (; !newcomers_.empty(); newcomers_.pop_back()) {
    const RequestId id = newcomers_.back();
    const Sequence* sequence = scheduler_.find(id);
    if (sequence == nullptr || sequence->started) continue;
    const auto told = told_places_.find(id);
    if (told != told_places_.end()) {
      told->second = position;
      tell_place(id, position);
    }
    --position;
  }
}

void Engine::Loop::tell_place(RequestId id, int position) {
  RequestState& state = states_.at(id);
  state.tell_place({position, position * pace_.interval()});
  if (state.callback_error()) has_broken_ = true;
}

// In debug builds a table that does not fit together ends the program.
void Engine::Loop::check_when_idle() const noexcept {
#ifndef NDEBUG
  try {
    scheduler_.check_integrity();
  } catch (const std::bad_alloc&) {
    // Another time.
  }
#endif
}

// Without memory for the table of requests monitors see the numbers alone.
void Engine::Loop::publish_stats() noexcept {
  const Clock::time_point now = Clock::now();
  EngineStats stats;
  static_cast<EngineTotals&>(stats) = totals_;
  stats.num_running = scheduler_.num_running();
  stats.num_waiting = scheduler_.num_waiting();
  stats.num_waiting_for_cache = scheduler_.is_short_of_blocks() ? stats.num_waiting : 0;
  stats.num_places = options_.max_sequences;
  stats.num_blocks_total = scheduler_.pool().num_total();
  stats.num_blocks_used = scheduler_.pool().num_used();
  stats.num_blocks_cached = scheduler_.pool().num_cached();
  stats.num_prompt_tokens = scheduler_.counters().num_prefilled_tokens;
  stats.num_cached_tokens = scheduler_.counters().num_cached_tokens;
  stats.num_preemptions = scheduler_.counters().num_preemptions;
  stats.num_shifts = scheduler_.counters().num_shifts;
  stats.num_refills = scheduler_.counters().num_refills;
  stats.fastest_decode = fastest_decode_;
  try {
    stats.requests = list_requests(now);
  } catch (const std::bad_alloc&) {
    stats.requests.clear();
  }
  std::lock_guard lock(mutex_);
  std::swap(published_, stats);
  num_waiting_ = published_.num_waiting;
  num_free_places_ = num_waiting_ > 0 ? 0 : options_.max_sequences - published_.num_running;
  queue_interval_ = pace_.interval();
}

std::vector<RequestStatus> Engine::Loop::list_requests(Clock::time_point now) const {
  std::vector<RequestStatus> requests;
  const auto num_running = static_cast<size_t>(scheduler_.num_running());
  const auto num_waiting = static_cast<size_t>(scheduler_.num_waiting());
  requests.reserve(num_running + std::min(num_waiting, kMostListed));
  scheduler_.for_each_running([&](const Sequence& sequence) {
    requests.push_back(status_of(sequence, now));
    requests.back().is_running = true;
  });
  int position = 0;
  const std::chrono::nanoseconds interval = pace_.interval();
  const auto list = [&](const Sequence& sequence) {
    requests.push_back(status_of(sequence, now));
    requests.back().queue_position = ++position;
    requests.back().estimated_wait = position * interval;
  };
  scheduler_.for_each_waiting(list, kMostListed - std::min(num_running, kMostListed));
  return requests;
}

RequestStatus Engine::Loop::status_of(const Sequence& sequence, Clock::time_point now) const {
  RequestStatus status;
  status.id = sequence.id;
  status.num_prompt_tokens = sequence.num_prompt_tokens;
  status.num_cached_tokens = sequence.num_cached_tokens;
  status.num_prefilled_tokens = std::min(sequence.num_computed, sequence.num_prompt_tokens);
  status.num_output_tokens = sequence.num_output_tokens();
  const RequestState& state = states_.at(sequence.id);
  status.tag = state.request().tag;
  status.age = now - state.submitted();
  status.queued = sequence.started.value_or(now) - state.submitted();
  status.time_to_first_token = state.time_to_first_token();
  status.mean_token_time = state.mean_token_time();
  return status;
}

}  // namespace sluice::engine
