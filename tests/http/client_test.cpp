#include "http/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <thread>
#include <vector>

#include "base/error.h"
#include "http/scripted_server.h"
#include "thrown.h"

namespace sluice::http {
namespace {

using test::error_of;

using namespace std::chrono_literals;
using test::ScriptedConnection;
using test::ScriptedRequest;
using test::ScriptedServer;

const std::string kChunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

// Serves every request of a connection with `body` and keeps it alive.
ScriptedServer::Script echo_script() {
  return [](ScriptedConnection& connection) {
    ScriptedRequest request;
    while (connection.read_request(request)) {
      connection.reply(200, request.method + " " + request.target + " " + request.body);
    }
  };
}

TEST(HttpClient, SendsRequestsOverOneKeptConnection) {
  ScriptedServer server(echo_script());
  Client client(parse_url(server.url() + "/prefix"));
  EXPECT_EQ(client.send({.target = "/a"}).body, "GET /prefix/a ");
  EXPECT_EQ(client.send({.method = "POST", .target = "/b", .body = "{}"}).body,
            "POST /prefix/b {}");
  EXPECT_EQ(client.send({.method = "DELETE", .target = "/c", .body = "x"}).body,
            "DELETE /prefix/c x");
  EXPECT_EQ(server.num_connections(), 1);
}

TEST(HttpClient, SendsHostTypeAndOwnHeaders) {
  std::string head;
  ScriptedServer server([&](ScriptedConnection& connection) {
    ScriptedRequest request;
    if (!connection.read_request(request)) return;
    head = request.head;
    connection.reply(200, "");
  });
  Client client(parse_url(server.url()));
  client.send({.method = "POST", .target = "/", .body = "{}", .headers = {{"X-Own", "yes"}}});
  EXPECT_NE(head.find("Host: 127.0.0.1:" + std::to_string(server.port()) + "\r\n"),
            std::string::npos);
  EXPECT_NE(head.find("Content-Type: application/json\r\n"), std::string::npos);
  EXPECT_NE(head.find("X-Own: yes\r\n"), std::string::npos);
}

TEST(HttpClient, ConnectsAnewWhenTheServerClosedTheKeptConnection) {
  ScriptedServer server([](ScriptedConnection& connection) {
    ScriptedRequest request;
    if (connection.read_request(request)) connection.reply(200, "once");
  });
  Client client(parse_url(server.url()));
  EXPECT_EQ(client.send({.target = "/"}).body, "once");
  std::this_thread::sleep_for(50ms);  // the close arrives
  EXPECT_EQ(client.send({.target = "/"}).body, "once");
  EXPECT_EQ(server.num_connections(), 2);
}

TEST(HttpClient, TriesOnceMoreWhenAKeptConnectionClosesUnderTheRequest) {
  std::atomic<int> num_requests{0};
  ScriptedServer server([&](ScriptedConnection& connection) {
    ScriptedRequest request;
    if (!connection.read_request(request)) return;
    connection.reply(200, std::to_string(++num_requests));
    connection.read_request(request);  // read, not answered, closed
  });
  Client client(parse_url(server.url()));
  EXPECT_EQ(client.send({.target = "/"}).body, "1");
  EXPECT_EQ(client.send({.method = "POST", .target = "/", .body = "{}"}).body, "2");
  EXPECT_EQ(server.num_connections(), 2);
}

TEST(HttpClient, DoesNotRepeatARequestOnAFreshConnection) {
  ScriptedServer server([](ScriptedConnection& connection) {
    ScriptedRequest request;
    connection.read_request(request);
  });
  Client client(parse_url(server.url()));
  const Error error = error_of([&] { client.send({.target = "/"}); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_NE(std::string(error.what()).find("before it answered"), std::string::npos);
  EXPECT_EQ(server.num_connections(), 1);
}

TEST(HttpClient, ReportsStatusAndHeadersWithLowerCaseNames) {
  ScriptedServer server([](ScriptedConnection& connection) {
    ScriptedRequest request;
    if (connection.read_request(request)) {
      connection.reply(503, "{\"error\":\"busy\"}", "Retry-After: 7\r\n");
    }
  });
  Client client(parse_url(server.url()));
  bool was_called = false;
  const Response response = client.stream({.target = "/"}, [&](std::string_view) {
    was_called = true;
    return true;
  });
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.headers.at("retry-after"), "7");
  EXPECT_EQ(response.body, "{\"error\":\"busy\"}");
  EXPECT_FALSE(was_called);
}

TEST(HttpClient, HandsOutChunksAsTheyArrive) {
  std::atomic<int> num_seen{0};
  ScriptedServer server([&](ScriptedConnection& connection) {
    ScriptedRequest request;
    if (!connection.read_request(request)) return;
    connection.write(kChunkedHead);
    for (int i = 1; i <= 5; ++i) {
      connection.write_chunk("line " + std::to_string(i) + "\n");
      // The next one is not sent before this one was seen: nothing may wait for the end.
      const auto deadline = std::chrono::steady_clock::now() + 5s;
      while (num_seen < i && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(1ms);
      }
    }
    connection.write_chunk("");
    connection.wait_closed();
  });
  Client client(parse_url(server.url()));
  std::vector<std::string> parts;
  const Response response = client.stream({.target = "/"}, [&](std::string_view data) {
    parts.emplace_back(data);
    ++num_seen;
    return true;
  });
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.body.empty());
  EXPECT_EQ(parts,
            (std::vector<std::string>{"line 1\n", "line 2\n", "line 3\n", "line 4\n", "line 5\n"}));
}

TEST(HttpClient, StreamsBodiesOfKnownLengthAndBodiesThatEndWithTheConnection) {
  const std::string big(3'000'000, 'x');
  for (const std::string& head : {"Content-Length: " + std::to_string(big.size()) + "\r\n",
                                  std::string("Connection: close\r\n")}) {
    ScriptedServer server([&](ScriptedConnection& connection) {
      ScriptedRequest request;
      if (connection.read_request(request)) {
        connection.write("HTTP/1.1 200 OK\r\n" + head + "\r\n" + big);
      }
    });
    Client client(parse_url(server.url()));
    std::string body;
    client.stream({.target = "/"}, [&](std::string_view data) {
      body += data;
      return true;
    });
    EXPECT_EQ(body.size(), big.size()) << head;
    EXPECT_EQ(body, big);
  }
}

TEST(HttpClient, StopsWhenTheReaderHadEnough) {
  ScriptedServer server([](ScriptedConnection& connection) {
    ScriptedRequest request;
    if (!connection.read_request(request)) return;
    connection.write(kChunkedHead);
    connection.write_chunk("first");
    connection.wait_closed();
  });
  Client client(parse_url(server.url()));
  const Response response = client.stream({.target = "/"}, [](std::string_view) { return false; });
  EXPECT_EQ(response.status, 200);
}

TEST(HttpClient, DropsTheConnectionWhenTheReaderThrows) {
  ScriptedServer server([](ScriptedConnection& connection) {
    ScriptedRequest request;
    while (connection.read_request(request)) {
      connection.write(kChunkedHead);
      connection.write_chunk("first");
      std::this_thread::sleep_for(30ms);
      connection.write_chunk("");
    }
  });
  Client client(parse_url(server.url()));
  EXPECT_THROW(client.stream({.target = "/"},
                             [](std::string_view) -> bool { throw std::runtime_error("mine"); }),
               std::runtime_error);
  EXPECT_EQ(client.send({.target = "/"}).body, "first");
  EXPECT_EQ(server.num_connections(), 2);
}

TEST(HttpClient, SaysHowToStartTheServerWhenNothingListens) {
  uint16_t port;
  { port = ScriptedServer(echo_script()).port(); }
  Client client(parse_url("127.0.0.1:" + std::to_string(port)));
  const Error error = error_of([&] { client.send({.target = "/"}); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_EQ(std::string(error.what()), "could not connect to a sluice server at http://127.0.0.1:" +
                                           std::to_string(port) + ": start it with `sluice serve`");
}

TEST(HttpClient, ResolvesLocalhost) {
  ScriptedServer server(echo_script());
  Client client(parse_url("localhost:" + std::to_string(server.port())));
  EXPECT_EQ(client.send({.target = "/a"}).status, 200);
}

TEST(HttpClient, GivesUpOnASilentServerAfterTheIdleTime) {
  ScriptedServer server([](ScriptedConnection& connection) {
    ScriptedRequest request;
    if (!connection.read_request(request)) return;
    connection.write(kChunkedHead);
    connection.write_chunk("first");
    connection.wait_closed();
  });
  Client client(parse_url(server.url()), {.idle_timeout = 60ms});
  std::string seen;
  const Error error = error_of([&] {
    client.stream({.target = "/"}, [&](std::string_view data) {
      seen += data;
      return true;
    });
  });
  EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(seen, "first");
}

TEST(HttpClient, ReportsAConnectionThatBreaksMidReply) {
  ScriptedServer server([](ScriptedConnection& connection) {
    ScriptedRequest request;
    if (!connection.read_request(request)) return;
    connection.write(kChunkedHead);
    connection.write_chunk("first");
  });
  Client client(parse_url(server.url()));
  std::string seen;
  const Error error = error_of([&] {
    client.stream({.target = "/"}, [&](std::string_view data) {
      seen += data;
      return true;
    });
  });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_NE(std::string(error.what()).find("closed the connection before its reply ended"),
            std::string::npos)
      << error.what();
  EXPECT_EQ(seen, "first");
}

TEST(HttpClient, RefusesBrokenReplies) {
  for (const char* bytes : {"SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n",
                            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    ScriptedServer server([&](ScriptedConnection& connection) {
      ScriptedRequest request;
      if (!connection.read_request(request)) return;
      connection.write(bytes);
      connection.wait_closed();
    });
    Client client(parse_url(server.url()), {.idle_timeout = 2000ms});
    EXPECT_EQ(error_of([&] { client.send({.target = "/"}); }).code(), ErrorCode::kCorruptData)
        << bytes;
  }
}

TEST(HttpClient, AbortEndsARunningCallFromAnotherThreadAndTheClientLivesOn) {
  std::atomic<bool> was_read{false};
  ScriptedServer server([&](ScriptedConnection& connection) {
    ScriptedRequest request;
    while (connection.read_request(request)) {
      if (request.target == "/quick") {
        connection.reply(200, "quick");
        continue;
      }
      connection.write(kChunkedHead);
      connection.write_chunk("first");
      connection.wait_closed();
    }
  });
  Client client(parse_url(server.url()));
  client.abort();  // no call runs: nothing happens
  EXPECT_EQ(client.send({.target = "/quick"}).body, "quick");
  std::thread other([&] {
    while (!was_read) std::this_thread::sleep_for(1ms);
    client.abort();
  });
  const Error error = error_of([&] {
    client.stream({.target = "/slow"}, [&](std::string_view) {
      was_read = true;
      return true;
    });
  });
  other.join();
  EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  EXPECT_EQ(client.send({.target = "/quick"}).body, "quick");
}

TEST(HttpClient, RefusesAnAddressThatWouldBreakTheRequest) {
  Client client(parse_url("127.0.0.1:1"));
  EXPECT_EQ(error_of([&] { client.send({.target = "/a b"}); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { client.send({.target = "/a\r\nX: y"}); }).code(),
            ErrorCode::kInvalidArgument);
}

// A file of so many bytes, for as long as it lives.
class BodyFile {
 public:
  explicit BodyFile(size_t size) : path_(::testing::TempDir() + "client_test_body") {
    std::ofstream(path_) << std::string(size, 'b');
  }
  ~BodyFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

TEST(HttpClient, SendsAFileAsItsBody) {
  ScriptedServer server(echo_script());
  Client client({"127.0.0.1", server.port(), ""});
  for (const size_t size : {size_t{0}, size_t{1}, size_t{700'000}}) {
    const BodyFile file(size);
    uint64_t sent = 0;
    Request request{"POST", "/blob"};
    request.body_file = file.path();
    request.on_sent = [&](uint64_t done) { sent = done; };
    EXPECT_EQ(client.send(request).body, "POST /blob " + std::string(size, 'b'));
    EXPECT_EQ(sent, size);
  }
  Request request{"POST", "/blob"};
  request.body_file = "/nowhere/at/all";
  EXPECT_EQ(error_of([&] { client.send(request); }).code(), ErrorCode::kNotFound);
}

TEST(HttpClient, ReadsTheReplyOfWhoDoesNotWantItsBody) {
  ScriptedServer server([](ScriptedConnection& connection) {
    connection.write("HTTP/1.1 507 Full\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull");
    connection.wait_closed();
  });
  Client client({"127.0.0.1", server.port(), ""});
  const BodyFile file(100'000);
  Request request{"POST", "/blob"};
  request.body_file = file.path();
  const Response response = client.send(request);
  EXPECT_EQ(response.status, 507);
  EXPECT_EQ(response.body, "full");
}

}  // namespace
}  // namespace sluice::http
