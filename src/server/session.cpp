#include "server/session.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <vector>

#include "server/http_message.h"

namespace sluice::server {
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Parser = http::request_parser<http::string_body>;

namespace {

constexpr size_t kWritePiece = 64u << 10;
// What a client may send ahead while its reply is still being written.
constexpr size_t kMaxPipelined = 64u << 10;

int parse_error_status(error_code ec) {
  if (ec == http::error::header_limit || ec == http::error::buffer_overflow) return 431;
  if (ec == http::error::body_limit) return 413;
  if (ec == http::error::bad_version) return 505;
  return 400;
}

}  // namespace

// One connection, from accept to close. Everything runs on its strand.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<SessionHost> host, tcp::socket socket, Strand strand)
      : host_(std::move(host)),
        strand_(std::move(strand)),
        stream_(std::move(socket)),
        buffer_(host_->options.max_header_bytes + (64u << 10)),
        signal_(strand_) {
    ++host_->num_connections;
  }

  ~Session() {
    {
      std::lock_guard lock(host_->mutex);
      host_->sessions.erase(this);
    }
    --host_->num_connections;
  }

  static net::awaitable<void> run(std::shared_ptr<Session> self) {
    while (!self->is_closed_) {
      if (self->buffer_.size() == 0) {
        const bool has_input = co_await self->wait_for_input();
        if (!has_input) break;
      }
      std::shared_ptr<Exchange::State> state = co_await self->read_request();
      if (!state) break;
      const bool is_whole = co_await self->serve(state);
      if (!is_whole) break;
      bool keep_alive = false;
      {
        std::lock_guard lock(state->mutex);
        keep_alive = state->keep_alive;
      }
      if (!keep_alive) {
        co_await self->linger();
        break;
      }
    }
    self->close();
  }

  // From any thread.
  void post_close() {
    host_->core->post(strand_, [self = shared_from_this()] { self->close(); });
  }

 private:
  void close() {
    is_closed_ = true;
    signal_.cancel();
    error_code ec;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ec);
    stream_.close();
  }

  // Nothing is held for a connection that is idle: no parser, no buffer. False when it is to be
  // closed.
  net::awaitable<bool> wait_for_input() {
    error_code ec;
    signal_.expires_after(host_->options.idle_timeout);
    signal_.async_wait([weak = weak_from_this()](error_code timer_error) {
      const auto self = weak.lock();
      if (!timer_error && self) self->close();
    });
    co_await stream_.socket().async_wait(tcp::socket::wait_read, into(ec));
    signal_.cancel();
    co_return !ec;
  }

  // The next request with its body, or null when the connection is done (an error was answered).
  net::awaitable<std::shared_ptr<Exchange::State>> read_request() {
    const TransportOptions& options = host_->options;
    error_code ec;
    buffer_.reserve(2048);
    Parser parser;
    parser.header_limit(static_cast<uint32_t>(options.max_header_bytes));
    parser.body_limit(options.max_body_bytes);
    stream_.expires_after(options.header_timeout);
    co_await http::async_read_header(stream_, buffer_, parser, into(ec));
    if (ec) {
      const HttpRequest unknown;
      co_await refuse_parse_error(ec, unknown);
      co_return nullptr;
    }
    auto state = std::make_shared<Exchange::State>(host_->core, strand_);
    std::optional<Reply> refusal = take_header(parser, *state);
    if (!refusal) refusal = host_->gate(state->request);
    if (refusal) {
      co_await refuse(std::move(*refusal));
      co_return nullptr;
    }
    const bool has_body = co_await read_body(parser, *state);
    if (!has_body) co_return nullptr;
    state->request.body = std::move(parser.get().body());
    state->request.arrival = std::chrono::steady_clock::now();
    stream_.expires_never();
    co_return state;
  }

  // Fills the request's head; a reply when it is not acceptable.
  std::optional<Reply> take_header(Parser& parser, Exchange::State& state) {
    const auto& message = parser.get();
    HttpRequest& request = state.request;
    request.method = std::string(message.method_string());
    state.is_head = request.method == "HEAD";
    state.is_http10 = message.version() < 11;
    state.keep_alive = parser.keep_alive();
    state.max_unsent_bytes = host_->options.max_unsent_bytes;
    int num_hosts = 0;
    for (const auto& field : message) {
      std::string name(field.name_string());
      for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      if (name == "host") ++num_hosts;
      if (name == "transfer-encoding" && !beast::iequals(field.value(), "chunked")) {
        return error_reply(501, "transfer encodings other than chunked are not supported");
      }
      if (name == "upgrade") continue;
      request.headers.emplace_back(std::move(name), std::string(field.value()));
    }
    if (num_hosts > 1) return error_reply(400, "more than one Host header");
    if (message.version() != 10 && message.version() != 11) {
      return error_reply(505, "only HTTP/1.0 and HTTP/1.1 are supported");
    }
    auto target = parse_target(std::string_view(message.target().data(), message.target().size()));
    if (!target) return error_reply(400, "malformed request target");
    request.path = std::move(target->path);
    request.query = std::move(target->query);
    if (const auto length = parser.content_length();
        length && *length > host_->options.max_body_bytes) {
      return too_large(request);
    }
    return std::nullopt;
  }

  Reply too_large(const HttpRequest& request) const {
    return host_->refusal(request, 413,
                          "request body too large: the limit is " +
                              std::to_string(host_->options.max_body_bytes) + " bytes");
  }

  net::awaitable<bool> read_body(Parser& parser, Exchange::State& state) {
    error_code ec;
    const std::string* expect = state.request.header("expect");
    if (expect && beast::iequals(*expect, "100-continue") && !parser.is_done()) {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      co_await net::async_write(stream_, net::buffer(kContinue), into(ec));
      if (ec) co_return false;
    }
    stream_.expires_after(host_->options.body_timeout);
    while (!parser.is_done()) {
      co_await http::async_read_some(stream_, buffer_, parser, into(ec));
      if (ec) {
        release_body(parser, state);
        co_await refuse_parse_error(ec, state.request);
        co_return false;
      }
      const size_t size = parser.get().body().size();
      const size_t total = host_->core->body_bytes += size - state.charged_bytes;
      state.charged_bytes = size;
      if (total > host_->options.max_bodies_bytes) {
        release_body(parser, state);
        co_await refuse(
            host_->refusal(state.request, 503, "server busy: too many large requests at once"));
        co_return false;
      }
    }
    co_return true;
  }

  // Before the time that closing takes.
  void release_body(Parser& parser, Exchange::State& state) {
    std::string().swap(parser.get().body());
    host_->core->body_bytes -= state.charged_bytes;
    state.charged_bytes = 0;
  }

  // Errors of the connection itself end it silently; broken messages get an answer.
  net::awaitable<void> refuse_parse_error(error_code ec, const HttpRequest& request) {
    static const auto& http_category = http::make_error_code(http::error::bad_method).category();
    if (ec.category() != http_category || ec == http::error::end_of_stream ||
        ec == http::error::partial_message) {
      co_return;
    }
    const int status = parse_error_status(ec);
    co_await refuse(
        status == 413 ? too_large(request)
                      : host_->refusal(request, status, "malformed HTTP request: " + ec.message()));
  }

  net::awaitable<void> refuse(Reply reply) {
    ReplyHead head;
    head.status = reply.status;
    head.content_type = reply.content_type;
    head.content_length = reply.body.size();
    head.keep_alive = false;
    head.headers = &reply.headers;
    const std::string text = format_head(head) + reply.body;
    error_code ec;
    stream_.expires_after(host_->options.write_timeout);
    co_await net::async_write(stream_, net::buffer(text), into(ec));
    if (!ec) co_await linger();
  }

  // Closing with unread input would reset the connection and may destroy the reply on its way:
  // take what still comes for a short while.
  net::awaitable<void> linger() {
    error_code ec;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ec);
    stream_.expires_after(std::chrono::seconds(2));
    buffer_.clear();
    size_t total = 0;
    while (!ec && !is_closed_ && total < (64u << 20)) {
      const size_t size = co_await stream_.async_read_some(buffer_.prepare(32u << 10), into(ec));
      total += size;
    }
  }

  // Hands the request out and writes the reply as it comes. False when the connection must end.
  net::awaitable<bool> serve(std::shared_ptr<Exchange::State> state) {
    {
      std::lock_guard lock(state->mutex);
      state->wake = [weak = weak_from_this(), weak_state = std::weak_ptr(state)] {
        const auto own_state = weak_state.lock();
        const auto self = weak.lock();
        if (!own_state || !self) return;
        bool must_close = false;
        {
          std::lock_guard own_lock(own_state->mutex);
          own_state->is_wake_posted = false;
          must_close = own_state->is_broken || own_state->is_gone;
        }
        if (must_close) {
          self->close();  // also when a write waits for a client that does not read
        } else {
          self->signal_.cancel();
        }
      };
    }
    if (buffer_.size() == 0) buffer_.shrink_to_fit();  // it may wait for long
    watch(state, ++watch_id_);
    host_->handler(std::make_shared<Exchange>(state));
    const bool is_whole = co_await write_out(state);
    ++watch_id_;
    error_code ec;
    stream_.socket().cancel(ec);
    if (!is_whole) state->leave(false);
    {
      std::lock_guard lock(state->mutex);
      state->on_disconnect = nullptr;
    }
    co_return is_whole;
  }

  net::awaitable<bool> write_out(std::shared_ptr<Exchange::State> state) {
    std::string text;
    while (!is_closed_) {
      bool is_finished = false;
      text.clear();
      {
        std::lock_guard lock(state->mutex);
        if (state->is_broken || state->is_gone) co_return false;
        text.swap(state->unsent);
        is_finished = state->is_finished;
      }
      if (!text.empty()) {
        const bool is_written = co_await write_text(text);
        if (!is_written) co_return false;
        continue;
      }
      if (is_finished) co_return true;
      error_code ec;
      signal_.expires_at(net::steady_timer::time_point::max());
      co_await signal_.async_wait(into(ec));
    }
    co_return false;
  }

  // In pieces, each with the time-out of its own.
  net::awaitable<bool> write_text(const std::string& text) {
    for (size_t done = 0; done < text.size() && !is_closed_; done += kWritePiece) {
      error_code ec;
      stream_.expires_after(host_->options.write_timeout);
      const size_t size = std::min(kWritePiece, text.size() - done);
      co_await net::async_write(stream_, net::buffer(text.data() + done, size), into(ec));
      stream_.expires_never();
      if (ec) co_return false;
    }
    co_return !is_closed_;
  }

  // Notices a client that closes while its request is worked on. What it sends ahead is kept for
  // the next request, up to a bound.
  void watch(std::shared_ptr<Exchange::State> state, uint64_t id) {
    if (is_closed_) return;
    stream_.socket().async_wait(
        tcp::socket::wait_read,
        net::bind_executor(strand_, [self = shared_from_this(), state, id](error_code ec) {
          if (ec || id != self->watch_id_ || self->is_closed_) return;
          self->look(state, id);
        }));
  }

  void look(const std::shared_ptr<Exchange::State>& state, uint64_t id) {
    if (buffer_.size() >= kMaxPipelined) return;
    const auto room = buffer_.prepare(2048);
    const ssize_t size =
        ::recv(stream_.socket().native_handle(), room.data(), room.size(), MSG_DONTWAIT);
    if (size > 0) {
      buffer_.commit(static_cast<size_t>(size));
      watch(state, id);
    } else if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
      watch(state, id);
    } else {
      state->leave(size == 0);
      signal_.cancel();
    }
  }

  std::shared_ptr<SessionHost> host_;
  Strand strand_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  net::steady_timer signal_;  // between requests their time-out; then cancelled to wake write_out
  uint64_t watch_id_ = 0;
  bool is_closed_ = false;
};

void start_session(std::shared_ptr<SessionHost> host, tcp::socket socket, const Strand& strand) {
  auto session = std::make_shared<Session>(host, std::move(socket), strand);
  {
    std::lock_guard lock(host->mutex);
    if (host->is_stopping) return;
    host->sessions.insert(session.get());
  }
  net::co_spawn(strand, Session::run(std::move(session)), net::detached);
}

void close_sessions(SessionHost& host) {
  // Held until the lock is released: the last owner of a session must not have the mutex.
  std::vector<std::shared_ptr<Session>> sessions;
  {
    std::lock_guard lock(host.mutex);
    for (Session* session : host.sessions) {
      if (auto self = session->weak_from_this().lock()) sessions.push_back(std::move(self));
    }
  }
  for (const auto& session : sessions) session->post_close();
}

}  // namespace sluice::server
