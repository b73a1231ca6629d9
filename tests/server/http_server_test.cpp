#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>

#include "base/error.h"
#include "server/http_message.h"
#include "server/raw_client.h"

namespace sluice::server {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::get;
using test::post;
using test::RawClient;
using test::status_of;

// A server whose handler is the test's.
class Fixture {
 public:
  explicit Fixture(HttpServer::Handler handler, TransportOptions options = {})
      : server_(
            options, [](const HttpRequest&) { return Caller{}; }, std::move(handler)) {
    server_.start();
  }
  HttpServer& operator*() { return server_; }
  HttpServer* operator->() { return &server_; }
  uint16_t port() const { return server_.port(); }

 private:
  HttpServer server_;
};

Awaitable<void> echo(Exchange& exchange) {
  const HttpRequest& request = exchange.request();
  Reply reply{200, "text/plain", request.method + " " + request.path + " " + request.body, {}};
  co_await exchange.respond(std::move(reply));
}

// Until the exchange is over; gives why.
Awaitable<ErrorCode> wait_for_end(Exchange& exchange) {
  while (!exchange.is_over()) co_await exchange.pause();
  try {
    exchange.check();
  } catch (const Error& error) {
    co_return error.code();
  }
  co_return ErrorCode::kInternal;
}

TEST(HttpServer, AnswersManyRequestsOnOneConnection) {
  Fixture server(echo);
  RawClient client(server.port());
  for (int i = 0; i < 3; ++i) {
    client.send(post("/n" + std::to_string(i), "body" + std::to_string(i)));
    const std::string mark = "POST /n" + std::to_string(i) + " body" + std::to_string(i);
    EXPECT_NE(client.receive(mark).find(mark), std::string::npos);
  }
}

TEST(HttpServer, AnswersPipelinedRequestsInOrder) {
  Fixture server([](Exchange& exchange) -> Awaitable<void> {
    if (exchange.request().path == "/a") {  // the first takes longest
      std::thread([waker = exchange.waker()] {
        std::this_thread::sleep_for(50ms);
        waker.wake();
      }).detach();
      co_await exchange.pause();
    }
    co_await echo(exchange);
  });
  RawClient client(server.port());
  client.send(get("/a") + get("/b") + get("/c"));
  const std::string reply = client.receive("GET /c");
  EXPECT_LT(reply.find("GET /a"), reply.find("GET /b"));
  EXPECT_LT(reply.find("GET /b"), reply.find("GET /c"));
}

TEST(HttpServer, ReadsChunkedBodiesAndExpectations) {
  Fixture server(echo);
  RawClient client(server.port());
  client.send(
      "POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: 1\r\n\r\n");
  EXPECT_NE(client.receive("abcde").find("abcde"), std::string::npos);
  client.send(
      "POST /y HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_NE(client.receive("100 Continue").find("100 Continue"), std::string::npos);
  client.send("hi");
  EXPECT_NE(client.receive("POST /y hi").find("POST /y hi"), std::string::npos);
}

TEST(HttpServer, StreamsInChunksAndEndsThem) {
  Fixture server([](Exchange& exchange) -> Awaitable<void> {
    exchange.begin("text/event-stream");
    for (int i = 0; i < 3; ++i) {
      exchange.write("piece" + std::to_string(i));
      co_await exchange.flush();
    }
    co_await exchange.end();
  });
  RawClient client(server.port());
  client.send(get("/"));
  const std::string reply = client.receive("\r\n0\r\n\r\n");
  EXPECT_NE(reply.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_NE(reply.find("6\r\npiece2\r\n0\r\n\r\n"), std::string::npos);
}

TEST(HttpServer, HeadHasNoBody) {
  Fixture server(echo);
  RawClient client(server.port());
  client.send("HEAD /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  const std::string reply = client.receive();
  EXPECT_EQ(status_of(reply), 200);
  EXPECT_TRUE(reply.ends_with("\r\n\r\n")) << reply;
}

TEST(HttpServer, DroppedExchangeIsAnswered500) {
  Fixture server([](Exchange&) -> Awaitable<void> { co_return; });
  RawClient client(server.port());
  client.send(get("/"));
  EXPECT_EQ(status_of(client.receive("}")), 500);
}

TEST(HttpServer, WhatAHandlerThrowsIsA500AndTheServerLivesOn) {
  Fixture server([](Exchange& exchange) -> Awaitable<void> {
    if (exchange.request().path == "/a") throw std::bad_alloc();
    co_await echo(exchange);
  });
  RawClient client(server.port());
  client.send(get("/a") + get("/b"));
  const std::string reply = client.receive("GET /b");
  EXPECT_EQ(status_of(reply), 500);
  EXPECT_NE(reply.find("GET /b"), std::string::npos);
}

TEST(HttpServer, DroppedStreamBreaksTheConnection) {
  Fixture server([](Exchange& exchange) -> Awaitable<void> {
    exchange.begin("text/plain");
    exchange.write("half");
    co_await exchange.flush();
  });
  RawClient client(server.port());
  client.send(get("/"));
  const std::string reply = client.receive();
  EXPECT_TRUE(client.is_closed());
  EXPECT_NE(reply.find("half"), std::string::npos);
  EXPECT_EQ(reply.find("0\r\n\r\n"), std::string::npos);
}

// However much of a next request has been sent before.
TEST(HttpServer, NoticesAClientThatLeavesBeforeTheReply) {
  std::atomic<int> num_here = 0;
  std::atomic<int> num_left = 0;
  Fixture server([&](Exchange& exchange) -> Awaitable<void> {
    ++num_here;
    const ErrorCode code = co_await wait_for_end(exchange);
    if (code == ErrorCode::kCancelled && exchange.stop_token().stop_requested()) ++num_left;
    Reply reply{200, "text/plain", "too late", {}};
    co_await exchange.respond(std::move(reply));
  });
  int count = 0;
  for (const size_t num_ahead : {0, 1, 70'000, 900'000}) {
    RawClient client(server.port());
    client.send(get("/") + std::string(num_ahead, 'x'));
    ++count;
    ASSERT_TRUE(eventually([&] { return num_here == count; }));
    client.close();
    EXPECT_TRUE(eventually([&] { return num_left == count; }, 1000ms)) << num_ahead;
    EXPECT_TRUE(eventually([&] { return server->num_connections() == 0; }));
  }
  EXPECT_EQ(server->num_requests(), 0);
}

TEST(HttpServer, WhoSendsTooMuchAheadIsCut) {
  std::atomic<bool> has_left = false;
  Fixture server([&](Exchange& exchange) -> Awaitable<void> {
    co_await wait_for_end(exchange);
    has_left = true;
  });
  RawClient client(server.port());
  client.send(get("/"));
  while (client.send(std::string(100'000, 'x'))) {
  }
  EXPECT_TRUE(eventually([&] { return has_left.load(); }));
}

TEST(HttpServer, ARequestSentAheadIsAnsweredNext) {
  Fixture server(echo);
  RawClient client(server.port());
  client.send(post("/a", std::string(60'000, 'x')) + post("/b", std::string(60'000, 'y')));
  EXPECT_NE(client.receive("POST /b yyy").find("POST /b yyy"), std::string::npos);
}

TEST(HttpServer, ClientThatDoesNotReadAStreamIsCutAfterTheWriteTimeout) {
  TransportOptions options;
  options.write_timeout = 200ms;
  std::atomic<bool> has_left = false;
  std::atomic<size_t> num_written = 0;
  Fixture server(
      [&](Exchange& exchange) -> Awaitable<void> {
        exchange.begin("text/plain");
        const std::string piece(4096, 'x');
        try {
          while (true) {
            exchange.write(piece);
            num_written += piece.size();
            co_await exchange.flush();
          }
        } catch (const Error& error) {
          has_left = error.code() == ErrorCode::kCancelled;
        }
      },
      options);
  RawClient client(server.port(), 4096);
  client.send(get("/"));
  EXPECT_TRUE(eventually([&] { return has_left.load(); }));
  EXPECT_LT(num_written, size_t{8} << 20) << "the kernel's buffers and our own, no more";
  EXPECT_TRUE(eventually([&] { return server->num_connections() == 0; }));
}

TEST(HttpServer, AClientThatIsCutDoesNotWaitForTheWriteTimeout) {
  std::atomic<bool> has_left = false;
  Fixture server([&](Exchange& exchange) -> Awaitable<void> {
    exchange.begin("text/plain");
    exchange.write(std::string(32 << 20, 'x'));
    std::thread([waker = exchange.waker()] {
      std::this_thread::sleep_for(50ms);
      waker.cut();
    }).detach();
    try {
      co_await exchange.flush();
    } catch (const Error&) {
      has_left = true;
    }
  });
  RawClient client(server.port(), 4096);
  client.send(get("/"));
  EXPECT_TRUE(eventually([&] { return has_left.load(); }));
}

TEST(HttpServer, ReaderThatStallsIsDroppedAfterTheWriteTimeout) {
  TransportOptions options;
  options.write_timeout = 200ms;
  std::atomic<bool> is_here = false;
  Fixture server(
      [&](Exchange& exchange) -> Awaitable<void> {
        is_here = true;
        Reply reply{200, "text/plain", std::string(32 << 20, 'x'), {}};
        co_await exchange.respond(std::move(reply));
      },
      options);
  RawClient client(server.port(), 4096);
  client.send(get("/"));
  ASSERT_TRUE(eventually([&] { return is_here.load(); }));
  EXPECT_TRUE(eventually([&] { return server->num_connections() == 0; }, 5000ms));
}

// Each piece is taken in time, but all of them would take ten seconds.
TEST(HttpServer, ReaderThatIsSlowOnTheWholeIsDropped) {
  TransportOptions options;
  options.write_timeout = 1000ms;
  options.max_unsent_bytes = 64 << 20;
  std::atomic<bool> is_here = false;
  Fixture server(
      [&](Exchange& exchange) -> Awaitable<void> {
        is_here = true;
        Reply reply{200, "text/plain", std::string(4 << 20, 'x'), {}};
        co_await exchange.respond(std::move(reply));
      },
      options);
  RawClient client(server.port(), 16 << 10);
  client.send(get("/"));
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(eventually([&] { return is_here.load(); }));
  while (server->num_connections() == 1 && std::chrono::steady_clock::now() - began < 20s) {
    client.receive_some(40'000);
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_EQ(server->num_connections(), 0);
}

TEST(HttpServer, RefusesChunksInHttp10) {
  Fixture server(echo);
  RawClient client(server.port());
  client.send(
      "POST /x HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n0\r\n\r\n");
  EXPECT_EQ(status_of(client.receive()), 400);
}

TEST(HttpServer, BoundsHeadersBodiesAndTheirTime) {
  TransportOptions options;
  options.max_header_bytes = 1024;
  options.max_body_bytes = 100;
  options.header_timeout = 200ms;
  options.body_timeout = 200ms;
  Fixture server(echo, options);
  {
    RawClient client(server.port());
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(5000, 'a') + "\r\n\r\n");
    EXPECT_EQ(status_of(client.receive()), 431);
  }
  {
    RawClient client(server.port());
    client.send(post("/", std::string(101, 'a')));
    EXPECT_EQ(status_of(client.receive()), 413);
  }
  {
    RawClient client(server.port());
    client.send(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        "60\r\n" +
        std::string(96, 'a') + "\r\n60\r\n");
    EXPECT_EQ(status_of(client.receive()), 413);
  }
  for (const char* start : {"GET / HT",
                            "POST / HTTP/1.1\r\nHost: localhost\r\n"
                            "Content-Length: 10\r\n\r\nabc"}) {
    RawClient client(server.port());
    client.send(start);
    const auto began = std::chrono::steady_clock::now();
    client.receive();
    EXPECT_TRUE(client.is_closed());
    EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  }
}

TEST(HttpServer, BoundsAllBodiesTogether) {
  TransportOptions options;
  options.max_bodies_bytes = 1000;
  std::atomic<int> num_held = 0;
  std::atomic<bool> is_held = true;
  Fixture server(
      [&](Exchange& exchange) -> Awaitable<void> {
        ++num_held;
        while (is_held) co_await exchange.pause();
        if (exchange.request().path == "/grow") {
          try {
            exchange.charge_body(1001);
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kBusy);
          }
        }
        co_await echo(exchange);
      },
      options);
  RawClient first(server.port());
  first.send(post("/", std::string(800, 'a')));
  ASSERT_TRUE(eventually([&] { return num_held == 1; }));
  RawClient second(server.port());
  second.send(post("/", std::string(800, 'a')));
  const std::string refused = second.receive();
  EXPECT_EQ(status_of(refused), 503);
  EXPECT_NE(refused.find("Retry-After: 1"), std::string::npos);
  is_held = false;
  EXPECT_EQ(status_of(first.receive("aaa")), 200);
  RawClient third(server.port());
  third.send(post("/grow", std::string(800, 'a')));
  EXPECT_EQ(status_of(third.receive("aaa")), 200);
}

TEST(HttpServer, RefusesConnectionsBeyondTheBound) {
  TransportOptions options;
  options.max_connections = 2;
  Fixture server(echo, options);
  RawClient a(server.port());
  RawClient b(server.port());
  ASSERT_TRUE(eventually([&] { return server->num_connections() == 2; }));
  RawClient c(server.port());
  EXPECT_EQ(status_of(c.receive()), 503);
}

TEST(HttpServer, StopsWhileRepliesAreStreamed) {
  std::atomic<int> num_writers = 0;
  {
    TransportOptions options;
    options.num_threads = 2;
    Fixture server(
        [&](Exchange& exchange) -> Awaitable<void> {
          ++num_writers;
          exchange.begin("text/plain");
          try {
            while (true) {
              exchange.write("x");
              co_await exchange.flush();
              exchange.waker().wake();
              co_await exchange.pause();
            }
          } catch (const Error&) {
          }
          --num_writers;
        },
        options);
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 10; ++i) {
      clients.push_back(std::make_unique<RawClient>(server.port()));
      clients.back()->send(get("/"));
    }
    ASSERT_TRUE(eventually([&] { return num_writers == 10; }));
    server->stop();
    EXPECT_EQ(num_writers, 0);
  }
}

TEST(HttpServer, EveryRequestGetsItsEndWhenTheServerEnds) {
  Fixture server([](Exchange& exchange) -> Awaitable<void> {
    const ErrorCode code = co_await wait_for_end(exchange);
    Reply reply{code == ErrorCode::kBusy ? 503 : 500, "", "bye", {}};
    co_await exchange.respond(std::move(reply));
  });
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.port()));
    // Of the last, half of the body is still to come.
    clients.back()->send(i < 19 ? get("/")
                                : post("/", "abc").substr(0, post("/", "abc").size() - 1));
  }
  ASSERT_TRUE(eventually([&] { return server->num_requests() == 20; }));
  server->stop_accepting();
  server->end_requests();
  for (auto& client : clients) EXPECT_EQ(status_of(client->receive()), 503);
  EXPECT_TRUE(eventually([&] { return server->num_requests() == 0; }));
  EXPECT_THROW(RawClient(server.port()), std::runtime_error);
}

TEST(HttpServer, PortInUseIsAnErrorThatSaysSo) {
  Fixture server(echo);
  TransportOptions options;
  options.port = server.port();
  try {
    Fixture second(echo, options);
    FAIL() << "two servers on one port";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kAlreadyExists);
    EXPECT_NE(std::string(error.what()).find("--port"), std::string::npos);
  }
}

TEST(HttpServer, ManyConnectionsAtOnce) {
  TransportOptions options;
  options.num_threads = 2;
  Fixture server(echo, options);
  std::vector<std::thread> threads;
  std::atomic<int> num_good = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        RawClient client(server.port());
        client.send(post("/x", "abc"));
        if (client.receive("POST /x abc").find("POST /x abc") != std::string::npos) ++num_good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(num_good, 200);
}

TEST(HttpServer, TheTimeOfARequestEnds) {
  Fixture server([](Exchange& exchange) -> Awaitable<void> {
    exchange.set_timeout(30ms);
    exchange.set_stage("it was asleep");
    const auto began = std::chrono::steady_clock::now();
    const ErrorCode code = co_await wait_for_end(exchange);
    const auto took = std::chrono::steady_clock::now() - began;
    const bool is_good = code == ErrorCode::kDeadlineExceeded && took < 900ms;
    Reply reply{is_good ? 504 : 500, "", exchange.expired().what(), {}};
    co_await exchange.respond(std::move(reply));
  });
  RawClient client(server.port());
  client.send(get("/"));
  const std::string reply = client.receive_reply();
  EXPECT_EQ(status_of(reply), 504);
  EXPECT_NE(reply.find("30ms was over: it was asleep"), std::string::npos) << reply;
}

TEST(HttpServer, AWakerMayOutliveTheServer) {
  std::optional<Waker> waker;
  {
    Fixture server([&](Exchange& exchange) -> Awaitable<void> {
      waker.emplace(exchange.waker());
      co_await echo(exchange);
    });
    RawClient client(server.port());
    client.send(get("/a"));
    EXPECT_EQ(status_of(client.receive_reply()), 200);
    waker->cut();  // of an exchange that is over: nothing happens
    client.send(get("/b"));
    EXPECT_NE(client.receive("GET /b").find("GET /b"), std::string::npos);
  }
  waker->wake();
}

}  // namespace
}  // namespace sluice::server
