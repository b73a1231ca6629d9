#include "server/exchange.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/units.h"
#include "server/connection.h"

namespace sluice::server {
namespace {

constexpr size_t kSmallBody = 16u << 10;  // goes out in one piece with the head

}  // namespace

struct Waker::State {
  State(Connection& connection, Exchange& owner)
      : core(connection.core),
        strand(connection.strand),
        exchange(&owner),
        timer(&connection.timer) {}

  const std::shared_ptr<Core> core;
  const Strand strand;
  std::atomic<bool> is_posted = false;
  // Only touched on the strand; null when the exchange is over.
  Exchange* exchange;
  net::steady_timer* timer;
};

void Waker::wake() const noexcept {
  if (!state_->is_posted.exchange(true)) post(nullptr);
}

void Waker::cut() const noexcept {
  post([](Exchange& exchange) { exchange.leave(false); });
}

void Waker::cancel() const noexcept {
  post([](Exchange& exchange) { exchange.cancel(); });
}

void Waker::detach() const noexcept { state_->exchange = nullptr; }

void Waker::post(void (*change)(Exchange&)) const noexcept {
  try {
    state_->core->post(state_->strand, [state = state_, change] {
      state->is_posted = false;
      if (!state->exchange) return;
      if (change) change(*state->exchange);
      state->timer->cancel();
    });
  } catch (...) {  // no memory: the coroutine looks by itself within a second
    state_->is_posted = false;
  }
}

Exchange::Exchange(Connection& connection, HttpRequest request)
    : connection_(connection),
      request_(std::move(request)),
      body_charge_(connection.core->bodies),
      keep_alive_(request_.keep_alive),
      waker_(std::make_shared<Waker::State>(connection, *this)) {
  add_header("X-Request-Id", request_.id);
}

Exchange::~Exchange() { waker_.detach(); }

void Exchange::set_body(std::string body) {
  request_.body = std::move(body);
  request_.arrival = Clock::now();
}

Awaitable<size_t> Exchange::read_body(std::span<std::byte> out) {
  size_t filled = 0;
  while (body_source_ && filled < out.size()) {
    const size_t count = co_await body_source_->read(out.subspan(filled));
    check();
    if (count == 0) break;
    filled += count;
  }
  co_return filled;
}

std::optional<uint64_t> Exchange::body_length() const {
  return body_source_ ? body_source_->length() : std::nullopt;
}

void Exchange::charge_body(size_t size_bytes) {
  if (body_charge_.resize(size_bytes)) return;
  throw Error(ErrorCode::kBusy, "server busy: too many large requests at once");
}

void Exchange::set_timeout(std::chrono::nanoseconds timeout) {
  timeout_ = timeout;
  deadline_.reset();
  // Nothing also for times that the clock cannot hold.
  if (timeout < Clock::time_point::max() - request_.arrival) deadline_ = request_.arrival + timeout;
}

Error Exchange::expired() const {
  return Error(ErrorCode::kDeadlineExceeded,
               "the request's time of " + format_go_duration(timeout_) + " was over: " + stage_);
}

Awaitable<void> Exchange::pause() {
  const Clock::time_point now = Clock::now();
  Clock::time_point when = now + std::chrono::seconds(1);
  if (deadline_ && *deadline_ > now) when = std::min(when, *deadline_);
  co_await connection_.wait_until(when);
}

bool Exchange::is_over() const {
  return has_left_ || is_ended_by_server_ || is_cancelled_ ||
         (deadline_ && Clock::now() >= *deadline_);
}

void Exchange::check() const {
  if (has_left_) throw Error(ErrorCode::kCancelled, "request canceled");
  if (is_ended_by_server_) throw Error(ErrorCode::kBusy, "server busy: it is shutting down");
  if (is_cancelled_) throw Error(ErrorCode::kCancelled, "the request was cancelled");
  if (is_over()) throw expired();
}

void Exchange::add_header(std::string name, std::string value) {
  headers_.emplace_back(std::move(name), std::move(value));
}

bool Exchange::has_header(std::string_view name) const {
  return std::any_of(headers_.begin(), headers_.end(),
                     [name](const auto& header) { return header.first == name; });
}

Awaitable<void> Exchange::respond(Reply reply) {
  if (is_begun_) co_return;
  for (auto& header : headers_) reply.headers.push_back(std::move(header));
  status_ = reply.status;
  unsent_ = format_head(reply, Framing::kWhole, keep_alive_);
  const bool has_body = request_.method != "HEAD";
  if (has_body && reply.body.size() <= kSmallBody) unsent_ += reply.body;
  is_begun_ = true;
  bool is_sent = co_await send(unsent_);
  if (is_sent && has_body && reply.body.size() > kSmallBody) co_await send(reply.body);
  is_finished_ = true;  // not before: what fails in between ends the connection
}

void Exchange::begin(std::string_view content_type) {
  if (is_begun_) return;
  is_chunked_ = !request_.is_http10;
  if (!is_chunked_) keep_alive_ = false;
  // Asks proxies that would collect a stream to let it through.
  headers_.emplace_back("X-Accel-Buffering", "no");
  const Reply head{200, std::string(content_type), "", std::move(headers_)};
  status_ = head.status;
  unsent_ = format_head(head, is_chunked_ ? Framing::kChunked : Framing::kUntilClose, keep_alive_);
  is_begun_ = true;
}

void Exchange::write(std::string_view data) {
  if (data.empty() || request_.method == "HEAD") return;
  const size_t before = unsent_.size();
  try {
    if (is_chunked_) {
      append_chunk(unsent_, data);
    } else {
      unsent_ += data;
    }
  } catch (...) {
    unsent_.resize(before);  // no half of a chunk
    throw;
  }
}

Awaitable<void> Exchange::flush() {
  const bool is_sent = co_await send(unsent_);
  unsent_.clear();
  if (!is_sent) throw Error(ErrorCode::kCancelled, "request canceled");
}

Awaitable<void> Exchange::end() {
  if (is_finished_) co_return;
  if (is_chunked_ && request_.method != "HEAD") unsent_ += "0\r\n\r\n";
  co_await send(unsent_);
  is_finished_ = true;
}

Awaitable<bool> Exchange::send(std::string_view data) {
  if (can_write_ && !data.empty()) {
    const bool is_sent = co_await connection_.write(data);
    if (is_sent) num_sent_bytes_ += data.size();
    if (!is_sent) leave(false);
  }
  co_return can_write_;
}

ByteBudget& Exchange::reply_budget() const { return connection_.core->replies; }
const TransportOptions& Exchange::options() const { return connection_.core->options; }

void Exchange::leave(bool can_still_read) {
  keep_alive_ = false;
  if (can_still_read && serves_half_closed_) return;
  has_left_ = true;
  stop_.request_stop();
  if (!can_still_read) {
    can_write_ = false;
    connection_.close();
  }
  connection_.signal();
}

void Exchange::cancel() {
  is_cancelled_ = true;
  stop_.request_stop();
  connection_.signal();
}

void Exchange::end_by_server() {
  is_ended_by_server_ = true;
  keep_alive_ = false;
  stop_.request_stop();
  connection_.signal();
}

}  // namespace sluice::server
