#include "server/tls_front.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>

#include "base/error.h"

namespace sluice::server {
namespace {

namespace ssl = boost::asio::ssl;
using LocalSocket = net::local::stream_protocol::socket;
using std::chrono::milliseconds;

constexpr size_t kPieceBytes = 8u << 10;
constexpr int kPairBytes = 64 << 10;       // what one end of a pair holds for the other
constexpr milliseconds kFarewell{2500};    // for a client to close, as Session::linger() waits
constexpr milliseconds kLastPieces{1000};  // for what is on its way when the server ends

// We speak HTTP/1.1, whatever else a client would like.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* length,
                    const unsigned char* offered, unsigned offered_length, void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* found = nullptr;
  const int result =
      SSL_select_next_proto(&found, length, kOurs, sizeof kOurs - 1, offered, offered_length);
  *chosen = found;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

void check_file(const error_code& ec, const char* what, const std::string& path) {
  if (!ec) return;
  throw Error(ErrorCode::kInvalidArgument,
              std::string("cannot use the TLS ") + what + " in " + path + ": " + ec.message());
}

std::shared_ptr<ssl::context> make_context(const std::string& cert_path,
                                           const std::string& key_path) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 |
                       ssl::context::no_tlsv1_1 | ssl::context::single_dh_use |
                       SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // Nobody is there to be asked for one.
  context->set_password_callback([](size_t, auto) { return std::string(); });
  error_code ec;
  context->use_certificate_chain_file(cert_path, ec);
  check_file(ec, "certificate", cert_path);
  // That of the certificate, or it is an error.
  context->use_private_key_file(key_path, ssl::context::pem, ec);
  check_file(ec, "key", key_path);
  SSL_CTX_set_alpn_select_cb(context->native_handle(), choose_protocol, nullptr);
  SSL_CTX_set_mode(context->native_handle(), SSL_MODE_RELEASE_BUFFERS);
  return context;
}

// True when the other end of a pair will neither read nor write any more.
bool is_hung_up(LocalSocket& end) {
  pollfd item{end.native_handle(), 0, 0};
  return ::poll(&item, 1, 0) > 0 && (item.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

// What relays share with the front, and may outlive it.
struct TlsFront::Shared {
  std::mutex mutex;  // guards what follows
  std::shared_ptr<ssl::context> context;
  std::unordered_set<TlsRelay*> relays;
};

// One connection. Everything runs on its strand.
class TlsRelay : public std::enable_shared_from_this<TlsRelay> {
 public:
  TlsRelay(std::shared_ptr<SessionHost> host, std::shared_ptr<TlsFront::Shared> front,
           std::shared_ptr<ssl::context> context, tcp::socket socket, const Strand& strand)
      : host_(std::move(host)),
        front_(std::move(front)),
        context_(std::move(context)),
        strand_(strand),
        client_(std::move(socket), *context_),
        session_(strand),
        timer_(strand) {
    std::lock_guard lock(front_->mutex);
    front_->relays.insert(this);
  }
  ~TlsRelay() {
    std::lock_guard lock(front_->mutex);
    front_->relays.erase(this);
  }

  static net::awaitable<void> run(std::shared_ptr<TlsRelay> self) {
    try {
      const bool is_agreed = co_await self->shake_hands();
      if (is_agreed && self->open_session()) {
        net::co_spawn(self->strand_, take_in(self), net::detached);
        co_await self->give_out();
      }
    } catch (...) {
      // No memory: this connection ends, the others go on.
    }
    self->close();
  }

  // From any thread.
  void post_end() {
    host_->core->post(strand_, [self = shared_from_this()] {
      if (!self->session_.is_open()) {
        self->close();
      } else {
        self->limit(kLastPieces);
        self->is_ending_ = true;
      }
    });
  }

 private:
  net::awaitable<bool> shake_hands() {
    error_code ec;
    limit(host_->core->options.header_timeout);
    co_await client_.async_handshake(ssl::stream_base::server, into(ec));
    unlimit();
    co_return !ec && !is_closed_;
  }

  // The session has one end of a pair, we the other.
  bool open_session() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
      spdlog::error("a connection was dropped: {}", system_error_text(errno));
      return false;
    }
    error_code ec;
    session_.assign(net::local::stream_protocol(), ends[0], ec);
    Strand session_strand(host_->core->io.get_executor());
    tcp::socket other(session_strand);
    // To a session a socket is a socket: what it asks of one they all have.
    other.assign(tcp::v4(), ends[1], ec);
    for (const int end : ends) {
      ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &kPairBytes, sizeof kPairBytes);
    }
    start_session(host_, std::move(other), session_strand);
    return true;
  }

  // From the client to the session, until one of them ends it.
  static net::awaitable<void> take_in(std::shared_ptr<TlsRelay> self) {
    std::vector<char> piece(kPieceBytes);
    error_code ec;
    while (!ec) {
      const size_t size = co_await self->client_.async_read_some(net::buffer(piece), into(ec));
      if (ec) break;
      co_await net::async_write(self->session_, net::buffer(piece.data(), size), into(ec));
    }
    self->session_.shutdown(LocalSocket::shutdown_send, ec);
  }

  // And back. At the end the client is told, and has a moment to close, as what it still sends
  // would otherwise destroy what it has not read.
  net::awaitable<void> give_out() {
    std::vector<char> piece(kPieceBytes);
    error_code ec;
    while (true) {
      const size_t size = co_await session_.async_read_some(net::buffer(piece), into(ec));
      if (ec) break;
      limit(host_->core->options.write_timeout);
      co_await net::async_write(client_, net::buffer(piece.data(), size), into(ec));
      unlimit();
      if (ec) co_return;
    }
    limit(kFarewell);
    SSL_set_shutdown(client_.native_handle(), SSL_RECEIVED_SHUTDOWN);  // whose is not waited for
    co_await client_.async_shutdown(into(ec));
    client_.next_layer().shutdown(tcp::socket::shutdown_send, ec);
    while (!is_closed_ && !is_hung_up(session_)) {
      net::steady_timer pause(strand_, milliseconds(20));
      co_await pause.async_wait(into(ec));
    }
  }

  // The connection ends after that time, unless it is set again or taken back.
  void limit(milliseconds time) {
    if (is_ending_) return;
    timer_.expires_after(time);
    timer_.async_wait([weak = weak_from_this()](error_code ec) {
      const auto self = weak.lock();
      if (!ec && self) self->close();
    });
  }
  void unlimit() {
    if (!is_ending_) timer_.cancel();
  }

  void close() {
    is_closed_ = true;
    error_code ec;
    timer_.cancel();
    client_.next_layer().close(ec);
    session_.close(ec);
  }

  const std::shared_ptr<SessionHost> host_;
  const std::shared_ptr<TlsFront::Shared> front_;
  const std::shared_ptr<ssl::context> context_;
  const Strand strand_;
  ssl::stream<tcp::socket> client_;
  LocalSocket session_;
  net::steady_timer timer_;
  bool is_ending_ = false;  // the timer stays as it is
  bool is_closed_ = false;
};

TlsFront::TlsFront(std::string cert_path, std::string key_path)
    : cert_path_(std::move(cert_path)),
      key_path_(std::move(key_path)),
      shared_(std::make_shared<Shared>()) {
  shared_->context = make_context(cert_path_, key_path_);
}

TlsFront::~TlsFront() = default;

void TlsFront::reload() {
  auto context = make_context(cert_path_, key_path_);
  std::lock_guard lock(shared_->mutex);
  shared_->context = std::move(context);
}

void TlsFront::adopt(const std::shared_ptr<SessionHost>& host, tcp::socket socket,
                     const Strand& strand) {
  std::shared_ptr<ssl::context> context;
  {
    std::lock_guard lock(shared_->mutex);
    context = shared_->context;
  }
  auto relay =
      std::make_shared<TlsRelay>(host, shared_, std::move(context), std::move(socket), strand);
  net::co_spawn(strand, TlsRelay::run(std::move(relay)), net::detached);
}

int TlsFront::num_connections() const {
  std::lock_guard lock(shared_->mutex);
  return static_cast<int>(shared_->relays.size());
}

void TlsFront::end() {
  std::vector<std::shared_ptr<TlsRelay>> relays;  // held until the lock is released
  {
    std::lock_guard lock(shared_->mutex);
    for (TlsRelay* relay : shared_->relays) {
      if (auto self = relay->weak_from_this().lock()) relays.push_back(std::move(self));
    }
  }
  for (const auto& relay : relays) relay->post_end();
}

}  // namespace sluice::server
