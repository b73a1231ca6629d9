#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::server {

// What may be sent to us and how long it may take. Every bound is per connection unless it says
// otherwise.
struct TransportOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: any free one
  int num_threads = 1;
  int max_connections = 4096;            // of the whole server
  size_t max_header_bytes = 64u << 10;   // request line and headers
  size_t max_body_bytes = 32u << 20;     // of one request
  size_t max_bodies_bytes = 256u << 20;  // of all requests being read or worked on
  size_t max_unsent_bytes = 1u << 20;    // written to a stream but not taken by the client
  std::chrono::milliseconds header_timeout{10'000};  // for the whole header, from its first byte
  std::chrono::milliseconds body_timeout{60'000};    // for the whole body
  std::chrono::milliseconds idle_timeout{120'000};   // between two requests
  std::chrono::milliseconds write_timeout{30'000};   // for 64 KiB to be taken
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;
  std::string path;   // percent-decoded, without the query; starts with a slash
  std::string query;  // as sent
  Headers headers;    // names in lower case
  std::string body;
  std::chrono::steady_clock::time_point arrival;  // when all of it was there

  const std::string* header(std::string_view lower_case_name) const;  // null when absent
};

struct Reply {
  int status = 200;
  std::string content_type;
  std::string body;
  Headers headers;
};

// One request and the reply to it. Held by whoever answers, on any thread; all members are
// thread-safe. Exactly one of respond() and begin() .. end() must happen; dropping the last handle
// before that answers 500 (or breaks the connection of a stream that has begun), so no client waits
// for ever.
class Exchange {
 public:
  struct State;
  explicit Exchange(std::shared_ptr<State> state);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  const HttpRequest& request() const;
  // Gives up the body's memory once it is parsed.
  std::string take_body();

  // Sent with whatever reply follows.
  void add_header(std::string name, std::string value);

  void respond(Reply reply);

  // A streamed reply. write() returns false when the client is gone or did not take
  // max_unsent_bytes: nothing more will be sent, and on_disconnect has been or will be called.
  void begin(int status, std::string_view content_type);
  bool write(std::string_view data);
  void end();

  bool is_disconnected() const;
  // Called once, on the connection's thread, when the client goes away before the reply is
  // complete; at once if it has gone already. Replaced by the next call; empty clears it.
  void on_disconnect(std::function<void()> callback);

  // Calls `callback` once, on the connection's thread, when that moment comes, unless the exchange
  // is gone by then. Replaced by the next call; an empty callback clears it.
  void set_alarm(std::chrono::steady_clock::time_point when, std::function<void()> callback);

  // Runs `task` on the connection's thread, in order with other tasks of this exchange.
  void post(std::function<void()> task);

 private:
  std::shared_ptr<State> state_;
};

// HTTP/1.1 over TCP: keep-alive, bounded bodies and headers, time-outs, back-pressure, and notice
// of clients that go away. Knows nothing of routes. Threads are named "http".
class HttpServer {
 public:
  // Called on a connection's thread with each complete request; must not block and must not throw.
  using Handler = std::function<void(std::shared_ptr<Exchange>)>;
  // Looks at the header before the body is read; a reply refuses the request and closes.
  using Gate = std::function<std::optional<Reply>(const HttpRequest&)>;
  // Makes the reply to a request that the transport itself refuses, once its path is known. Empty:
  // {"error":"message"}.
  using Refusal = std::function<Reply(const HttpRequest&, int status, std::string_view message)>;

  // Binds and listens. Throws Error: kAlreadyExists for a port in use, kInvalidArgument for an
  // address that is none of this machine's, each saying what to do.
  HttpServer(const TransportOptions& options, Gate gate, Handler handler, Refusal refusal = {});
  ~HttpServer();  // stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  void start();
  uint16_t port() const;
  int num_connections() const;
  // No new connections from here on; those that are open go on.
  void stop_accepting();
  // Closes every connection and joins the threads. Exchanges that are still held stay valid and
  // write into the void.
  void stop();

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::server
