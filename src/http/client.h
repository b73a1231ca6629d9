#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace sluice::http {

// http://HOST:PORT[/prefix], or https. Throws Error(kInvalidArgument) for anything else.
// "localhost:8080" and
// ":8080" are completed; 0.0.0.0 and :: become 127.0.0.1 and ::1 (an address to connect to).
// Without a port it is `default_port`, but 80 or 443 when "http://" or "https://" was written out,
// as everywhere else (and in Ollama). IPv6 addresses stand in brackets, but may go without when no
// port follows; in text() they have them, in `host` not.
struct Url {
  std::string host;
  uint16_t port = 0;
  std::string prefix;      // "" or "/api", without a slash at the end
  bool is_secure = false;  // https

  std::string authority() const;  // "host:port"
  std::string text() const;
};
Url parse_url(std::string_view text, uint16_t default_port = 11434);
// The same for an address to listen on: 0.0.0.0 and :: stay, port 0 (a free one) is right, and
// there is no prefix.
Url parse_listen_address(std::string_view text, uint16_t default_port = 11434);

struct Response {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // empty when it was streamed
};

struct Request {
  std::string method = "GET";
  std::string target;     // "/api/tags"
  std::string body = {};  // JSON, sent as application/json when not empty
  std::map<std::string, std::string> headers = {};
  // A file that is sent in place of `body`, read as it goes; "": none. `on_sent` is told the bytes
  // that are on their way.
  std::string body_file = {};
  std::function<void(uint64_t)> on_sent = {};
};

struct ClientOptions {
  std::chrono::milliseconds connect_timeout{3000};
  std::chrono::milliseconds idle_timeout{0};  // longest silence while sending or reading; 0: none
  std::string api_key = {};                   // goes with every request; "": none
};

// A blocking HTTP/1.1 client for our own server and its like, over TCP or TLS (certificates are
// checked against the system's, or those of SSL_CERT_FILE); keeps one connection alive. Used by one
// thread at a time. Throws Error: kIo when nothing listens (the message says how to start the
// server) or the connection breaks, kInvalidArgument for a certificate that nobody vouches for,
// kDeadlineExceeded, kCorruptData for a broken reply or a body's file that has become shorter, and
// what InputFile does. After an
// error the next call connects anew. A request is repeated once, and only when a kept connection
// turns out to be closed before a byte of the reply came. A status other than 2xx is not an error
// here.
class Client {
 public:
  explicit Client(Url url, ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Opens the connection if none is open, so that the next call does not spend time on it.
  void connect();

  // The whole reply; a body of more than 64 MiB is kCorruptData.
  Response send(const Request& request);

  // Calls `on_data` with the bytes of the body as they arrive when the status is 2xx (else the body
  // is returned in the response). When it returns false the connection is closed and the call ends.
  Response stream(const Request& request, const std::function<bool(std::string_view)>& on_data);

  // Closes the connection under a running call, from another thread; that call throws kCancelled.
  // Does nothing when no call runs. `on_data` of the call may be called once more.
  void abort();

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace sluice::http
