#include "server/server.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/fake_loaded_model.h"
#include "server/packed_body.h"
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
        options,
        [this, max_queue](const store::ModelRecord&, const LoadBudget&, const LoadProgress&) {
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

TEST_F(ServerTest, TakesBodiesPackedWithZstdAndRefusesOtherEncodings) {
  ServerOptions options;
  options.transport.max_body_bytes = 1 << 20;
  start(512, options);
  const auto packed = [&](const std::string& path, const std::string& body,
                          const std::string& encoding) {
    return ask("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: " + encoding +
               "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  };
  const std::string input = R"({"model":"fake:1","input":"hi"})";
  std::string reply = packed("/v1/responses", test::packed_with_zstd(input), "zstd");
  ASSERT_EQ(status_of(reply), 200) << reply;
  EXPECT_EQ(body_of(reply)["output"][0]["content"][0]["text"], "ABCDEFGHIJ");
  EXPECT_EQ(status_of(packed("/api/show", test::packed_with_zstd(R"({"model":"no"})"), "zstd")),
            404);
  const std::string bomb = test::packed_with_zstd(std::string(9 << 20, ' '));
  reply = packed("/v1/responses", bomb, "zstd");
  EXPECT_EQ(status_of(reply), 400);
  EXPECT_NE(reply.find("larger than the 1048576 bytes"), std::string::npos) << reply;
  EXPECT_EQ(status_of(packed("/api/generate", kWhole, "zstd")), 400);
  EXPECT_EQ(status_of(packed("/api/generate", kWhole, "identity")), 200);
  EXPECT_EQ(status_of(packed("/api/generate", kWhole, "gzip")), 415);
}

TEST_F(ServerTest, ErrorsOfAnthropicsPathBearTheRequestsId) {
  start();
  const std::string head = " HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine.1\r\n";
  const std::string wrong = "{\"model\":\"fake:1\"}";
  for (const std::string& request :
       {"POST /v1/messages" + head + "Content-Length: " + std::to_string(wrong.size()) +
            "\r\n\r\n" + wrong,
        "GET /v1/messages" + head + "\r\n", "GET /v1/messages" + head + "Origin: http://x\r\n\r\n",
        "POST /v1/messages" + head + "Transfer-Encoding: gzip\r\n\r\n"}) {
    const std::string reply = ask(request);
    EXPECT_GE(status_of(reply), 400) << reply;
    EXPECT_EQ(body_of(reply)["request_id"], "mine.1") << reply;
  }
}

TEST_F(ServerTest, LoadingAloneAsksWhatAModelCan) {
  start();
  const auto load = [&](const std::string& more) {
    return ask(post("/api/generate", R"({"model":"fake:1")" + more + "}"));
  };
  EXPECT_EQ(body_of(load(""))["done_reason"], "load");
  EXPECT_EQ(status_of(load(R"(,"think":false)")), 200);
  const std::string reply = load(R"(,"think":true)");
  EXPECT_EQ(status_of(reply), 400) << reply;
  EXPECT_EQ(body_of(reply)["error"], "\"fake:1\" does not support thinking");
}

TEST_F(ServerTest, NamesThatAreNotThereAreToldInOllamasWords) {
  start();
  const auto error = [&](const std::string& path, const std::string& body,
                         const std::string& method = "POST") {
    const std::string reply =
        ask(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
            std::to_string(body.size()) + "\r\n\r\n" + body);
    return std::to_string(status_of(reply)) + " " + body_of(reply)["error"].get<std::string>();
  };
  EXPECT_EQ(error("/api/generate", "{}"), "404 model '' not found");
  EXPECT_EQ(error("/api/embed", R"({"model":""})"), "404 model '' not found");
  EXPECT_EQ(error("/api/create", "{}"), "400 invalid model name");
  EXPECT_EQ(error("/api/show", R"({"model":"Nope"})"), "404 model 'Nope:latest' not found");
  EXPECT_EQ(error("/api/generate", R"({"model":"Nope"})"), "404 model 'Nope' not found");
  EXPECT_EQ(error("/api/delete", R"({"model":"Nope"})", "DELETE"), "404 model 'Nope' not found");
  const auto copy = [](const std::string& source, const std::string& destination) {
    return R"({"source":")" + source + R"(","destination":")" + destination + "\"}";
  };
  EXPECT_EQ(error("/api/copy", copy("Nope", "x")), "404 model \"Nope\" not found");
  EXPECT_EQ(error("/api/copy", copy("a/b/c/d", "x")), "400 source \"a/b/c/d\" is invalid");
  EXPECT_EQ(error("/api/copy", copy("Nope", "a b")), "400 destination \"a b\" is invalid");
}

TEST_F(ServerTest, GivesBrowsersThePageAndOthersTheirLine) {
  start();
  const auto home = [&](const std::string& headers) {
    return ask("GET / HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n");
  };
  for (const char* accept : {"", "Accept: */*\r\n", "Accept: application/json\r\n"}) {
    EXPECT_TRUE(home(accept).ends_with("\r\n\r\nOllama is running")) << accept;
  }
  const std::string page = home("Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n");
  EXPECT_NE(page.find("<!doctype html>"), std::string::npos);
  EXPECT_NE(page.find("Content-Type: text/html; charset=utf-8\r\n"), std::string::npos);
  EXPECT_NE(page.find("Content-Security-Policy: default-src 'none'; script-src 'self';"),
            std::string::npos);
  EXPECT_NE(page.find("Vary: Accept\r\n"), std::string::npos);
  EXPECT_EQ(page.find("unsafe"), std::string::npos);
}

TEST_F(ServerTest, GivesThePagesFilesOnceAsLongAsTheyAreTheSame) {
  start();
  for (const char* name : {"app.js", "style.css", "icon.svg", "lib/chart.js", "lib/marked.js"}) {
    const std::string path = std::string("/web/") + name;
    const std::string reply = ask(get(path));
    ASSERT_EQ(status_of(reply), 200) << path;
    EXPECT_NE(reply.find("X-Content-Type-Options: nosniff\r\n"), std::string::npos);
    const size_t begin = reply.find("ETag: ") + 6;
    const std::string tag = reply.substr(begin, reply.find("\r\n", begin) - begin);
    RawClient client(server_->port());
    client.send("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: " + tag +
                "\r\n\r\n");
    const std::string again = client.receive("\r\n\r\n");
    EXPECT_EQ(status_of(again), 304) << path;
    EXPECT_EQ(again.find("Content-Length"), std::string::npos);
  }
  for (const char* path : {"/web/nothing.js", "/web/../app.js", "/web/lib", "/web/lib/"}) {
    EXPECT_EQ(status_of(ask(get(path))), 404) << path;
  }
}

TEST_F(ServerTest, TellsOfTheMachine) {
  start();
  const json machine = body_of(ask(get("/api/sluice/machine")));
  EXPECT_GE(machine["cores"].size(), 1u);
  EXPECT_GE(machine["cores"][0]["total_s"], machine["cores"][0]["busy_s"]);
  EXPECT_GT(machine["memory"]["total_bytes"], machine["memory"]["available_bytes"]);
  EXPECT_GE(machine["process"]["threads"].size(), 2u);
  EXPECT_TRUE(machine["gpus"].is_array());
  EXPECT_EQ(machine["load"].size(), 3u);
  EXPECT_TRUE(machine["disk_read_bytes"].is_number_unsigned());
  EXPECT_TRUE(machine["disk_written_bytes"].is_number_unsigned());
  for (const json& other : machine.at("other_processes")) {
    EXPECT_NE(other["pid"], getpid());
    EXPECT_GT(other["cpu_s"], 0);
    EXPECT_FALSE(other["name"].get<std::string>().empty());
  }
}

TEST_F(ServerTest, EveryReplyBearsItsRequestsId) {
  start();
  const auto ask_with_id = [&](const std::string& path, const std::string& body,
                               const std::string& id) {
    return ask("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: " + id +
               "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  };
  const std::string chat = R"({"model":"fake:1","max_tokens":3,
                               "messages":[{"role":"user","content":"hi"}]})";
  for (const char* path : {"/api/chat", "/v1/chat/completions", "/v1/messages", "/api/nowhere"}) {
    for (const std::string& body : {chat, std::string("{")}) {
      const std::string reply = ask_with_id(path, body, "mine-7");
      EXPECT_NE(reply.find("\r\nX-Request-Id: mine-7\r\n"), std::string::npos) << path << reply;
      const bool is_messages = std::string(path) == "/v1/messages";
      EXPECT_EQ(reply.find("\r\nrequest-id: mine-7\r\n") != std::string::npos, is_messages);
    }
  }
  EXPECT_NE(ask_with_id("/api/generate", kWhole, "a b").find("\r\nX-Request-Id: req_"),
            std::string::npos);
  EXPECT_NE(ask("GET /api/version HTTP/1.1\r\n\r\n").find("\r\nX-Request-Id: req_"),
            std::string::npos)
      << "refused before it came to a route";
  EXPECT_NE(ask("GET / HTTP/9.9\r\n\r\n").find("\r\nX-Request-Id: req_"), std::string::npos);
}

TEST_F(ServerTest, RemembersWhatBecameOfRequests) {
  start();
  const std::string head =
      "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: one\r\n";
  const std::string body = kWhole;
  ask(head + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  ask(get("/api/sluice/status"));
  ask(post("/api/generate", R"({"model":"missing:1","prompt":"hi"})"));
  const json list = body_of(ask(get("/api/sluice/requests")))["requests"];
  ASSERT_EQ(list.size(), 2u) << list;
  EXPECT_EQ(list[0]["model"], "missing:1");
  EXPECT_EQ(list[0]["status"], 404);
  EXPECT_EQ(list[1]["id"], "one");
  const std::string reply = ask(get("/api/sluice/requests/one"));
  const json life = body_of(reply);
  EXPECT_EQ(life["output_tokens"], 11);
  EXPECT_EQ(life["finish_reason"], "end_of_sequence");
  EXPECT_GE(life["parts"][0]["spans"].size(), 11u);
  EXPECT_FALSE(life["explanation"].empty());
  EXPECT_EQ(reply.find("ABCDEFGHIJ"), std::string::npos) << "no reply is kept";
  EXPECT_EQ(status_of(ask(get("/api/sluice/requests/two"))), 404);
  EXPECT_EQ(status_of(ask(get("/api/sluice/requests?limit=0"))), 400);
  EXPECT_EQ(body_of(ask(get("/api/sluice/requests?limit=1")))["requests"].size(), 1u);
  const std::string metrics = ask(get("/metrics"));
  EXPECT_NE(metrics.find("sluice_http_requests_total{method=\"POST\",route=\"/api/generate\","
                         "code=\"404\"} 1\n"),
            std::string::npos);
}

TEST_F(ServerTest, TellsWhereARequestUnderWayIs) {
  behaviour_.is_held = true;
  start();
  RawClient client(server_->port());
  client.send(post("/api/generate", kStreamed));
  ASSERT_TRUE(eventually([&] { return status()["num_running"] == 1; }));
  const json listed = status()["models"][0]["engine"]["requests"][0];
  const std::string id = listed["request_id"];
  EXPECT_FALSE(id.empty());
  const json life = body_of(ask(get("/api/sluice/requests/" + id)));
  EXPECT_EQ(life["state"], "running");
  EXPECT_EQ(life["model"], "fake:1");
  behaviour_.is_held = false;
  client.receive("\r\n0\r\n\r\n");
  EXPECT_TRUE(eventually(
      [&] { return body_of(ask(get("/api/sluice/requests/" + id)))["state"] == "ended"; }));
}

TEST_F(ServerTest, RemembersThoseWhoLeft) {
  behaviour_.step_ms = 20;
  start();
  {
    RawClient client(server_->port());
    client.send(post("/api/generate", kEndlessStream));
    client.receive("\"response\":\"C\"");
  }
  json list;
  ASSERT_TRUE(eventually([&] {
    list = body_of(ask(get("/api/sluice/requests")))["requests"];
    return list.size() == 1 && list[0]["state"] == "ended";
  }));
  EXPECT_EQ(list[0]["finish_reason"], "cancelled");
  EXPECT_GE(list[0]["output_tokens"], 3);
  // A step takes 20 ms: the prompt's one, and each token's.
  constexpr double kMilliseconds = 1e6;
  EXPECT_GE(list[0]["time_to_first_token_ns"], 19 * kMilliseconds);
  EXPECT_LT(list[0]["queued_ns"], list[0]["time_to_first_token_ns"]);
  EXPECT_GT(list[0]["tokens_per_second"], 1);
  EXPECT_LT(list[0]["tokens_per_second"], 60);
  const json life = body_of(ask(get("/api/sluice/requests/" + list[0]["id"].get<std::string>())));
  const json& part = life["parts"][0];
  EXPECT_GE(part["prefill_ns"], 15 * kMilliseconds);
  EXPECT_GE(part["decode_ns"], 2 * 15 * kMilliseconds);
  EXPECT_LE(part["queued_ns"].get<double>() + part["prefill_ns"].get<double>() +
                part["decode_ns"].get<double>(),
            life["total_ns"].get<double>());
  EXPECT_EQ(part["prefilled_tokens"], life["prompt_tokens"]);
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
  for (const RouteInfo& route : all_routes()) {
    std::string path(route.path);
    if (path.ends_with("*")) path.replace(path.size() - 1, 1, "x");
    const std::string other = route.method == "GET" ? "PUT" : "PATCH";
    const std::string tail = " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    RawClient client(server_->port());
    client.send(std::string(route.method) + " " + path + tail);
    const int good = status_of(client.receive("\r\n\r\n"));
    EXPECT_TRUE(good == 200 || good == 400 || good == 404) << path << " gave " << good;
    const std::string refused = ask(other + " " + path + tail);
    EXPECT_EQ(status_of(refused), 405) << path;
    const size_t allow = refused.find("\r\nAllow: ");
    ASSERT_NE(allow, std::string::npos) << path;
    const std::string allowed = refused.substr(allow, refused.find("\r\n", allow + 2) - allow);
    EXPECT_NE(allowed.find(route.method), std::string::npos) << path << allowed;
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
  options.without_key = keys::Scope::kInfer;
  EXPECT_NO_THROW(Server{options});
}

}  // namespace
}  // namespace sluice::server
