#include "server/http_server.h"

#include <spdlog/spdlog.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/write.hpp>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "server/http_message.h"
#include "server/session.h"
#include "server/tls_front.h"

namespace sluice::server {

namespace {

constexpr int kMaxTurnedAway = 256;  // that are told so at the same time; the others are cut
constexpr size_t kMaxUnread = 1u << 20;

// Tells a client that there is no place for it. What it sends is taken for a moment: closing before
// would reset the connection and destroy the reply on its way.
net::awaitable<void> turn_away(std::shared_ptr<SessionHost> host, tcp::socket socket) {
  const std::unique_ptr<std::atomic<int>, void (*)(std::atomic<int>*)> place(
      &host->num_turned_away, [](std::atomic<int>* count) { --*count; });
  Reply reply = error_reply(503, "server busy, too many connections");
  reply.headers.emplace_back("Retry-After", "1");
  const std::string text = format_head(reply, Framing::kWhole, false) + reply.body;
  boost::beast::tcp_stream stream(std::move(socket));
  stream.expires_after(std::chrono::seconds(1));
  error_code ec;
  co_await net::async_write(stream, net::buffer(text), into(ec));
  stream.socket().shutdown(tcp::socket::shutdown_send, ec);
  std::array<char, 4096> piece;
  size_t total = 0;
  while (!ec && total < kMaxUnread) {
    total += co_await stream.async_read_some(net::buffer(piece), into(ec));
  }
}

}  // namespace

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  explicit Impl(const TransportOptions& options) : host(std::make_shared<SessionHost>(options)) {
    if (!options.tls_cert.empty()) tls.emplace(options.tls_cert, options.tls_key);
  }

  const std::shared_ptr<SessionHost> host;
  std::optional<TlsFront> tls;
  Strand strand{host->core->io.get_executor()};  // of the next two
  tcp::acceptor acceptor{strand};
  net::steady_timer accept_pause{strand};
  uint16_t bound_port = 0;
  std::vector<std::thread> threads;

  void listen();
  net::awaitable<void> accept_loop();
  void adopt(tcp::socket socket, const Strand& session_strand);
  void close_acceptor();
  void run();
};

void HttpServer::Impl::listen() {
  const TransportOptions& options = host->core->options;
  const std::string where = options.address + ":" + std::to_string(options.port);
  error_code ec;
  const auto address = net::ip::make_address(options.address, ec);
  if (ec) {
    throw Error(ErrorCode::kInvalidArgument,
                "cannot listen on '" + options.address +
                    "': not an IP address; give one such as 127.0.0.1 or [::1]");
  }
  const tcp::endpoint endpoint(address, options.port);
  if (options.inherited_socket >= 0) {
    acceptor.assign(endpoint.protocol(), options.inherited_socket, ec);
  } else {
    acceptor.open(endpoint.protocol(), ec);
    if (!ec) acceptor.set_option(net::socket_base::reuse_address(true), ec);
    if (!ec) acceptor.bind(endpoint, ec);
    if (!ec) acceptor.listen(net::socket_base::max_listen_connections, ec);
  }
  if (ec == net::error::address_in_use) {
    throw Error(ErrorCode::kAlreadyExists,
                "cannot listen on " + where +
                    ": the port is in use (is a server running already?); stop it or choose "
                    "another one with --port");
  }
  if (ec) {
    throw Error(ErrorCode::kInvalidArgument, "cannot listen on " + where + ": " + ec.message());
  }
  bound_port = acceptor.local_endpoint().port();
}

net::awaitable<void> HttpServer::Impl::accept_loop() {
  while (acceptor.is_open()) {
    error_code ec;
    bool is_dropped = false;
    try {
      Strand session_strand(host->core->io.get_executor());
      tcp::socket socket(session_strand);
      co_await acceptor.async_accept(socket, into(ec));
      if (ec == net::error::operation_aborted || !acceptor.is_open()) co_return;
      if (!ec) adopt(std::move(socket), session_strand);
    } catch (const std::exception& error) {
      spdlog::error("a connection was dropped: {}", error.what());
      is_dropped = true;
    }
    // No memory or file descriptors, or a client that left at once: the listener lives on.
    if (!ec && !is_dropped) continue;
    accept_pause.expires_after(std::chrono::milliseconds(50));
    co_await accept_pause.async_wait(into(ec));
  }
}

void HttpServer::Impl::adopt(tcp::socket socket, const Strand& session_strand) {
  const TransportOptions& options = host->core->options;
  error_code ec;
  socket.set_option(tcp::no_delay(true), ec);
  // The kernel's share of a slow reader's backlog; ours is max_unsent_bytes.
  socket.set_option(net::socket_base::send_buffer_size(256 << 10), ec);
  if (tls) {
    // There is no telling before the handshake, which is what would cost.
    if (tls->num_connections() < options.max_connections) {
      tls->adopt(host, std::move(socket), session_strand);
    }
    return;
  }
  if (host->num_connections >= options.max_connections) {
    if (host->num_turned_away < kMaxTurnedAway) {
      ++host->num_turned_away;
      net::co_spawn(session_strand, turn_away(host, std::move(socket)), net::detached);
    }
    return;
  }
  start_session(host, std::move(socket), session_strand);
}

// Who has come already is served: closing would reset them.
void HttpServer::Impl::close_acceptor() {
  net::post(strand, [self = shared_from_this()] {
    error_code ec;
    self->acceptor.non_blocking(true, ec);
    while (!ec) {
      Strand session_strand(self->host->core->io.get_executor());
      tcp::socket socket(session_strand);
      self->acceptor.accept(socket, ec);
      if (!ec) self->adopt(std::move(socket), session_strand);
    }
    self->acceptor.close(ec);
    self->accept_pause.cancel();
  });
}

// Whatever a task throws, the server lives on.
void HttpServer::Impl::run() {
  while (true) {
    try {
      host->core->io.run();
      return;
    } catch (const std::exception& error) {
      spdlog::error("a task of the server failed: {}", error.what());
    }
  }
}

HttpServer::HttpServer(const TransportOptions& options, Gate gate, Handler handler, Refusal refusal,
                       TakesPieces takes_pieces, OnRefused on_refused)
    : impl_(std::make_shared<Impl>(options)) {
  impl_->host->gate = std::move(gate);
  impl_->host->handler = std::move(handler);
  if (refusal) impl_->host->refusal = std::move(refusal);
  if (takes_pieces) impl_->host->takes_pieces = std::move(takes_pieces);
  if (on_refused) impl_->host->on_refused = std::move(on_refused);
  impl_->listen();
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::start() {
  net::co_spawn(impl_->strand, impl_->accept_loop(), net::detached);
  for (int i = 0; i < impl_->host->core->options.num_threads; ++i) {
    impl_->threads.emplace_back() = start_thread("http", [impl = impl_.get()] { impl->run(); });
  }
}

void HttpServer::reload_tls() {
  if (impl_->tls) impl_->tls->reload();
}

uint16_t HttpServer::port() const { return impl_->bound_port; }
int HttpServer::num_connections() const { return impl_->host->num_connections; }
int HttpServer::num_requests() const { return impl_->host->num_requests; }
void HttpServer::end_requests() { server::end_requests(*impl_->host); }
void HttpServer::stop_accepting() { impl_->close_acceptor(); }

void HttpServer::stop() {
  {
    std::lock_guard lock(impl_->host->mutex);
    if (impl_->host->is_stopping) return;
    impl_->host->is_stopping = true;
  }
  impl_->close_acceptor();
  close_sessions(*impl_->host);
  if (impl_->tls) impl_->tls->end();
  for (std::thread& thread : impl_->threads) {
    if (thread.joinable()) thread.join();
  }
  {
    std::lock_guard lock(impl_->host->core->mutex);
    impl_->host->core->is_open = false;
  }
  impl_->host->core->io.restart();
  impl_->host->core->io.poll();  // what was posted since: it may own what must be released
}

}  // namespace sluice::server
