#include "server/server.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/fake_loaded_model.h"
#include "server/raw_client.h"
#include "server/routes.h"
#include "store/store_fixture.h"

namespace sluice::server {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::eventually;
using test::get;
using test::post;
using test::RawClient;
using test::status_of;

// A server with a fake model behind real routes, prompts, engine and sockets.
class ServerTest : public testing::Test {
 protected:
  ~ServerTest() override {
    behaviour_.is_held = false;
    behaviour_.is_load_held = false;
  }

  void start(int max_queue = 512, ServerOptions options = {}) {
    if (options.store_root.empty()) options.store_root = "/nonexistent/store";
    // Any file will do: the fake does not open it.
    options.extra_models.push_back({"fake:1", "/proc/self/exe"});
    server_ = std::make_unique<Server>(
        options, [this, max_queue](const store::ModelRecord&, uint64_t, const LoadProgress&) {
          return test::FakeLoadedModel::make(behaviour_, max_queue);
        });
    server_->start();
  }

  std::string ask(const std::string& request) {
    RawClient client(server_->port());
    client.send(request);
    return client.receive_reply();
  }

  json status() {
    RawClient client(server_->port());
    client.send(get("/api/sluice/status"));
    const std::string reply = client.receive_reply();
    return json::parse(reply.substr(reply.find("\r\n\r\n") + 4));
  }

  static json body_of(const std::string& reply) {
    return json::parse(reply.substr(reply.find("\r\n\r\n") + 4));
  }

  test::FakeBehaviour behaviour_;
  std::unique_ptr<Server> server_;
};

const char* const kWhole = R"({"model":"fake:1","prompt":"hi","stream":false})";
const char* const kStreamed = R"({"model":"fake:1","prompt":"hi"})";
// Nobody waits for the end of these: what runs runs until somebody ends it.
const char* const kEndless = R"({"model":"fake:1","prompt":"hi","ignore_eos":true,"stream":false,
                                 "options":{"num_predict":1000000}})";
const char* const kEndlessStream = R"({"model":"fake:1","prompt":"hi","ignore_eos":true,
                                       "options":{"num_predict":1000000}})";

TEST_F(ServerTest, GeneratesWholeReplies) {
  start();
  const std::string reply = ask(post("/api/generate", kWhole));
  ASSERT_EQ(status_of(reply), 200) << reply;
  const json body = body_of(reply);
  EXPECT_EQ(body["response"], "ABCDEFGHIJ");
  EXPECT_EQ(body["done_reason"], "stop");
  EXPECT_EQ(body["prompt_eval_count"], 2);
  EXPECT_GT(body["load_duration"], 0);
  EXPECT_GE(body["context"].size(), 12u);
}

TEST_F(ServerTest, StreamsLineByLine) {
  start();
  RawClient client(server_->port());
  client.send(post("/api/generate", kStreamed));
  const std::string reply = client.receive("\r\n0\r\n\r\n");
  EXPECT_NE(reply.find("application/x-ndjson"), std::string::npos);
  EXPECT_NE(reply.find(R"("response":"A")"), std::string::npos) << reply;
  EXPECT_NE(reply.find(R"("done":true)"), std::string::npos);
}

TEST_F(ServerTest, SpeaksOpenAi) {
  start();
  const std::string request =
      R"({"model":"fake:1","messages":[{"role":"user","content":"hi"}],"temperature":0})";
  const json body = body_of(ask(post("/v1/chat/completions", request)));
  EXPECT_EQ(body["choices"][0]["message"]["content"], "ABCDEFGHIJ");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  const json error = body_of(ask(post("/v1/chat/completions", R"({"model":"no","messages":[1]})")));
  EXPECT_TRUE(error["error"]["message"].is_string());
}

TEST_F(ServerTest, ManyAtOnceAllGetTheirOwnReply) {
  start();
  std::vector<std::thread> threads;
  std::atomic<int> num_good = 0;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 3; ++n) {
        const std::string reply = ask(post("/api/generate", kWhole));
        if (status_of(reply) == 200 && body_of(reply)["response"] == "ABCDEFGHIJ") ++num_good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(num_good, 48);
  EXPECT_EQ(behaviour_.num_loads, 1);
}

TEST_F(ServerTest, DisconnectCancelsAtOnce) {
  behaviour_.step_ms = 20;
  start();
  int num_cancelled = 0;
  for (const char* request : {kEndless, kEndlessStream}) {
    RawClient client(server_->port());
    client.send(post("/api/generate", request));
    ASSERT_TRUE(eventually([&] { return status()["num_running"] == 1; }));
    client.close();
    ++num_cancelled;
    EXPECT_TRUE(eventually([&] {
      const json model = status()["models"][0];
      return model["engine"]["num_requests_cancelled"] == num_cancelled &&
             model["num_leases"] == 0 && model["engine"]["num_running"] == 0;
    }));
  }
}

TEST_F(ServerTest, DisconnectWhileTheModelLoads) {
  behaviour_.is_load_held = true;
  behaviour_.step_ms = 50;
  start();
  {
    RawClient client(server_->port());
    client.send(post("/api/generate", kStreamed));
    ASSERT_TRUE(eventually([&] { return behaviour_.num_loads == 1; }));
    EXPECT_TRUE(status()["models"][0]["is_loading"]);
  }
  EXPECT_TRUE(eventually([&] { return status()["models"][0]["num_waiting_for_load"] == 0; }));
  behaviour_.is_load_held = false;
  ASSERT_TRUE(eventually([&] { return !status()["models"][0]["is_loading"]; }));
  EXPECT_TRUE(eventually([&] { return status()["models"][0]["num_leases"] == 0; }));
  EXPECT_EQ(status()["models"][0]["engine"]["num_output_tokens"], 0);
}

TEST_F(ServerTest, FullQueueIs503WithRetryAfter) {
  start(1);
  ASSERT_EQ(status_of(ask(post("/api/generate", R"({"model":"fake:1"})"))), 200);
  behaviour_.is_held = true;
  std::vector<std::unique_ptr<RawClient>> clients;
  std::atomic<int> num_refused = 0;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<RawClient>(server_->port()));
    clients.back()->send(post("/api/generate", kWhole));
  }
  ASSERT_TRUE(eventually([&] {
    const json engine = status()["models"][0]["engine"];
    return engine["num_running"].get<int>() + engine["num_waiting"].get<int>() +
               engine["num_requests_rejected"].get<int>() ==
           100;
  }));
  behaviour_.is_held = false;
  for (auto& client : clients) {
    const std::string reply = client->receive_reply();
    if (status_of(reply) == 503) {
      ++num_refused;
      EXPECT_NE(reply.find("Retry-After: 1"), std::string::npos);
      EXPECT_NE(reply.find("busy"), std::string::npos);
    }
  }
  EXPECT_GT(num_refused, 0);
  EXPECT_LT(num_refused, 100);
}

TEST_F(ServerTest, BrokenModelIsAnErrorAndTheServerLivesOn) {
  behaviour_.load_fails = true;
  start();
  const std::string reply = ask(post("/api/generate", kWhole));
  EXPECT_EQ(status_of(reply), 500);
  EXPECT_NE(reply.find("tensor x is missing"), std::string::npos);
  behaviour_.load_fails = false;
  EXPECT_EQ(status_of(ask(post("/api/generate", kWhole))), 200);
}

TEST_F(ServerTest, StopFinishesWhatRunsAndRefusesTheRest) {
  start();
  behaviour_.is_held = true;
  RawClient running(server_->port());
  running.send(post("/api/generate", kStreamed));
  ASSERT_TRUE(eventually([&] { return status()["num_running"] == 1; }));
  RawClient late(server_->port());
  late.send(get("/api/version"));
  late.receive("version");
  std::thread stopper([&] { server_->stop(60s); });
  const std::string draining = "\"is_draining\":true";
  EXPECT_TRUE(eventually([&] {
    late.send(get("/api/sluice/status"));
    return late.receive(draining, 100ms).find(draining) != std::string::npos;
  }));
  EXPECT_TRUE(eventually([&] {
    try {
      RawClient newcomer(server_->port());
      return false;
    } catch (const std::runtime_error&) {
      return true;
    }
  })) << "nobody new is taken";
  late.send(post("/api/generate", kWhole));
  EXPECT_NE(late.receive("shutting down").find("503"), std::string::npos);
  behaviour_.is_held = false;
  EXPECT_NE(running.receive("\"done\":true").find("\"done_reason\":\"stop\""), std::string::npos);
  stopper.join();
}

TEST_F(ServerTest, ImpatientStopCancelsWhatRuns) {
  behaviour_.step_ms = 20;
  start();
  RawClient running(server_->port());
  running.send(post("/api/generate", kEndlessStream));
  running.receive("\"response\":\"A\"");
  server_->stop(0ms);
  EXPECT_NE(running.receive().find("cancelled"), std::string::npos);
  EXPECT_EQ(behaviour_.num_alive, 0);
}

// A step under way (a prefill, say) holds up nobody's end.
TEST_F(ServerTest, EveryClientGetsAnEndInItsDialect) {
  behaviour_.max_sequences = 1;
  start();
  ask(post("/api/generate", R"({"model":"fake:1"})"));
  behaviour_.is_held = true;
  const std::string ollama_chat =
      R"({"model":"fake:1","messages":[{"role":"user","content":"hi"}])";
  const std::string openai_chat = ollama_chat;
  const std::string prompt = R"({"model":"fake:1","prompt":"hi")";
  const std::vector<std::string> requests = {
      post("/api/chat", ollama_chat + "}"),
      post("/api/chat", ollama_chat + R"(,"stream":false})"),
      post("/api/generate", prompt + "}"),
      post("/api/generate", prompt + R"(,"stream":false})"),
      post("/api/embed", R"({"model":"fake:1","input":["a","b"]})"),
      post("/v1/chat/completions", openai_chat + "}"),
      post("/v1/chat/completions", openai_chat + R"(,"stream":true})"),
      post("/v1/completions", prompt + "}"),
      post("/v1/embeddings", R"({"model":"fake:1","input":"a"})"),
  };
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<RawClient>(server_->port()));
    clients.back()->send(requests[static_cast<size_t>(i) % requests.size()]);
  }
  RawClient told(server_->port());
  told.send(post("/api/chat", ollama_chat + R"(,"queue_events":true})"));
  RawClient commented(server_->port());
  commented.send(
      post("/v1/chat/completions", openai_chat + R"(,"stream":true,"queue_events":true})"));
  EXPECT_NE(told.receive("queued").find("queued"), std::string::npos);
  EXPECT_NE(commented.receive("position").find("position"), std::string::npos);
  ASSERT_TRUE(eventually([&] { return status()["num_waiting"] >= 200; }));
  std::thread stopper([&] { server_->stop(0ms); });
  for (size_t i = 0; i < clients.size(); ++i) {
    const std::string reply = clients[i]->receive_reply();
    EXPECT_EQ(status_of(reply), 503) << i;
    EXPECT_NE(reply.find("Retry-After: "), std::string::npos) << i;
    const json error = body_of(reply)["error"];
    const bool is_openai = requests[i % requests.size()].starts_with("POST /v1/");
    const json& message = is_openai ? error["message"] : error;
    EXPECT_EQ(message, "server busy: it is shutting down") << i;
  }
  const std::string line = told.receive("\r\n0\r\n\r\n");
  EXPECT_NE(line.find(R"({"error":"server busy: it is shutting down"})"), std::string::npos);
  const std::string event = commented.receive("\r\n0\r\n\r\n");
  EXPECT_NE(event.find(R"(data: {"error":{"message":"server busy)"), std::string::npos) << event;
  behaviour_.is_held = false;
  stopper.join();
}

// The engine makes far more than is taken.
TEST_F(ServerTest, AStreamThatNobodyReadsIsCut) {
  start();
  RawClient client(server_->port(), 4096);
  client.send(post("/api/generate", R"({"model":"fake:1","prompt":"hi","logprobs":true,
      "top_logprobs":20,"ignore_eos":true,"options":{"num_predict":1000000}})"));
  EXPECT_TRUE(eventually([&] {
    const json now = status();
    return !now["models"].empty() && now["num_running"] == 0 && now["num_connections"] == 1 &&
           now["models"][0]["engine"]["num_requests_cancelled"] == 1;
  }));
}

TEST_F(ServerTest, AWholeReplyIsBounded) {
  ServerOptions options;
  options.transport.max_whole_reply_bytes = 100'000;
  start(512, options);
  const std::string request = R"({"model":"fake:1","prompt":"hi","stream":false,"logprobs":true,
      "top_logprobs":20,"ignore_eos":true,"options":{"num_predict":)";
  EXPECT_EQ(status_of(ask(post("/api/generate", request + "10}}"))), 200);
  const std::string reply = ask(post("/api/generate", request + "1000}}"));
  EXPECT_EQ(status_of(reply), 500);
  EXPECT_NE(reply.find("ask for a stream"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return status()["num_running"] == 0; }));
}

// 70 such clients once filled all places for good.
TEST_F(ServerTest, WhoSendsAheadAndLeavesIsNoticed) {
  behaviour_.step_ms = 20;
  start();
  for (int i = 0; i < 3; ++i) {
    RawClient client(server_->port());
    client.send(post("/api/generate", kEndless) + std::string(70'000, 'x'));
    ASSERT_TRUE(eventually([&] { return status()["num_running"] == 1; }));
    client.close();
    EXPECT_TRUE(eventually([&] { return status()["num_running"] == 0; }));
    EXPECT_TRUE(eventually([&] { return status()["models"][0]["num_leases"] == 0; }));
  }
  EXPECT_EQ(status()["models"][0]["engine"]["num_requests_cancelled"], 3);
}

TEST_F(ServerTest, AModelWhoseFileIsGoneCanBeUnloaded) {
  const std::string folder = std::filesystem::temp_directory_path() / "sluice-server-XXXXXX";
  std::string root = folder;
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  store::Store store(root + "/models");
  store.import_gguf(store::testing::write_gguf(root + "/m.gguf", "m"),
                    store::ModelName::parse("m"));
  ServerOptions options;
  options.store_root = store.root();
  start(512, options);
  ASSERT_EQ(status_of(ask(post("/api/generate", R"({"model":"m"})"))), 200);
  const std::string unload = post("/api/generate", R"({"model":"m","keep_alive":0})");
  std::filesystem::remove_all(root);
  EXPECT_EQ(status_of(ask(unload)), 200);
  EXPECT_TRUE(eventually([&] { return status()["models"].empty(); }));
  EXPECT_EQ(status_of(ask(unload)), 404);
}

TEST_F(ServerTest, EveryRouteAnswersItsMethodAndOnlyThat) {
  start();
  for (const std::string& name : route_names()) {
    const size_t space = name.find(' ');
    std::string path = name.substr(space + 1);
    if (path.ends_with("*")) path.replace(path.size() - 1, 1, "x");
    const std::string other = name.starts_with("GET") ? "PUT" : "PATCH";
    const std::string tail = " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    const int good = status_of(ask(name.substr(0, space) + " " + path + tail));
    EXPECT_TRUE(good == 200 || good == 400 || good == 404) << name << " gave " << good;
    EXPECT_EQ(status_of(ask(other + " " + path + tail)), 405) << path;
  }
}

// Also what the transport or the gate refuses, before there is a route.
TEST_F(ServerTest, EveryErrorIsToldInTheWordsOfItsPath) {
  start();
  const std::string host = "Host: localhost\r\n";
  struct Case {
    std::string method, rest;
    int status;
  };
  const Case cases[] = {
      {"GET", " HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n", 501},
      {"GET", " HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n", 400},
      {"GET", " HTTP/2.0\r\n" + host + "\r\n", 505},
      {"GET", "%zz HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET", " HTTP/1.1\r\n" + host + "no colon\r\n\r\n", 400},
      {"GET", " HTTP/1.1\r\n" + host + "X: " + std::string(100'000, 'x') + "\r\n\r\n", 431},
      {"GET", " HTTP/1.1\r\n\r\n", 400},
      {"POST", " HTTP/1.1\r\n" + host + "Content-Length: 99999999999\r\n\r\n", 413},
      {"PATCH", " HTTP/1.1\r\n" + host + "\r\n", 405},
  };
  for (const Case& item : cases) {
    const std::string openai = ask(item.method + " /v1/models" + item.rest);
    EXPECT_EQ(status_of(openai), item.status) << openai;
    EXPECT_TRUE(body_of(openai)["error"]["message"].is_string()) << openai;
    const std::string anthropic = ask(item.method + " /v1/messages" + item.rest);
    EXPECT_EQ(status_of(anthropic), item.status) << anthropic;
    EXPECT_EQ(body_of(anthropic)["type"], "error") << anthropic;
    if (item.status == 405) continue;  // no JSON with Ollama
    const std::string ollama = ask(item.method + " /api/tags" + item.rest);
    EXPECT_EQ(status_of(ollama), item.status) << ollama;
    EXPECT_TRUE(body_of(ollama)["error"].is_string()) << ollama;
  }
}

TEST_F(ServerTest, WhatTheGateAnswersHasNoBodyWhereThereIsNone) {
  start();
  const std::string head =
      ask("HEAD /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(status_of(head), 403);
  EXPECT_TRUE(head.ends_with("\r\n\r\n")) << head;
  RawClient client(server_->port());
  client.send(
      "OPTIONS /api/chat HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:1\r\n\r\n");
  const std::string preflight = client.receive();
  EXPECT_EQ(status_of(preflight), 204);
  EXPECT_EQ(preflight.find("Content-Length"), std::string::npos) << preflight;
}

TEST_F(ServerTest, ListeningForAnyoneNeedsTheOwnersWord) {
  ServerOptions options;
  options.transport.address = "0.0.0.0";
  EXPECT_THROW(Server{options}, Error);
  options.allow_anyone = true;
  EXPECT_NO_THROW(Server{options});
}

}  // namespace
}  // namespace sluice::server
