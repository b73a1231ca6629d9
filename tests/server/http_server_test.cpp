#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
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
            options, [](const HttpRequest&) { return std::nullopt; }, std::move(handler)) {
    server_.start();
  }
  HttpServer& operator*() { return server_; }
  HttpServer* operator->() { return &server_; }
  uint16_t port() const { return server_.port(); }

 private:
  HttpServer server_;
};

void echo(const std::shared_ptr<Exchange>& exchange) {
  const HttpRequest& request = exchange->request();
  exchange->respond(
      Reply{200, "text/plain", request.method + " " + request.path + " " + request.body, {}});
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
  Fixture server([](std::shared_ptr<Exchange> exchange) {
    std::thread([exchange] {
      // The first takes longest.
      std::this_thread::sleep_for(exchange->request().path == "/a" ? 50ms : 0ms);
      echo(exchange);
    }).detach();
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
  Fixture server([](std::shared_ptr<Exchange> exchange) {
    std::thread([exchange] {
      exchange->begin(200, "text/event-stream");
      for (int i = 0; i < 3; ++i) EXPECT_TRUE(exchange->write("piece" + std::to_string(i)));
      exchange->end();
    }).detach();
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
  Fixture server([](const std::shared_ptr<Exchange>&) {});
  RawClient client(server.port());
  client.send(get("/"));
  EXPECT_EQ(status_of(client.receive("}")), 500);
}

TEST(HttpServer, DroppedStreamBreaksTheConnection) {
  Fixture server([](std::shared_ptr<Exchange> exchange) {
    exchange->begin(200, "text/plain");
    exchange->write("half");
  });
  RawClient client(server.port());
  client.send(get("/"));
  const std::string reply = client.receive();
  EXPECT_TRUE(client.is_closed());
  EXPECT_EQ(reply.find("0\r\n\r\n"), std::string::npos);
}

TEST(HttpServer, NoticesAClientThatLeavesBeforeTheReply) {
  std::atomic<bool> has_left = false;
  std::shared_ptr<Exchange> held;
  std::mutex mutex;
  Fixture server([&](std::shared_ptr<Exchange> exchange) {
    exchange->on_disconnect([&] { has_left = true; });
    std::lock_guard lock(mutex);
    held = std::move(exchange);
  });
  RawClient client(server.port());
  client.send(get("/"));
  ASSERT_TRUE(eventually([&] {
    std::lock_guard lock(mutex);
    return held != nullptr;
  }));
  client.close();
  EXPECT_TRUE(eventually([&] { return has_left.load(); }, 1000ms));
  EXPECT_TRUE(held->is_disconnected());
  held->respond(Reply{200, "text/plain", "too late", {}});
  EXPECT_TRUE(eventually([&] { return server->num_connections() == 0; }));
}

TEST(HttpServer, ClientThatDoesNotReadIsCutAtTheBound) {
  TransportOptions options;
  options.max_unsent_bytes = 64 << 10;
  std::atomic<bool> has_left = false;
  std::atomic<size_t> num_written = 0;
  Fixture server(
      [&](std::shared_ptr<Exchange> exchange) {
        exchange->on_disconnect([&] { has_left = true; });
        std::thread([exchange, &num_written] {
          exchange->begin(200, "text/plain");
          const std::string piece(4096, 'x');
          while (exchange->write(piece)) {
            num_written += piece.size();
            std::this_thread::sleep_for(100us);
          }
        }).detach();
      },
      options);
  RawClient client(server.port(), 4096);
  client.send(get("/"));
  EXPECT_TRUE(eventually([&] { return has_left.load(); }));
  EXPECT_LT(num_written, size_t{8} << 20) << "the kernel's buffers and our own, no more";
  EXPECT_TRUE(eventually([&] { return server->num_connections() == 0; }));
}

TEST(HttpServer, ReaderThatStallsIsDroppedAfterTheWriteTimeout) {
  TransportOptions options;
  options.write_timeout = 200ms;
  Fixture server(
      [](std::shared_ptr<Exchange> exchange) {
        exchange->respond(Reply{200, "text/plain", std::string(32 << 20, 'x'), {}});
      },
      options);
  RawClient client(server.port(), 4096);
  client.send(get("/"));
  ASSERT_TRUE(eventually([&] { return server->num_connections() == 1; }));
  EXPECT_TRUE(eventually([&] { return server->num_connections() == 0; }, 5000ms));
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
  std::vector<std::shared_ptr<Exchange>> held;
  std::mutex mutex;
  {
    Fixture server(
        [&](std::shared_ptr<Exchange> exchange) {
          std::lock_guard lock(mutex);
          held.push_back(std::move(exchange));
        },
        options);
    RawClient first(server.port());
    first.send(post("/", std::string(800, 'a')));
    ASSERT_TRUE(eventually([&] {
      std::lock_guard lock(mutex);
      return held.size() == 1;
    }));
    RawClient second(server.port());
    second.send(post("/", std::string(800, 'a')));
    EXPECT_EQ(status_of(second.receive()), 503);
    {
      std::lock_guard lock(mutex);
      held.clear();
    }
    EXPECT_EQ(status_of(first.receive("}")), 500);
    RawClient third(server.port());
    third.send(post("/", std::string(800, 'a')));
    EXPECT_TRUE(eventually([&] {
      std::lock_guard lock(mutex);
      return held.size() == 1;
    }));
  }
  held.clear();  // after the server: must not touch what is gone
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
        [&](std::shared_ptr<Exchange> exchange) {
          ++num_writers;
          std::thread([exchange, &num_writers]() mutable {
            exchange->begin(200, "text/plain");
            while (exchange->write("x")) std::this_thread::sleep_for(200us);
            exchange.reset();
            --num_writers;
          }).detach();
        },
        options);
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 10; ++i) {
      clients.push_back(std::make_unique<RawClient>(server.port()));
      clients.back()->send(get("/"));
    }
    ASSERT_TRUE(eventually([&] { return num_writers == 10; }));
    server->stop();
  }
  EXPECT_TRUE(eventually([&] { return num_writers == 0; }));
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

TEST(HttpServer, AlarmsGoOffOnceUnlessCleared) {
  std::atomic<int> num_alarms = 0;
  Fixture server([&](std::shared_ptr<Exchange> exchange) {
    const auto now = std::chrono::steady_clock::now();
    exchange->set_alarm(now + 1h, [&] { num_alarms += 100; });
    exchange->set_alarm(now + 5ms, [&num_alarms, exchange] {
      ++num_alarms;
      // One in the past comes at once, and a cleared one never.
      exchange->set_alarm({}, [exchange, &num_alarms] {
        ++num_alarms;
        exchange->set_alarm({}, [&] { num_alarms += 100; });
        exchange->set_alarm({}, nullptr);
        exchange->post([exchange] { echo(exchange); });
      });
    });
  });
  RawClient client(server.port());
  client.send(get("/a"));
  EXPECT_EQ(status_of(client.receive_reply()), 200);
  EXPECT_EQ(num_alarms, 2);
}

TEST(HttpServer, AnAlarmOfAnExchangeThatIsGoneIsForgotten) {
  auto is_alive = std::make_shared<int>(1);
  Fixture server([is_alive](const std::shared_ptr<Exchange>& exchange) {
    exchange->set_alarm(std::chrono::steady_clock::now() + 1h, [is_alive] {});
    echo(exchange);
  });
  {
    RawClient client(server.port());
    client.send(get("/a"));
    EXPECT_EQ(status_of(client.receive_reply()), 200);
  }
  EXPECT_TRUE(eventually([&] { return is_alive.use_count() == 2; })) << "the handler's and ours";
}

}  // namespace
}  // namespace sluice::server
