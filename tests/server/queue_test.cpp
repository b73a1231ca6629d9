// What a server tells about waiting, how long it waits, and what it does with what does not fit.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/fake_loaded_model.h"
#include "server/raw_client.h"
#include "server/server.h"

namespace sluice::server {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::eventually;
using test::get;
using test::post;
using test::RawClient;
using test::status_of;

std::string header_of(const std::string& reply, const std::string& name) {
  const size_t start = reply.find("\r\n" + name + ": ");
  if (start == std::string::npos || start > reply.find("\r\n\r\n")) return "none";
  const size_t value = start + name.size() + 4;
  return reply.substr(value, reply.find("\r\n", value) - value);
}

std::string with_header(std::string request, const std::string& header) {
  return request.insert(request.find("\r\n") + 2, header + "\r\n");
}

// A server with a fake model whose loads and steps end when the test lets them.
class QueueTest : public testing::Test {
 protected:
  ~QueueTest() override {
    behaviour_.is_held = false;
    behaviour_.is_load_held = false;
  }

  void start(int max_queue = 512, api::Timeout timeout = api::kNoTimeout) {
    ServerOptions options;
    options.store_root = "/nonexistent/store";
    options.extra_models.push_back({"fake:1", "/proc/self/exe"});
    options.request_timeout = timeout;
    server_ = std::make_unique<Server>(
        options, [this, max_queue](const store::ModelRecord&, const LoadBudget&,
                                   const LoadProgress& on_progress) {
          on_progress(0.42);
          return test::FakeLoadedModel::make(behaviour_, max_queue);
        });
    server_->start();
  }

  std::string ask(const std::string& request) {
    RawClient client(server_->port());
    client.send(request);
    return client.receive_reply();
  }

  static json body_of(const std::string& reply) {
    return json::parse(reply.substr(reply.find("\r\n\r\n") + 4), nullptr, false);
  }
  json status() { return body_of(ask(get("/api/sluice/status"))); }
  json engine() { return status()["models"][0]["engine"]; }

  void load() { ASSERT_EQ(status_of(ask(post("/api/generate", R"({"model":"fake:1"})"))), 200); }

  // One request in a step that does not end, and so many behind it.
  void fill(int num_waiting) {
    behaviour_.is_held = true;
    for (int i = 0; i <= num_waiting; ++i) {
      clients_.push_back(std::make_unique<RawClient>(server_->port()));
      clients_.back()->send(post("/api/generate", kWhole));
      ASSERT_TRUE(eventually([&] {
        const json now = engine();
        return now["num_running"] == 1 && now["num_waiting"] == i;
      }));
    }
  }

  static constexpr const char* kWhole = R"({"model":"fake:1","prompt":"hi","stream":false})";
  test::FakeBehaviour behaviour_;
  std::unique_ptr<Server> server_;
  std::vector<std::unique_ptr<RawClient>> clients_;
};

TEST_F(QueueTest, EveryReplyTellsItsPlace) {
  start();
  const std::string reply = ask(post("/api/generate", kWhole));
  EXPECT_NE(header_of(reply, "X-Queue-Position"), "none") << reply;
  EXPECT_NE(header_of(reply, "X-Estimated-Wait").find('.'), std::string::npos);
  EXPECT_TRUE(body_of(reply)["sluice"]["queue_position"].is_number());
  EXPECT_EQ(header_of(reply, "X-Dropped-Tokens"), "none");
}

TEST_F(QueueTest, AFullQueueSaysHowManyWaitAndWhenToTryAgain) {
  start(3);
  load();
  behaviour_.is_held = true;
  std::string refused;
  while (refused.empty()) {
    ASSERT_LT(clients_.size(), 200u);
    clients_.push_back(std::make_unique<RawClient>(server_->port()));
    clients_.back()->send(post("/api/generate", kWhole));
    const size_t num_sent = clients_.size();
    ASSERT_TRUE(eventually([&] {
      const json now = engine();
      return now["num_running"].get<size_t>() + now["num_waiting"].get<size_t>() +
                 now["num_requests_rejected"].get<size_t>() >=
             num_sent;
    }));
    if (engine()["num_requests_rejected"] == 1) refused = clients_.back()->receive_reply();
  }
  EXPECT_EQ(status_of(refused), 503);
  const int seconds = std::stoi(header_of(refused, "Retry-After"));
  EXPECT_GE(seconds, 1);
  EXPECT_LE(seconds, 600);
  EXPECT_NE(refused.find("busy"), std::string::npos);
  EXPECT_NE(refused.find("(3 requests are waiting)"), std::string::npos) << refused;
  const json ps = body_of(ask(get("/api/ps")))["models"][0]["sluice"];
  EXPECT_EQ(ps["waiting"], 3);
  EXPECT_EQ(ps["refused"], 1);
  EXPECT_EQ(ps["queue"].size(), 3u);
  EXPECT_EQ(ps["queue"][2]["position"], 3);
  EXPECT_TRUE(ps["queue"][0]["estimated_wait"].is_number());
  behaviour_.is_held = false;
  clients_.pop_back();
  for (auto& client : clients_) EXPECT_EQ(status_of(client->receive_reply()), 200);
}

TEST_F(QueueTest, StreamsTellOfTheLoadAndTheQueueIfAsked) {
  start();
  behaviour_.is_load_held = true;
  RawClient ollama(server_->port());
  ollama.send(post("/api/chat", R"({"model":"fake:1","queue_events":true,
                                    "messages":[{"role":"user","content":"hi"}]})"));
  EXPECT_NE(ollama.receive("\"progress\":0.42").find("\"status\":\"loading\""), std::string::npos);
  RawClient openai(server_->port());
  openai.send(
      with_header(post("/v1/completions", R"({"model":"fake:1","prompt":"hi","stream":true})"),
                  "X-Queue-Events: 1"));
  EXPECT_NE(openai.receive("%\n\n").find(": loading 42%\n\n"), std::string::npos);
  RawClient silent(server_->port());
  silent.send(post("/api/generate", R"({"model":"fake:1","prompt":"hi"})"));
  ASSERT_TRUE(eventually([&] { return status()["models"][0]["num_waiting_for_load"] == 3; }));
  behaviour_.is_load_held = false;
  const std::string lines = ollama.receive("\"done\":true");
  EXPECT_NE(lines.find(R"("content":"A")"), std::string::npos);
  EXPECT_NE(openai.receive("[DONE]").find(R"("text":"A")"), std::string::npos);
  const std::string plain = silent.receive("\"done\":true");
  EXPECT_EQ(plain.find("status\":"), std::string::npos) << "off unless asked for";
  EXPECT_NE(header_of(plain, "X-Queue-Position"), "none");
}

TEST_F(QueueTest, WhoWaitsIsToldThePlace) {
  behaviour_.max_sequences = 1;
  start();
  load();
  fill(2);
  RawClient client(server_->port());
  client.send(post("/api/generate", R"({"model":"fake:1","prompt":"hi","queue_events":true})"));
  EXPECT_NE(client.receive("\"queue_position\":3").find("\"status\":\"queued\""),
            std::string::npos);
  behaviour_.is_held = false;
  EXPECT_NE(client.receive("\"done\":true").find("\"queue_position\":3,\"queued_duration\""),
            std::string::npos)
      << "the end tells it too";
}

std::string remove(const std::string& id) {
  return "DELETE /api/sluice/requests/" + id + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

TEST_F(QueueTest, WhoWaitsForAModelCanBeCancelled) {
  start();
  behaviour_.is_load_held = true;
  RawClient whole(server_->port()), stream(server_->port()), stays(server_->port());
  whole.send(with_header(post("/api/generate", kWhole), "X-Request-Id: whole"));
  stays.send(
      with_header(post("/api/embed", R"({"model":"fake:1","input":"x"})"), "X-Request-Id: stays"));
  stream.send(with_header(
      post("/api/chat",
           R"({"model":"fake:1","queue_events":true,"messages":[{"role":"user","content":"x"}]})"),
      "X-Request-Id: stream"));
  stream.receive("\"status\":\"loading\"");
  json pending;
  ASSERT_TRUE(eventually([&] { return (pending = status()["pending"]).size() == 3; }));
  for (const json& one : pending) {
    EXPECT_EQ(one["model"], "fake:1");
    EXPECT_EQ(one["client"], "127.0.0.1");
    EXPECT_GT(one["age_ns"], 0);
  }
  EXPECT_EQ(status_of(ask(remove("whole"))), 200);
  EXPECT_EQ(status_of(ask(remove("stream"))), 200);
  const std::string refused = whole.receive_reply();
  EXPECT_EQ(status_of(refused), 499);
  EXPECT_NE(refused.find("the request was cancelled"), std::string::npos) << refused;
  EXPECT_NE(stream.receive("\r\n0\r\n\r\n").find(R"({"error":"the request was cancelled"})"),
            std::string::npos);
  EXPECT_TRUE(eventually([&] { return status()["models"][0]["num_waiting_for_load"] == 1; }));
  EXPECT_EQ(status_of(ask(remove("whole"))), 404);
  behaviour_.is_load_held = false;
  EXPECT_EQ(status_of(stays.receive_reply()), 200);
  EXPECT_TRUE(status()["pending"].empty());
}

TEST_F(QueueTest, WhoIsInTheQueueCanBeCancelledHoweverFarBack) {
  behaviour_.max_sequences = 1;
  start();
  load();
  fill(1);
  constexpr int kMore = 300;  // an engine lists 256
  for (int i = 0; i < kMore; ++i) {
    clients_.push_back(std::make_unique<RawClient>(server_->port()));
    clients_.back()->send(
        with_header(post("/api/generate", kWhole), "X-Request-Id: number" + std::to_string(i)));
  }
  ASSERT_TRUE(eventually([&] { return engine()["num_waiting"] == kMore + 1; }));
  EXPECT_EQ(engine()["num_waiting_for_cache"], 0);
  EXPECT_FALSE(status()["pending"].empty());
  for (const int i : {0, kMore - 1}) {
    EXPECT_EQ(status_of(ask(remove("number" + std::to_string(i)))), 200);
    EXPECT_EQ(status_of(clients_[static_cast<size_t>(i) + 2]->receive_reply()), 499) << i;
  }
  behaviour_.is_held = false;
  EXPECT_EQ(status_of(clients_.front()->receive_reply()), 200);
  EXPECT_TRUE(eventually([&] { return engine()["num_requests_cancelled"] == 2; }));
}

TEST_F(QueueTest, TimeMayRunOutWhileTheModelLoads) {
  start();
  behaviour_.is_load_held = true;
  RawClient patient(server_->port());
  patient.send(post("/api/generate", kWhole));
  ASSERT_TRUE(eventually([&] { return status()["models"][0]["load_progress"] == 0.42; }));
  const std::string where = "was over: the model was still loading (42%)";
  std::string reply;
  for (int ms = 50; ms < 5000; ms *= 4) {  // more for a busy machine, until it comes so far
    reply = ask(post("/api/generate", R"({"model":"fake:1","prompt":"hi","timeout":")" +
                                          std::to_string(ms) + "ms\"}"));
    EXPECT_EQ(status_of(reply), 504);
    if (reply.find(where) != std::string::npos) break;
  }
  EXPECT_NE(reply.find(where), std::string::npos) << reply;
  const std::string in_header = ask(with_header(
      post("/v1/completions", R"({"model":"fake:1","prompt":"hi"})"), "X-Request-Timeout: 0.05"));
  EXPECT_EQ(status_of(in_header), 504);
  const std::string embedding =
      ask(post("/api/embed", R"({"model":"fake:1","input":"hi","timeout":0.05})"));
  EXPECT_EQ(status_of(embedding), 504);
  EXPECT_TRUE(eventually([&] { return status()["models"][0]["num_waiting_for_load"] == 1; }));
  behaviour_.is_load_held = false;
  EXPECT_EQ(status_of(patient.receive_reply()), 200);
}

TEST_F(QueueTest, TimeMayRunOutInTheQueue) {
  behaviour_.max_sequences = 1;
  start();
  load();
  fill(1);
  std::unique_ptr<RawClient> client;
  for (int seconds = 1; seconds < 20; seconds *= 4) {  // until it comes so far in its time
    client = std::make_unique<RawClient>(server_->port());
    client->send(post("/api/generate", R"({"model":"fake:1","prompt":"hi","timeout":)" +
                                           std::to_string(seconds) + "}"));
    const auto is_there = [&] { return engine()["num_waiting"] == 2; };
    const bool is_in_time = eventually(is_there, std::chrono::seconds(seconds));
    std::this_thread::sleep_for(std::chrono::seconds(seconds));  // as long as it may take
    if (is_in_time) break;
  }
  behaviour_.is_held = false;
  const std::string reply = client->receive_reply();
  EXPECT_EQ(status_of(reply), 504) << reply;
  EXPECT_NE(reply.find("was over: it was still in the queue (place 2)"), std::string::npos)
      << reply;
}

TEST_F(QueueTest, TimeThatRunsOutInMidReplyEndsItProperly) {
  // Slower steps and more time until the first letter comes in time also on a busy machine: the
  // whole reply takes three times what it may.
  json body;
  for (int step_ms = 20; step_ms < 2000; step_ms *= 2) {
    behaviour_.step_ms = step_ms;
    start(512, std::chrono::milliseconds(4 * step_ms));
    ask(post("/api/generate", R"({"model":"fake:1","timeout":0})"));
    body = body_of(ask(post("/api/generate", kWhole)));
    if (!body.contains("error")) break;
    EXPECT_NE(body["error"].get<std::string>().find("was over"), std::string::npos);
  }
  EXPECT_EQ(body["done_reason"], "deadline");
  EXPECT_LT(body["response"].get<std::string>().size(), 10u);
  EXPECT_EQ(body["sluice"]["finish_reason"], "deadline");
  // A request's own word counts more than the server's.
  EXPECT_EQ(body_of(ask(post(
                "/api/generate",
                R"({"model":"fake:1","prompt":"hi","stream":false,"timeout":0})")))["done_reason"],
            "stop");
}

TEST_F(QueueTest, ALongPromptKeepsItsBeginningAndItsEnd) {
  start();
  const auto ask_with = [&](const std::string& more) {
    return ask(post("/api/generate", R"({"model":"fake:1","raw":true,"stream":false,"prompt":")" +
                                         std::string(500, 'x') + R"(C","options":{"num_ctx":101,)" +
                                         more + "}"));
  };
  const std::string cut = ask_with(R"("num_keep":20})");
  ASSERT_EQ(status_of(cut), 200) << cut;
  // 20 first tokens, and half of the 80 behind them.
  EXPECT_EQ(body_of(cut)["prompt_eval_count"], 60);
  EXPECT_EQ(header_of(cut, "X-Dropped-Tokens"), "441");
  EXPECT_EQ(body_of(cut)["sluice"]["dropped_tokens"], 441);
  EXPECT_EQ(body_of(cut)["response"], "DEFGHIJ") << "it goes on from the last token";
  const std::string all = ask_with(R"("num_keep":-1})");
  EXPECT_EQ(body_of(all)["prompt_eval_count"], 98) << "something of the end stays";
  for (const char* field : {"truncate", "shift"}) {
    const std::string refused = ask_with(std::string("\"num_keep\":4},\"") + field + "\":false");
    EXPECT_EQ(status_of(refused), 400) << field;
    EXPECT_NE(refused.find("has 501 tokens and the context of 101"), std::string::npos) << refused;
  }
  const std::string openai = ask(
      post("/v1/completions", R"({"model":"fake:1","prompt":")" + std::string(5000, 'x') + "\"}"));
  EXPECT_EQ(status_of(openai), 400);
}

TEST_F(QueueTest, AConversationLosesItsOldestMessages) {
  start();
  const std::string long_text(80, 'x');
  const auto ask_with = [&](const std::string& more) {
    return ask(post("/api/chat",
                    R"({"model":"fake:1","stream":false,"options":{"num_ctx":120},"messages":[
        {"role":"system","content":"S"},{"role":"user","content":")" +
                        long_text + R"("},{"role":"assistant","content":")" + long_text +
                        R"("},{"role":"user","content":"hi"}])" + more + "}"));
  };
  const std::string reply = ask_with("");
  ASSERT_EQ(status_of(reply), 200) << reply;
  EXPECT_GT(std::stoi(header_of(reply, "X-Dropped-Tokens")), 80);
  EXPECT_LT(body_of(reply)["prompt_eval_count"], 120);
  const std::string refused = ask_with(R"(,"truncate":false)");
  EXPECT_EQ(status_of(refused), 400);
  EXPECT_NE(refused.find("num_ctx"), std::string::npos);
}

TEST_F(QueueTest, EmbeddingsComeInTheOrderOfTheirInputs) {
  start();
  std::string inputs;
  const int count = 300;  // many times what is with the engine at once
  for (int i = 0; i < count; ++i) {
    inputs += std::string(i > 0 ? "," : "") + "\"x" + static_cast<char>('A' + i % 26) + "\"";
  }
  const std::string reply =
      ask(post("/api/embed", R"({"model":"fake:1","input":[)" + inputs + "]}"));
  ASSERT_EQ(status_of(reply), 200) << reply.substr(0, 500);
  EXPECT_NE(header_of(reply, "X-Queue-Position"), "none");
  const json body = body_of(reply);
  ASSERT_EQ(body["embeddings"].size(), static_cast<size_t>(count));
  EXPECT_EQ(body["prompt_eval_count"], 2 * count);
  for (int i = 0; i < count; ++i) {
    // The last token's state is (its id, 1), scaled to length 1.
    const double x = body["embeddings"][static_cast<size_t>(i)][0];
    const double y = body["embeddings"][static_cast<size_t>(i)][1];
    EXPECT_NEAR(x / y, 'A' + i % 26, 1e-3) << i;
    EXPECT_NEAR(x * x + y * y, 1, 1e-6);
  }
  EXPECT_LT(engine()["num_steps"], count) << "they share steps";
  EXPECT_TRUE(eventually([&] { return status()["models"][0]["num_leases"] == 0; }));
}

TEST_F(QueueTest, EmbeddingsInEveryDialect) {
  start();
  const json old = body_of(ask(post("/api/embeddings", R"({"model":"fake:1","prompt":"xA"})")));
  EXPECT_EQ(old["embedding"].size(), 2u);
  EXPECT_EQ(body_of(ask(post("/api/embeddings", R"({"model":"fake:1"})")))["embedding"].size(), 0u);
  EXPECT_EQ(body_of(ask(post("/api/embed", R"({"model":"fake:1"})"))),
            json::parse(R"({"model":"fake:1","embeddings":[]})"));
  const json openai = body_of(
      ask(post("/v1/embeddings", R"({"model":"fake:1","input":["xA","xB"],"dimensions":1})")));
  EXPECT_EQ(openai["data"][1]["index"], 1);
  EXPECT_EQ(openai["data"][1]["embedding"], json::parse("[1.0]"));
  EXPECT_EQ(openai["usage"]["prompt_tokens"], 4);
  const std::string missing = ask(post("/api/embed", R"({"model":"no:1","input":"x"})"));
  EXPECT_EQ(status_of(missing), 404);
  EXPECT_NE(missing.find(R"(model \"no:1\" not found, try pulling it first)"), std::string::npos);
}

TEST_F(QueueTest, EmbeddingsAreCutOrRefused) {
  start();
  const std::string request =
      R"({"model":"fake:1","options":{"num_ctx":10},"input":["a",")" + std::string(25, 'x') + "\"]";
  const std::string cut = ask(post("/api/embed", request + "}"));
  ASSERT_EQ(status_of(cut), 200) << cut;
  EXPECT_EQ(body_of(cut)["prompt_eval_count"], 11);
  EXPECT_EQ(body_of(cut)["sluice"]["dropped_tokens"], 15);
  EXPECT_EQ(header_of(cut, "X-Dropped-Tokens"), "15");
  const std::string refused = ask(post("/api/embed", request + R"(,"truncate":false})"));
  EXPECT_EQ(status_of(refused), 400);
  EXPECT_NE(refused.find("the input length exceeds the context length"), std::string::npos);
}

TEST_F(QueueTest, EmbeddingsEndWithTheirClient) {
  start();
  load();
  behaviour_.is_held = true;  // so many inputs take several steps
  {
    RawClient client(server_->port());
    std::string inputs = "\"x\"";
    for (int i = 0; i < 1000; ++i) inputs += ",\"x\"";
    client.send(post("/api/embed", R"({"model":"fake:1","input":[)" + inputs + "]}"));
    ASSERT_TRUE(eventually([&] {
      const json now = engine();
      return now["num_running"].get<int>() + now["num_waiting"].get<int>() >= 63;
    }));
  }
  EXPECT_TRUE(eventually([&] { return status()["models"][0]["num_leases"] == 0; }));
  behaviour_.is_held = false;
  EXPECT_TRUE(eventually([&] {
    const json now = status();
    return now["num_running"] == 0 && now["num_waiting"] == 0 &&
           now["models"][0]["num_leases"] == 0;
  }));
  EXPECT_LT(engine()["num_requests_finished"], 1000) << "the rest was not even begun";
}

TEST_F(QueueTest, EmbeddingsThatFindTheQueueFullWaitForTheirOwnOrAreRefused) {
  start(4);
  std::string inputs = "\"x\"";
  for (int i = 0; i < 50; ++i) inputs += ",\"x\"";
  const std::string request = post("/api/embed", R"({"model":"fake:1","input":[)" + inputs + "]}");
  const std::string reply = ask(request);
  ASSERT_EQ(status_of(reply), 200) << reply.substr(0, 300);
  EXPECT_EQ(body_of(reply)["embeddings"].size(), 51u);
}

}  // namespace
}  // namespace sluice::server
