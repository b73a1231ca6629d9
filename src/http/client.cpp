#include "http/client.h"

#include <sys/socket.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <exception>
#include <mutex>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/input_file.h"

namespace sluice::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;

constexpr size_t kMaxBodyBytes = size_t{64} << 20;
constexpr size_t kReadBytes = 16384;
constexpr size_t kFilePieceBytes = size_t{1} << 18;

using Message = bhttp::request<bhttp::string_body>;
using Parser = bhttp::response_parser<bhttp::buffer_body>;
using DataSink = std::function<bool(std::string_view)>;

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return lower;
}

Message make_request(const Url& url, const std::string& api_key, const InputFile* body_file,
                     const Request& request) {
  for (char c : request.target) {
    if (c <= ' ' || c == 127) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the address of a request must not hold spaces or control characters");
    }
  }
  Message message;
  message.version(11);
  message.method_string(request.method);
  message.target(url.prefix + request.target);
  message.set(bhttp::field::host, url.authority());
  message.set(bhttp::field::user_agent, "sluice");
  message.set(bhttp::field::accept, "*/*");
  if (!request.body.empty()) message.set(bhttp::field::content_type, "application/json");
  if (!api_key.empty()) message.set(bhttp::field::authorization, "Bearer " + api_key);
  for (const auto& [name, value] : request.headers) message.set(name, value);
  message.body() = request.body;
  message.prepare_payload();
  if (body_file != nullptr) {
    message.set(bhttp::field::content_type, "application/octet-stream");
    message.content_length(body_file->size_bytes());
  }
  return message;
}

bool is_closed_error(const error_code& error) {
  return error == bhttp::error::end_of_stream || error == bhttp::error::partial_message ||
         error == asio::error::eof || error == asio::error::connection_reset ||
         error == asio::error::broken_pipe || error == asio::ssl::error::stream_truncated;
}

// For all clients: reading the system's certificates takes a while.
asio::ssl::context& tls_context() {
  static asio::ssl::context context = [] {
    asio::ssl::context made(asio::ssl::context::tls_client);
    made.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                     asio::ssl::context::no_tlsv1_1);
    made.set_default_verify_paths();
    made.set_verify_mode(asio::ssl::verify_peer);
    return made;
  }();
  return context;
}

Response response_head(const Parser& parser) {
  Response response;
  response.status = parser.get().result_int();
  for (const auto& field : parser.get()) {
    std::string& value = response.headers[to_lower(field.name_string())];
    if (!value.empty()) value += ", ";
    value += std::string(field.value());
  }
  return response;
}

}  // namespace

// Every operation is asynchronous underneath, and the calling thread runs the loop until it is
// done: that gives time limits, and abort() can slip a close in from another thread.
struct Client::Connection {
  Connection(Url server, ClientOptions client_options)
      : url(std::move(server)), options(client_options) {}

  // Marks a call as running for abort(), for as long as it lives. A call that ends by an exception
  // (also one of the caller's `on_data`) leaves no half-read connection behind.
  class Call {
   public:
    explicit Call(Connection& connection)
        : connection_(connection), num_exceptions_(std::uncaught_exceptions()) {
      std::lock_guard lock(connection_.mutex);
      connection_.is_running = true;
      connection_.is_aborted = false;
    }
    ~Call() {
      if (std::uncaught_exceptions() > num_exceptions_) connection_.close();
      std::lock_guard lock(connection_.mutex);
      connection_.is_running = false;
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    Connection& connection_;
    int num_exceptions_;
  };

  bool was_aborted() {
    std::lock_guard lock(mutex);
    return is_aborted;
  }

  void close() {
    tls.reset();
    stream.reset();
    buffer.clear();
  }

  // Runs one operation: `start` gets the handler that ends it.
  template <typename Start>
  error_code run(Start start) {
    error_code result;
    bool is_done = false;
    if (was_aborted()) return asio::error::operation_aborted;
    start([&](error_code error, auto&&...) {
      result = error;
      is_done = true;
    });
    loop.restart();
    while (!is_done) loop.run_one();
    return result;
  }

  void set_timeout(std::chrono::milliseconds timeout) {
    if (timeout.count() > 0) {
      stream->expires_after(timeout);
    } else {
      stream->expires_never();
    }
  }

  [[noreturn]] void fail(const error_code& error, bool is_reply);
  [[noreturn]] void fail_connect(const error_code& error);
  std::vector<tcp::endpoint> resolve();
  bool connect();  // true when an open connection was kept
  void shake_hands();
  void discard_stale();
  error_code send_file(const InputFile& file, const Request& request);
  error_code exchange_heads(const Request& request, const Message& message, const InputFile* file,
                            Parser& parser);
  Response exchange(const Request& request, const DataSink* sink);
  bool read_body(Parser& parser, Response& response, const DataSink* sink);

  // An operation on what is talked through: start(stream, handler).
  template <typename Start>
  error_code run_on_stream(Start start) {
    return run([&](auto done) { tls ? start(*tls, done) : start(*stream, done); });
  }

  Url url;
  ClientOptions options;
  asio::io_context loop{1};
  std::optional<beast::tcp_stream> stream;
  std::optional<asio::ssl::stream<beast::tcp_stream&>> tls;  // around it, for https
  beast::flat_buffer buffer{1 << 20};
  std::mutex mutex;  // guards the two flags below
  bool is_running = false;
  bool is_aborted = false;
};

void Client::Connection::fail(const error_code& error, bool is_reply) {
  const bool is_broken_message =
      error.category() == bhttp::make_error_code(bhttp::error::end_of_stream).category();
  close();
  if (was_aborted()) throw Error(ErrorCode::kCancelled, "cancelled");
  if (error == beast::error::timeout) {
    throw Error(ErrorCode::kDeadlineExceeded, "the server at " + url.text() + " was silent for " +
                                                  std::to_string(options.idle_timeout.count()) +
                                                  " ms");
  }
  if (is_closed_error(error)) {
    throw Error(ErrorCode::kIo, "the server at " + url.text() + " closed the connection " +
                                    (is_reply ? "before its reply ended" : "before it answered"));
  }
  if (is_broken_message) {
    throw Error(ErrorCode::kCorruptData,
                "the server at " + url.text() + " sent a broken reply: " + error.message());
  }
  throw Error(ErrorCode::kIo, "connection to " + url.text() + " failed: " + error.message());
}

void Client::Connection::fail_connect(const error_code& error) {
  close();
  if (was_aborted()) throw Error(ErrorCode::kCancelled, "cancelled");
  std::string reason;
  if (error == beast::error::timeout) {
    reason = " within " + std::to_string(options.connect_timeout.count()) + " ms";
  } else if (error != asio::error::connection_refused) {
    reason = " (" + error.message() + ")";
  }
  throw Error(error == beast::error::timeout ? ErrorCode::kDeadlineExceeded : ErrorCode::kIo,
              "could not connect to a sluice server at " + url.text() + reason +
                  ": start it with `sluice serve`");
}

std::vector<tcp::endpoint> Client::Connection::resolve() {
  error_code error;
  const asio::ip::address address = asio::ip::make_address(url.host, error);
  if (!error) return {tcp::endpoint(address, url.port)};
  std::vector<tcp::endpoint> endpoints;
  tcp::resolver resolver(loop);
  error = run([&](auto done) {
    resolver.async_resolve(url.host, std::to_string(url.port),
                           [&endpoints, done](error_code code, tcp::resolver::results_type found) {
                             for (const auto& entry : found) endpoints.push_back(entry.endpoint());
                             done(code);
                           });
  });
  if (was_aborted()) throw Error(ErrorCode::kCancelled, "cancelled");
  if (error || endpoints.empty()) {
    throw Error(ErrorCode::kIo, "could not find the host " + url.host + " (" + error.message() +
                                    "): check the address");
  }
  return endpoints;
}

bool Client::Connection::connect() {
  discard_stale();
  if (stream) return true;
  const std::vector<tcp::endpoint> endpoints = resolve();
  stream.emplace(loop);
  set_timeout(options.connect_timeout);
  const error_code error = run([&](auto done) { stream->async_connect(endpoints, done); });
  if (error) fail_connect(error);
  error_code ignored;
  stream->socket().set_option(tcp::no_delay(true), ignored);
  if (url.is_secure) shake_hands();
  return false;
}

void Client::Connection::shake_hands() {
  tls.emplace(*stream, tls_context());
  error_code is_name;
  asio::ip::make_address(url.host, is_name);
  if (is_name) SSL_set_tlsext_host_name(tls->native_handle(), url.host.c_str());
  tls->set_verify_callback(asio::ssl::host_name_verification(url.host));
  set_timeout(options.connect_timeout);
  const error_code error =
      run([&](auto done) { tls->async_handshake(asio::ssl::stream_base::client, done); });
  if (!error) return;
  const long verdict = SSL_get_verify_result(tls->native_handle());
  if (was_aborted() || error == beast::error::timeout || verdict == X509_V_OK) {
    fail_connect(error);
  }
  const std::string reason = X509_verify_cert_error_string(verdict);
  close();
  throw Error(ErrorCode::kInvalidArgument,
              "the certificate of " + url.text() + " is not trusted (" + reason +
                  "); SSL_CERT_FILE may name the file of one to trust");
}

// Drops a kept connection that the server has closed (or sent unasked bytes on) in the meantime.
void Client::Connection::discard_stale() {
  if (!stream) return;
  if (buffer.size() > 0) return close();
  // With TLS there may be records that are nobody's data; a connection that is closed shows later.
  char byte;
  const ssize_t count = ::recv(stream->socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  const bool is_quiet = count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  if (!is_quiet && !(tls && count > 0)) close();
}

// Reads to the end of the body; false when `sink` ended it early.
bool Client::Connection::read_body(Parser& parser, Response& response, const DataSink* sink) {
  std::vector<char> bytes(kReadBytes);
  while (!parser.is_done()) {
    parser.get().body().data = bytes.data();
    parser.get().body().size = bytes.size();
    parser.get().body().more = true;
    set_timeout(options.idle_timeout);
    const error_code error = run_on_stream(
        [&](auto& from, auto done) { bhttp::async_read_some(from, buffer, parser, done); });
    const size_t count = bytes.size() - parser.get().body().size;
    const std::string_view data(bytes.data(), count);
    if (sink == nullptr) {
      if (response.body.size() + count > kMaxBodyBytes) {
        close();
        throw Error(ErrorCode::kCorruptData, "the reply of " + url.text() + " is over 64 MiB");
      }
      response.body += data;
    } else if (count > 0 && !(*sink)(data)) {
      return false;
    }
    if (error && error != bhttp::error::need_buffer) fail(error, true);
  }
  return true;
}

error_code Client::Connection::send_file(const InputFile& file, const Request& request) {
  std::vector<std::byte> piece(kFilePieceBytes);
  for (uint64_t sent = 0; sent < file.size_bytes();) {
    const size_t count = std::min<uint64_t>(piece.size(), file.size_bytes() - sent);
    file.read(sent, std::span(piece).first(count));
    set_timeout(options.idle_timeout);
    const error_code error = run_on_stream([&](auto& to, auto done) {
      asio::async_write(to, asio::buffer(piece.data(), count), done);
    });
    if (error) return error;
    sent += count;
    if (request.on_sent) request.on_sent(sent);
  }
  return {};
}

// Sends the request and reads the head of the reply.
error_code Client::Connection::exchange_heads(const Request& request, const Message& message,
                                              const InputFile* file, Parser& parser) {
  set_timeout(options.idle_timeout);
  error_code error =
      run_on_stream([&](auto& to, auto done) { bhttp::async_write(to, message, done); });
  if (error) return error;
  if (file != nullptr) error = send_file(*file, request);
  // Who does not want a long body may say so before its end, and close.
  if (error && !is_closed_error(error)) return error;
  parser.body_limit(boost::none);
  if (message.method() == bhttp::verb::head) parser.skip(true);
  set_timeout(options.idle_timeout);
  return run_on_stream(
      [&](auto& from, auto done) { bhttp::async_read_header(from, buffer, parser, done); });
}

Response Client::Connection::exchange(const Request& request, const DataSink* sink) {
  const std::optional<InputFile> opened =
      request.body_file.empty() ? std::nullopt : std::make_optional<InputFile>(request.body_file);
  const InputFile* const file = opened ? &*opened : nullptr;
  const Message message = make_request(url, options.api_key, file, request);
  const bool is_reused = connect();
  std::optional<Parser> parser(std::in_place);
  error_code error = exchange_heads(request, message, file, *parser);
  if (error && is_reused && is_closed_error(error) && !parser->got_some() && !was_aborted()) {
    // The server closed the kept connection at the moment when we began to use it again, which says
    // nothing about this request: once more, on a new one.
    close();
    connect();
    parser.emplace();
    error = exchange_heads(request, message, file, *parser);
  }
  if (error) fail(error, false);
  Response response = response_head(*parser);
  const bool is_success = response.status >= 200 && response.status < 300;
  const bool is_complete = read_body(*parser, response, is_success ? sink : nullptr);
  if (!is_complete || !parser->keep_alive()) close();
  return response;
}

Client::Client(Url url, ClientOptions options)
    : connection_(std::make_unique<Connection>(std::move(url), options)) {}

Client::~Client() = default;

void Client::connect() {
  Connection::Call call(*connection_);
  connection_->connect();
}

Response Client::send(const Request& request) {
  Connection::Call call(*connection_);
  return connection_->exchange(request, nullptr);
}

Response Client::stream(const Request& request, const DataSink& on_data) {
  Connection::Call call(*connection_);
  return connection_->exchange(request, &on_data);
}

void Client::abort() {
  Connection& connection = *connection_;
  {
    std::lock_guard lock(connection.mutex);
    if (!connection.is_running) return;
    connection.is_aborted = true;
  }
  asio::post(connection.loop, [&connection] {
    // By now the next call may be running; it has cleared the flag.
    if (connection.was_aborted() && connection.stream) connection.stream->cancel();
  });
}

}  // namespace sluice::http
