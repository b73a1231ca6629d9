#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <variant>

#include "server/exchange.h"
#include "server/http_message.h"
#include "server/transport_options.h"

namespace sluice::server {

// HTTP/1.1 over TCP: keep-alive, bounded bodies and headers, time-outs, back-pressure, and notice
// of clients that go away. Knows nothing of routes. Threads are named "http".
class HttpServer {
 public:
  // Answers one complete request, on its connection's strand; must not block. What it throws, or
  // leaves without an end, becomes a 500 or a broken connection.
  using Handler = std::function<Awaitable<void>(Exchange&)>;
  // Looks at the header before the body is read and says who asks; a reply refuses the request and
  // closes.
  using Gate = std::function<std::variant<Caller, Reply>(const HttpRequest&)>;
  // Makes the reply to a request that the transport itself refuses, once its path is known. Empty:
  // {"error":"message"}.
  using Refusal = std::function<Reply(const HttpRequest&, int status, std::string_view message)>;

  // Binds and listens. Throws Error: kAlreadyExists for a port in use, kInvalidArgument for an
  // address that is none of this machine's, each saying what to do; and what TlsFront throws.
  // `takes_pieces`: whose body is left for the handler to read (Exchange::read_body()).
  using TakesPieces = std::function<bool(const HttpRequest&)>;
  // `on_refused` is told of requests that did not come to the handler, and the status they got.
  using OnRefused = std::function<void(const HttpRequest&, int status)>;
  HttpServer(const TransportOptions& options, Gate gate, Handler handler, Refusal refusal = {},
             TakesPieces takes_pieces = {}, OnRefused on_refused = {});
  ~HttpServer();  // stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  void start();
  // Reads the files of TLS again, if it is on. Throws Error, and then all stays as it is.
  void reload_tls();
  uint16_t port() const;
  int num_connections() const;
  int num_requests() const;  // of which the header is there and the reply is not over
  // No new connections from here on; those that are open go on.
  void stop_accepting();
  // Exchange::check() of every request that runs throws from here on, so that each gets its end.
  void end_requests();
  // Closes every connection and joins the threads.
  void stop();

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::server
