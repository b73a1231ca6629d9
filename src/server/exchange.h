#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/error.h"
#include "server/byte_budget.h"
#include "server/http_message.h"
#include "server/request_life.h"
#include "server/transport_options.h"

namespace sluice::server {

struct Connection;
class Exchange;
template <typename T>
using Awaitable = boost::asio::awaitable<T>;

// Rouses the coroutine of an exchange from any thread; does nothing when that is over.
class Waker {
 public:
  struct State;
  explicit Waker(std::shared_ptr<State> state) : state_(std::move(state)) {}
  void wake() const noexcept;
  // The client does not take what is made for it: the connection ends, also in the middle of a
  // write.
  void cut() const noexcept;
  void cancel() const noexcept;  // Exchange::cancel()
  void detach() const noexcept;  // on the strand: the exchange is over

 private:
  void post(void (*change)(Exchange&)) const noexcept;
  std::shared_ptr<State> state_;
};

// The body of a request that is read by who answers it.
class BodySource {
 public:
  virtual ~BodySource() = default;
  // The next bytes, at most as many as fit; 0 at the end. Throws Error: kCancelled when the client
  // has left, kDeadlineExceeded when it is too slow, kInvalidArgument for a broken body.
  virtual Awaitable<size_t> read(std::span<std::byte> out) = 0;
  virtual std::optional<uint64_t> length() const = 0;  // nothing when it is not told
};

// One request and the reply to it, in the hands of the one coroutine that answers it, on the
// connection's strand: nothing here is for other threads. Ends early when the client leaves, its
// time is over, somebody cancels it or the server ends: check() throws then, and so do flush() and
// what calls it.
class Exchange {
 public:
  using Clock = std::chrono::steady_clock;
  Exchange(Connection& connection, HttpRequest request);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  const HttpRequest& request() const { return request_; }
  std::string take_body() { return std::move(request_.body); }
  // For routes that take the body in pieces: fills the front of `out`, all of it but at the end,
  // and returns how much that was. Throws as BodySource::read() and check() do.
  Awaitable<size_t> read_body(std::span<std::byte> out);
  std::optional<uint64_t> body_length() const;
  void set_body_source(BodySource* source) { body_source_ = source; }
  void set_body(std::string body);  // and the moment of its arrival
  // What the request takes of the memory for all bodies. Throws Error(kBusy) when there is too
  // little.
  void charge_body(size_t size_bytes);

  // How long the request may take from its arrival on; max() for ever.
  void set_timeout(std::chrono::nanoseconds timeout);
  std::optional<Clock::time_point> deadline() const { return deadline_; }
  // From here on the engine watches it.
  void leave_deadline_to_engine() { deadline_.reset(); }
  // Where the request is, for the error of one whose time is over.
  void set_stage(std::string stage) { stage_ = std::move(stage); }
  // kDeadlineExceeded: "the request's time of 2s was over: STAGE".
  Error expired() const;

  // Suspends until somebody wakes the coroutine, for a second at most: who waits for something
  // looks at it in a loop, with check() in it.
  Awaitable<void> pause();
  // Throws Error when it makes no sense to go on: kCancelled when the client has left or somebody
  // cancelled it, kBusy when the server ends, expired().
  void check() const;
  bool is_over() const;  // check() throws
  bool is_ended_by_server() const { return is_ended_by_server_; }
  bool is_cancelled() const { return is_cancelled_; }
  Waker waker() const { return waker_; }
  // Stopped when the client leaves, the server ends or it is cancelled; the deadline is for others
  // to watch.
  std::stop_token stop_token() const { return stop_.get_token(); }

  // The reply is not worth ending for a client that has closed its sending side only.
  void serve_half_closed() { serves_half_closed_ = true; }

  // Sent with whatever reply follows.
  void add_header(std::string name, std::string value);
  bool has_header(std::string_view name) const;
  // A whole reply; nothing when one has begun.
  Awaitable<void> respond(Reply reply);
  // A streamed one: begin(), write() ..., end(). What is written waits for flush(), which suspends
  // while the client is slow, and cuts one that does not take 64 KiB in write_timeout.
  void begin(std::string_view content_type);
  void write(std::string_view data);
  size_t num_unsent_bytes() const { return unsent_.size(); }
  Awaitable<void> flush();
  Awaitable<void> end();
  bool is_begun() const { return is_begun_; }
  bool is_whole() const { return is_finished_ && can_write_; }

  // What the reply's head said, 0 as long as there is none; and how much went out.
  int status() const { return status_; }
  uint64_t num_sent_bytes() const { return num_sent_bytes_; }
  // What becomes of the request, for the journal.
  RequestLife& life() { return life_; }

  // The memory for what clients have not taken yet.
  ByteBudget& reply_budget() const;
  const TransportOptions& options() const;

  // For the session: the client has left (or only closed its side: it may still read), the server
  // ends the request, nothing can be written any longer.
  void leave(bool can_still_read);
  void end_by_server();
  // For who may end other clients' requests: the client gets an error, or the end of its stream.
  void cancel();
  bool keep_alive() const { return keep_alive_; }
  void forbid_keep_alive() { keep_alive_ = false; }

 private:
  Awaitable<bool> send(std::string_view data);

  Connection& connection_;
  HttpRequest request_;
  Charge body_charge_;
  BodySource* body_source_ = nullptr;
  std::chrono::nanoseconds timeout_ = std::chrono::nanoseconds::max();
  std::optional<Clock::time_point> deadline_;
  std::string stage_ = "it was being read";
  std::stop_source stop_;
  Headers headers_;
  std::string unsent_;
  RequestLife life_;
  int status_ = 0;
  uint64_t num_sent_bytes_ = 0;
  bool keep_alive_;
  bool is_begun_ = false;
  bool is_chunked_ = false;
  bool is_finished_ = false;
  bool serves_half_closed_ = false;
  bool has_left_ = false;
  bool can_write_ = true;
  bool is_ended_by_server_ = false;
  bool is_cancelled_ = false;
  const Waker waker_;
};

}  // namespace sluice::server
