#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "server/exchange.h"

namespace sluice::server {

// What an engine makes for one exchange: requests go in, their events come out in the order in
// which the engine made them. Requests that still run when it goes are cancelled. The engine never
// waits: a client that does not take what is made for it is cut when more than max_bytes lie here.
class EventStream {
 public:
  EventStream(engine::Engine& engine, Exchange& exchange, size_t max_bytes);
  ~EventStream();
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  // As Engine::submit(). `tag`: the caller's number for the request's events.
  engine::QueuePlace submit(engine::Request request, size_t tag = 0);

  // Nothing more is wanted of that request but its end, which is still to come.
  void end(size_t tag) { engine_.end(running_[tag]); }

  struct Tagged {
    size_t tag = 0;
    engine::Event event;
  };
  // The next event. Throws Error(kCancelled) when the client has left or was cut, and kBusy when
  // the server ends; deadlines are the engine's.
  Awaitable<Tagged> next();
  // No event is there now: what was written should go out.
  bool is_empty() const;

 private:
  struct State;
  engine::Engine& engine_;
  Exchange& exchange_;
  std::shared_ptr<State> state_;
  std::vector<engine::RequestId> running_;  // by tag; 0: it has ended
  std::vector<Tagged> taken_;
  size_t num_given_ = 0;  // of taken_
};

}  // namespace sluice::server
