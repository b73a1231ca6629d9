#include "server/event_stream.h"

#include <mutex>
#include <new>
#include <utility>

namespace sluice::server {
namespace {

size_t size_of(const engine::Event& event) {
  size_t size = sizeof event + event.text.size() + event.embedding.size() * sizeof(float);
  for (const engine::OutputToken& output : event.tokens) {
    size += sizeof output + output.top.size() * sizeof(engine::Logprob);
  }
  return size;
}

}  // namespace

// The engine's side and the coroutine's.
struct EventStream::State {
  State(Exchange& exchange, size_t max_bytes)
      : waker(exchange.waker()), limit(max_bytes), charge(exchange.reply_budget()) {}

  // On the engine's thread. What cannot be kept is an end: the client is too slow, or no memory is
  // left.
  void add(size_t tag, engine::Event&& event) noexcept {
    bool is_first = false;
    bool is_cut = false;
    {
      std::lock_guard lock(mutex);
      if (is_closed) return;
      is_first = events.empty();
      is_cut = is_closed = !keep(tag, std::move(event));
    }
    if (is_cut) {
      waker.cut();
    } else if (is_first) {
      waker.wake();
    }
  }

  bool keep(size_t tag, engine::Event&& event) noexcept {
    try {
      // Who has taken all may have one event more, however much others keep.
      if (charge.size() <= limit && (charge.grow(size_of(event)) || charge.size() == 0)) {
        events.push_back({tag, std::move(event)});
        return true;
      }
    } catch (const std::bad_alloc&) {
    }
    clear();
    return false;
  }

  void clear() {
    events = {};
    charge.resize(0);
  }

  const Waker waker;  // first: it keeps the budget's owner alive
  const size_t limit;
  std::mutex mutex;  // guards what follows
  Charge charge;
  std::vector<Tagged> events;
  bool is_closed = false;
};

EventStream::EventStream(engine::Engine& engine, Exchange& exchange, size_t max_bytes)
    : engine_(engine), exchange_(exchange), state_(std::make_shared<State>(exchange, max_bytes)) {}

EventStream::~EventStream() {
  {
    std::lock_guard lock(state_->mutex);
    state_->is_closed = true;
    state_->clear();
  }
  for (const engine::RequestId id : running_) {
    if (id == 0) continue;
    try {
      engine_.cancel(id);
    } catch (const std::bad_alloc&) {  // it runs to its end, for nobody
    }
  }
}

engine::QueuePlace EventStream::submit(engine::Request request, size_t tag) {
  if (running_.size() <= tag) running_.resize(tag + 1);
  request.on_event = [state = state_, tag](engine::Event&& event) {
    state->add(tag, std::move(event));
  };
  const engine::Engine::Ticket ticket = engine_.submit(std::move(request));
  running_[tag] = ticket.id;
  return ticket.place;
}

Awaitable<EventStream::Tagged> EventStream::next() {
  while (num_given_ == taken_.size()) {
    taken_.clear();
    num_given_ = 0;
    {
      std::lock_guard lock(state_->mutex);
      taken_.swap(state_->events);
      state_->charge.resize(0);
    }
    // What was made before the server ended it is still given.
    const bool gives_rest = exchange_.is_ended_by_server() || exchange_.is_cancelled();
    if (taken_.empty() || !gives_rest) exchange_.check();
    if (taken_.empty()) co_await exchange_.pause();
  }
  Tagged next = std::move(taken_[num_given_++]);
  if (next.event.is_final) running_[next.tag] = 0;
  co_return next;
}

bool EventStream::is_empty() const {
  if (num_given_ < taken_.size()) return false;
  std::lock_guard lock(state_->mutex);
  return state_->events.empty();
}

}  // namespace sluice::server
