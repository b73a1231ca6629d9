#include "server/session.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <optional>
#include <vector>

#include "base/units.h"
#include "server/content_encoding.h"
#include "server/http_message.h"
#include "server/memory_reserve.h"
#include "server/request_life.h"

namespace sluice::server {
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Parser = http::request_parser<http::string_body>;

namespace {

// What a client may send ahead while its reply is still being made: so much is kept for the next
// request; what is more is dropped, and then the connection.
constexpr size_t kMaxPipelined = 64u << 10;
constexpr size_t kMaxAhead = 1u << 20;

// The target as it came, also of a request line that is refused: in whose words that is told
// depends on it. What a line has between its first two spaces.
std::string_view raw_target(const Parser& parser, const beast::flat_buffer& buffer) {
  const auto target = parser.get().target();
  if (!target.empty()) return {target.data(), target.size()};
  std::string_view line(static_cast<const char*>(buffer.data().data()), buffer.size());
  line = line.substr(0, line.find('\r'));
  line.remove_prefix(std::min(line.size(), line.find(' ')));
  if (!line.empty()) line.remove_prefix(1);
  return line.substr(0, line.find(' '));
}

int parse_error_status(error_code ec) {
  if (ec == http::error::header_limit || ec == http::error::buffer_overflow) return 431;
  if (ec == http::error::body_limit) return 413;
  if (ec == http::error::bad_version) return 505;
  return 400;
}

std::string too_slowly(std::string_view part, std::chrono::milliseconds limit) {
  return "the request's " + std::string(part) + " came too slowly: the limit is " +
         format_go_duration(limit);
}

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// Ends what is read from a connection, for as long as it lives, when that takes until `when`. The
// socket stays open, which the stream's own clock would close, so that the client can be told.
class ReadLimit {
 public:
  ReadLimit(Connection& connection, std::chrono::steady_clock::time_point when)
      : state_(std::make_shared<State>(connection)) {
    state_->timer.expires_at(when);
    wait(state_);
  }
  ~ReadLimit() {
    state_->connection = nullptr;
    state_->timer.cancel();
  }
  ReadLimit(const ReadLimit&) = delete;
  ReadLimit& operator=(const ReadLimit&) = delete;

  bool is_over() const { return state_->is_over; }

 private:
  struct State {
    explicit State(Connection& c) : connection(&c), timer(c.strand) {}
    Connection* connection;  // null when the limit is gone
    net::steady_timer timer;
    bool is_over = false;
  };

  static void wait(const std::shared_ptr<State>& state) {
    state->timer.async_wait([state](error_code ec) {
      if (ec || !state->connection) return;
      state->is_over = true;
      state->connection->stream.cancel();
      // And again: between two reads there was nothing to cancel.
      state->timer.expires_after(std::chrono::milliseconds(100));
      wait(state);
    });
  }

  const std::shared_ptr<State> state_;
};

std::chrono::steady_clock::time_point after(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

}  // namespace

// A body that stays on its connection until somebody reads it.
class PiecewiseBody : public BodySource {
 public:
  PiecewiseBody(Connection& connection, beast::flat_buffer& buffer, Parser&& head,
                const std::string* expect)
      : connection_(connection),
        buffer_(buffer),
        parser_(std::move(head)),
        wants_continue_(expect && beast::iequals(*expect, "100-continue")) {
    parser_.body_limit(boost::none);  // the disk is the limit
  }

  bool is_done() const { return parser_.is_done(); }
  std::optional<uint64_t> length() const override {
    const auto length = parser_.content_length();
    return length ? std::optional<uint64_t>(*length) : std::nullopt;
  }

  net::awaitable<size_t> read(std::span<std::byte> out) override {
    error_code ec;
    // A client must not take for ever by sending little at a time.
    if (num_untimed_ >= kTimedBytes || !is_timed_) {
      end_ = after(connection_.core->options.body_timeout);
      is_timed_ = true;
      num_untimed_ = 0;
    }
    const ReadLimit limit(connection_, end_);
    if (std::exchange(wants_continue_, false)) {
      co_await net::async_write(connection_.stream, net::buffer(kContinue), into(ec));
    }
    auto& body = parser_.get().body();
    while (!ec && !parser_.is_done() && !limit.is_over()) {
      body.data = out.data();
      body.size = out.size();
      co_await http::async_read_some(connection_.stream, buffer_, parser_, into(ec));
      if (ec == http::error::need_buffer) ec = {};
      const size_t count = out.size() - body.size;
      num_untimed_ += count;
      if (count > 0) co_return count;
    }
    if (limit.is_over()) {
      throw Error(ErrorCode::kSlowClient,
                  too_slowly("body", connection_.core->options.body_timeout));
    }
    if (!ec) co_return 0;
    static const auto& http_category = http::make_error_code(http::error::bad_method).category();
    if (ec.category() == http_category && ec != http::error::partial_message &&
        ec != http::error::end_of_stream) {
      throw Error(ErrorCode::kInvalidArgument, "malformed HTTP request: " + ec.message());
    }
    throw Error(ErrorCode::kCancelled, "request canceled");
  }

 private:
  static constexpr size_t kTimedBytes = 64u << 10;
  Connection& connection_;
  beast::flat_buffer& buffer_;
  http::request_parser<http::buffer_body> parser_;
  bool wants_continue_;
  bool is_timed_ = false;
  std::chrono::steady_clock::time_point end_;  // of the time that is set
  size_t num_untimed_ = 0;                     // that came since the clock was set
};

// One connection, from accept to close. Everything runs on its strand.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<SessionHost> host, tcp::socket socket, const Strand& strand)
      : host_(std::move(host)),
        connection_(host_->core, std::move(socket), strand),
        stream_(connection_.stream),
        buffer_(options().max_header_bytes + (64u << 10)) {
    ++host_->num_connections;
    error_code ec;
    const auto endpoint = stream_.socket().remote_endpoint(ec);
    if (!ec) address_ = endpoint.address().to_string();
  }

  ~Session() {
    {
      std::lock_guard lock(host_->mutex);
      host_->sessions.erase(this);
    }
    --host_->num_connections;
  }

  static net::awaitable<void> run(std::shared_ptr<Session> self) {
    try {
      bool goes_on = true;
      while (goes_on && !self->connection_.is_closed) goes_on = co_await self->serve_next();
    } catch (...) {
      // No memory even for an error's reply: this connection ends, the others go on.
    }
    self->drop_exchange();
    self->connection_.close();
  }

  // From any thread.
  void post_close() {
    host_->core->post(connection_.strand, [self = shared_from_this()] {
      if (self->exchange_) self->exchange_->leave(false);
      self->connection_.close();
    });
  }
  void post_end() {
    host_->core->post(connection_.strand, [self = shared_from_this()] { self->end_request(); });
  }

 private:
  const TransportOptions& options() const { return host_->core->options; }

  // One request and its reply; false when the connection is to end.
  net::awaitable<bool> serve_next() {
    if (buffer_.size() == 0) {
      const bool has_input = co_await wait_for_input();
      if (!has_input) co_return false;
    }
    const bool has_request = co_await read_request();
    if (!has_request) co_return false;
    co_await answer();
    const bool is_whole = exchange_->is_whole();
    const bool keep_alive = exchange_->keep_alive();
    drop_exchange();
    if (is_whole && !keep_alive) co_await linger();
    co_return is_whole&& keep_alive;
  }

  void drop_exchange() {
    if (!exchange_) return;
    exchange_.reset();
    body_.reset();
    --host_->num_requests;
  }

  // Nothing is held for a connection that is idle: no parser, no buffer. False when it is to be
  // closed.
  net::awaitable<bool> wait_for_input() {
    error_code ec;
    connection_.timer.expires_after(options().idle_timeout);
    connection_.timer.async_wait([weak = weak_from_this()](error_code timer_error) {
      const auto self = weak.lock();
      if (!timer_error && self) self->connection_.close();
    });
    co_await stream_.socket().async_wait(tcp::socket::wait_read, into(ec));
    connection_.timer.cancel();
    co_return !ec;
  }

  // Fills exchange_ with the next request and its body. False when the connection is done (an error
  // was answered).
  net::awaitable<bool> read_request() {
    error_code ec;
    buffer_.reserve(2048);
    Parser parser;
    parser.header_limit(static_cast<uint32_t>(options().max_header_bytes));
    parser.body_limit(boost::none);  // take_header() looks: the error depends on the path
    bool is_late = false;
    {
      const ReadLimit limit(connection_, after(options().header_timeout));
      co_await http::async_read_header(stream_, buffer_, parser, into(ec));
      is_late = ec && limit.is_over();
    }
    HttpRequest request;
    request.address = address_;
    const bool has_target = take_target(parser, request);
    if (ec) {
      request.id = request_id_of(nullptr);
      if (is_late) {
        co_await refuse_late(request, "header", options().header_timeout);
      } else {
        co_await refuse_parse_error(ec, request);
      }
      co_return false;
    }
    const std::string own_id(parser.get()["x-request-id"]);
    request.id = request_id_of(&own_id);
    std::optional<Reply> refusal = take_header(parser, has_target, request);
    if (!refusal) refusal = pass_gate(request);
    if (refusal) {
      co_await refuse(request, std::move(*refusal));
      co_return false;
    }
    parser.body_limit(options().max_body_bytes);
    const bool takes_pieces = host_->takes_pieces(request);
    exchange_.emplace(connection_, std::move(request));
    ++host_->num_requests;
    if (takes_pieces) {
      body_.emplace(connection_, buffer_, std::move(parser), exchange_->request().header("expect"));
      exchange_->set_body(std::string());
      exchange_->set_body_source(&*body_);
      co_return true;
    }
    const bool has_body = co_await read_body(parser);
    if (!has_body) co_return false;
    exchange_->set_body(std::move(parser.get().body()));
    co_return true;
  }

  // Fills what the request line says of a request; false when its target is malformed, of which the
  // path is then what came.
  bool take_target(const Parser& parser, HttpRequest& request) const {
    request.method = std::string(parser.get().method_string());
    const std::string_view raw = raw_target(parser, buffer_);
    auto target = parse_target(raw);
    if (!target) {
      request.path = raw;
      return false;
    }
    request.authority = std::move(target->authority);
    request.path = std::move(target->path);
    request.query = std::move(target->query);
    return true;
  }

  // Fills the rest of the request's head; a reply when it is not acceptable.
  std::optional<Reply> take_header(const Parser& parser, bool has_target,
                                   HttpRequest& request) const {
    const auto& message = parser.get();
    if (!has_target) return host_->refusal(request, 400, "malformed request target");
    request.is_http10 = message.version() < 11;
    request.keep_alive = parser.keep_alive();
    for (const auto& field : message) {
      std::string name(field.name_string());
      for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      if (name == "transfer-encoding" && request.is_http10) {
        // Whoever stands between knows of no chunks and may see another request here.
        return host_->refusal(request, 400, "HTTP/1.0 has no transfer encodings");
      }
      if (name == "transfer-encoding" && !beast::iequals(field.value(), "chunked")) {
        return host_->refusal(request, 501,
                              "transfer encodings other than chunked are not supported");
      }
      if (name == "content-encoding" && !is_known_encoding(field.value())) {
        return host_->refusal(request, 415, "content encodings other than zstd are not supported");
      }
      if (name == "upgrade") continue;
      request.headers.emplace_back(std::move(name), std::string(field.value()));
    }
    if (const auto length = parser.content_length();
        length && *length > options().max_body_bytes && !host_->takes_pieces(request)) {
      return too_large(request);
    }
    return std::nullopt;
  }

  std::optional<Reply> pass_gate(HttpRequest& request) {
    std::variant<Caller, Reply> verdict = host_->gate(request);
    if (auto* refusal = std::get_if<Reply>(&verdict)) return std::move(*refusal);
    request.client = std::get<Caller>(std::move(verdict));
    return std::nullopt;
  }

  Reply too_large(const HttpRequest& request) const {
    return host_->refusal(request, 413,
                          "request body too large: the limit is " +
                              std::to_string(options().max_body_bytes) + " bytes");
  }

  net::awaitable<bool> read_body(Parser& parser) {
    error_code ec;
    std::optional<ReadLimit> limit(std::in_place, connection_, after(options().body_timeout));
    const std::string* expect = exchange_->request().header("expect");
    if (expect && beast::iequals(*expect, "100-continue") && !parser.is_done()) {
      co_await net::async_write(stream_, net::buffer(kContinue), into(ec));
      if (ec) co_return false;
    }
    std::optional<Reply> refusal;
    while (!parser.is_done() && !refusal && !limit->is_over()) {
      co_await http::async_read_some(stream_, buffer_, parser, into(ec));
      try {
        exchange_->charge_body(parser.get().body().size());
        exchange_->check();
      } catch (const Error& error) {
        refusal = host_->refusal(exchange_->request(), 503, error.what());
      }
      if (ec && !refusal) break;
    }
    const bool is_late = limit->is_over() && !parser.is_done();
    limit.reset();
    if (!ec && !refusal && !is_late) co_return true;
    // Before the time that closing takes.
    std::string().swap(parser.get().body());
    const HttpRequest request = exchange_->request();
    drop_exchange();
    if (refusal) {
      co_await refuse(request, std::move(*refusal));
    } else if (is_late) {
      co_await refuse_late(request, "body", options().body_timeout);
    } else {
      co_await refuse_parse_error(ec, request);
    }
    co_return false;
  }

  net::awaitable<void> refuse_late(const HttpRequest& request, std::string_view part,
                                   std::chrono::milliseconds time) {
    Reply reply = host_->refusal(request, 408, too_slowly(part, time));
    co_await refuse(request, std::move(reply));
  }

  // Errors of the connection itself end it silently; broken messages get an answer.
  net::awaitable<void> refuse_parse_error(error_code ec, const HttpRequest& request) {
    static const auto& http_category = http::make_error_code(http::error::bad_method).category();
    if (ec.category() != http_category || ec == http::error::end_of_stream ||
        ec == http::error::partial_message) {
      co_return;
    }
    const int status = parse_error_status(ec);
    // By itself: GCC 12 destroys what a conditional makes inside of co_await twice.
    Reply reply = status == 413
                      ? too_large(request)
                      : host_->refusal(request, status, "malformed HTTP request: " + ec.message());
    co_await refuse(request, std::move(reply));
  }

  net::awaitable<void> refuse(const HttpRequest& request, Reply reply) {
    if (reply.status == 503) reply.headers.emplace_back("Retry-After", "1");
    reply.headers.emplace_back("X-Request-Id", request.id);
    host_->on_refused(request, reply.status);
    std::string text = format_head(reply, Framing::kWhole, false);
    if (request.method != "HEAD") text += reply.body;
    const bool is_sent = co_await connection_.write(text);
    if (is_sent) co_await linger();
  }

  // Closing with unread input would reset the connection and may destroy the reply on its way:
  // take what still comes for a short while.
  net::awaitable<void> linger() {
    error_code ec;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ec);
    stream_.expires_after(std::chrono::seconds(2));
    buffer_.clear();
    size_t total = 0;
    while (!ec && !connection_.is_closed && total < (64u << 20)) {
      const size_t size = co_await stream_.async_read_some(buffer_.prepare(32u << 10), into(ec));
      total += size;
    }
  }

  // Hands the request out. Whatever becomes of it, the client gets an end.
  net::awaitable<void> answer() {
    if (buffer_.size() == 0) buffer_.shrink_to_fit();  // it may wait for long
    num_ahead_ = buffer_.size();
    keep_memory_reserve();
    // Who reads the body itself sees a client go, and is woken by the end of the reading.
    const bool is_watched = !body_;
    if (is_watched) watch(++watch_id_);
    try {
      co_await host_->handler(*exchange_);
    } catch (const std::exception&) {
      // The handler turns errors into replies: this is a bug of ours, or no memory for that.
    }
    if (is_watched) ++watch_id_;
    if (body_ && !body_->is_done()) exchange_->forbid_keep_alive();
    error_code ec;
    if (!exchange_->is_begun()) {
      co_await exchange_->respond(error_reply(500, "the request was dropped: a bug of the server"));
    }
    stream_.socket().cancel(ec);
  }

  void end_request() {
    if (!exchange_) return;
    exchange_->end_by_server();
    if (watch_id_ % 2 == 0) stream_.cancel();  // its body is still being read
  }

  // Notices a client that closes while its request is worked on, however much it sends ahead.
  void watch(uint64_t id) {
    if (connection_.is_closed) return;
    stream_.socket().async_wait(
        tcp::socket::wait_read,
        net::bind_executor(connection_.strand, [self = shared_from_this(), id](error_code ec) {
          if (ec || id != self->watch_id_ || self->connection_.is_closed) return;
          self->look(id);
        }));
  }

  void look(uint64_t id) {
    std::array<char, 4096> piece;
    const ssize_t size =
        ::recv(stream_.socket().native_handle(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
      watch(id);
    } else if (size <= 0) {
      exchange_->leave(size == 0);
    } else if (keep(std::string_view(piece.data(), static_cast<size_t>(size)))) {
      watch(id);
    } else {
      exchange_->leave(false);
    }
  }

  // False when that is too much. What is dropped would be missing from the next request, so that
  // there is none.
  bool keep(std::string_view ahead) {
    num_ahead_ += ahead.size();
    if (num_ahead_ > kMaxPipelined || !append(ahead)) exchange_->forbid_keep_alive();
    return num_ahead_ <= kMaxAhead;
  }

  bool append(std::string_view ahead) {
    try {
      buffer_.commit(net::buffer_copy(buffer_.prepare(ahead.size()), net::buffer(ahead)));
      return true;
    } catch (const std::exception&) {  // no memory
      return false;
    }
  }

  const std::shared_ptr<SessionHost> host_;
  Connection connection_;
  beast::tcp_stream& stream_;
  beast::flat_buffer buffer_;
  std::optional<PiecewiseBody> body_;  // of the request under way, when its route reads it
  std::optional<Exchange> exchange_;   // the request under way
  size_t num_ahead_ = 0;               // bytes that came behind it
  std::string address_;                // the client's
  uint64_t watch_id_ = 0;              // odd while a handler has the exchange
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

namespace {

// Held until the lock is released: the last owner of a session must not have the mutex.
std::vector<std::shared_ptr<Session>> all_sessions(SessionHost& host) {
  std::vector<std::shared_ptr<Session>> sessions;
  std::lock_guard lock(host.mutex);
  for (Session* session : host.sessions) {
    if (auto self = session->weak_from_this().lock()) sessions.push_back(std::move(self));
  }
  return sessions;
}

}  // namespace

void end_requests(SessionHost& host) {
  for (const auto& session : all_sessions(host)) session->post_end();
}

void close_sessions(SessionHost& host) {
  for (const auto& session : all_sessions(host)) session->post_close();
}

}  // namespace sluice::server
