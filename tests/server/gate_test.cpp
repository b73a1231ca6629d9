#include "server/gate.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "keys/key_book.h"
#include "server/fake_loaded_model.h"
#include "server/raw_client.h"
#include "server/routes.h"
#include "server/server.h"

namespace sluice::server {
namespace {

using keys::Access;
using keys::Scope;
using keys::Scopes;
using nlohmann::json;
using test::RawClient;
using test::status_of;

// A server with a key of each kind.
class GateTest : public testing::Test {
 protected:
  GateTest() {
    std::filesystem::remove_all(folder_);
    all_ = add("all", Scopes::all());
    infer_ = add("infer", Scope::kInfer);
    manage_ = add("manage", Scope::kManage);
    metrics_ = add("metrics", Scope::kMetrics);
  }
  ~GateTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string add(const std::string& name, Scopes scopes, keys::KeyLimits limits = {}) {
    return keys::KeyBook(path_, database::Database::Mode::kCreate)
        .add(name, scopes, limits, std::chrono::system_clock::now());
  }

  void start(ServerOptions options = {}) {
    options.store_root = "/nonexistent/store";
    options.keys_path = path_;
    options.extra_models.push_back({"fake:1", "/proc/self/exe"});
    server_ = std::make_unique<Server>(
        options, [this](const store::ModelRecord&, const LoadBudget&, const LoadProgress&) {
          return test::FakeLoadedModel::make(behaviour_);
        });
    server_->start();
  }

  std::string ask(std::string_view method, const std::string& path, const std::string& headers,
                  const std::string& body = "") {
    RawClient client(server_->port());
    client.send(std::string(method) + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers +
                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return method == "HEAD" ? client.receive("\r\n\r\n") : client.receive_reply();
  }
  int status(const std::string& path, const std::string& headers) {
    return status_of(ask("GET", path, headers));
  }

  static std::string bearer(const std::string& key) {
    return "Authorization: Bearer " + key + "\r\n";
  }
  static std::string path_of(const RouteInfo& route) {
    if (route.path == "/web/*") return "/web/app.js";
    std::string path(route.path);
    if (path.ends_with("*")) path.replace(path.size() - 1, 1, "x");
    return path;
  }
  static json body_of(const std::string& reply) {
    return json::parse(reply.substr(reply.find("\r\n\r\n") + 4));
  }

  const std::string folder_ = testing::TempDir() + "/sluice_gate_test";
  const std::string path_ = folder_ + "/keys.db";
  std::string all_, infer_, manage_, metrics_;
  test::FakeBehaviour behaviour_;
  std::unique_ptr<Server> server_;
};

// These and no others: whoever adds a route for everybody has to say it here as well.
const std::set<std::string_view> kForEverybody = {"/", "/web/*", "/health", "/healthz", "/readyz"};

TEST_F(GateTest, NoRouteOpensWithoutAKey) {
  start();
  for (const RouteInfo& route : all_routes()) {
    const int got = status_of(ask(route.method, path_of(route), ""));
    EXPECT_EQ(route.access.is_for_everybody(), kForEverybody.contains(route.path)) << route.path;
    EXPECT_EQ(got, kForEverybody.contains(route.path) ? 200 : 401) << route.path;
  }
  for (const char* path : {"/nowhere", "/api/nowhere", "/v1/nowhere", "/api/chat/", "//",
                           "/API/TAGS", "/api/../", "/%2e%2e/api/tags", "/api%2ftags"}) {
    EXPECT_EQ(status(path, ""), 401) << path;
  }
  EXPECT_EQ(status_of(ask("PATCH", "/api/chat", "")), 401);
  EXPECT_EQ(status_of(ask("DELETE", "/", "")), 401);
}

TEST_F(GateTest, NoRouteOpensToAWrongKey) {
  start();
  std::string almost = all_;
  almost.back() = almost.back() == '0' ? '1' : '0';
  for (const RouteInfo& route : all_routes()) {
    if (route.access.is_for_everybody()) continue;
    for (const std::string& wrong :
         {bearer(almost), bearer(all_.substr(0, 70)), bearer(all_ + "0"), bearer(""),
          "Authorization: " + all_ + "\r\n", "Authorization: Basic " + all_ + "\r\n",
          "X-API-Key: " + almost + "\r\n", bearer(all_) + bearer(almost),
          bearer(all_) + "x-api-key: " + infer_ + "\r\n", "Cookie: key=" + all_ + "\r\n"}) {
      EXPECT_EQ(status_of(ask(route.method, path_of(route), wrong)), 401) << route.path << wrong;
    }
    EXPECT_EQ(
        status_of(ask(route.method, path_of(route) + "?key=" + all_ + "&api_key=" + all_, "")),
        401);
  }
}

TEST_F(GateTest, EveryRouteOpensToItsScopesAlone) {
  start();
  const std::pair<Scopes, std::string> keys[] = {{Scope::kInfer, infer_},
                                                 {Scope::kManage, manage_},
                                                 {Scope::kMetrics, metrics_},
                                                 {Scopes::all(), all_}};
  for (const RouteInfo& route : all_routes()) {
    for (const auto& [scopes, key] : keys) {
      const int got = status_of(ask(route.method, path_of(route), bearer(key)));
      if (route.access.is_open_to(scopes)) {
        EXPECT_TRUE(got == 200 || got == 400 || got == 404) << route.path << " gave " << got;
      } else {
        EXPECT_EQ(got, 403) << route.path << " to " << scopes.text();
      }
    }
  }
  EXPECT_EQ(status("/nowhere", bearer(infer_)), 404);
}

TEST_F(GateTest, KeysComeInTwoHeaders) {
  start();
  EXPECT_EQ(status("/api/tags", bearer(infer_)), 200);
  EXPECT_EQ(status("/api/tags", "authorization: bEARER   " + infer_ + "\r\n"), 200);
  EXPECT_EQ(status("/api/tags", "x-api-key: " + infer_ + "\r\n"), 200);
  EXPECT_EQ(status("/api/tags", "X-Api-Key: " + infer_ + "\r\n" + bearer(infer_)), 200);
  EXPECT_EQ(status("/api/tags", "X-Api-Key:\r\n" + bearer(infer_)), 200);
}

TEST_F(GateTest, EachDialectSaysItInItsOwnWords) {
  start();
  const std::string limited = add("limited", Scope::kInfer, {.requests_per_minute = 1});
  ASSERT_TRUE(test::eventually([&] { return status("/api/tags", bearer(limited)) == 200; }));
  struct Case {
    std::string headers;
    int status;
    const char* anthropic_type;
    const char* openai_code;
  };
  for (const Case& given :
       {Case{"", 401, "authentication_error", "invalid_api_key"},
        Case{bearer(metrics_), 403, "permission_error", "insufficient_permissions"},
        Case{bearer(limited), 429, "rate_limit_error", "rate_limit_exceeded"}}) {
    const std::string ollama = ask("POST", "/api/chat", given.headers);
    const std::string openai = ask("POST", "/v1/chat/completions", given.headers);
    const std::string anthropic = ask("POST", "/v1/messages", given.headers);
    for (const std::string& reply : {ollama, openai, anthropic}) {
      EXPECT_EQ(status_of(reply), given.status) << reply;
      EXPECT_EQ(reply.find("WWW-Authenticate: Bearer") != std::string::npos, given.status == 401);
      EXPECT_EQ(reply.find("Retry-After: ") != std::string::npos, given.status == 429);
    }
    EXPECT_TRUE(body_of(ollama)["error"].is_string());
    EXPECT_EQ(body_of(openai)["error"]["code"], given.openai_code);
    EXPECT_EQ(body_of(anthropic)["type"], "error");
    EXPECT_EQ(body_of(anthropic)["error"]["type"], given.anthropic_type);
  }
}

TEST_F(GateTest, APageReadsWhyItIsRefused) {
  start();
  const std::string origin = "Origin: http://localhost:3000\r\n";
  const std::string refused = ask("GET", "/api/tags", origin);
  EXPECT_EQ(status_of(refused), 401);
  EXPECT_NE(refused.find("Access-Control-Allow-Origin: http://localhost:3000"), std::string::npos);
  RawClient client(server_->port());
  client.send("OPTIONS /api/chat HTTP/1.1\r\nHost: localhost\r\n" + origin + "\r\n");
  EXPECT_EQ(status_of(client.receive("\r\n\r\n")), 204);  // a preflight has no key
}

TEST_F(GateTest, WhatIsUsedIsToldByKey) {
  start();
  const std::string body = R"({"model":"fake:1","prompt":"hi","stream":false})";
  EXPECT_EQ(status_of(ask("POST", "/api/generate", bearer(infer_), body)), 200);
  EXPECT_EQ(status_of(ask("POST", "/api/embed", bearer(infer_),
                          R"({"model":"fake:1","input":["abc","d"]})")),
            200);
  EXPECT_EQ(status_of(ask("POST", "/api/pull", bearer(infer_), "{}")), 403);
  const json usage = body_of(ask("GET", "/api/sluice/usage?days=2", bearer(metrics_)));
  const json* own = nullptr;
  for (const json& item : usage["usage"]) {
    if (item["key"] == "infer") own = &item;
  }
  ASSERT_NE(own, nullptr) << usage;
  EXPECT_EQ((*own)["requests"], 2);
  EXPECT_EQ((*own)["refused"], 1);
  EXPECT_EQ((*own)["prompt_tokens"], 2 + 4);
  EXPECT_GE((*own)["output_tokens"], 10);
  EXPECT_EQ((*own)["is_revoked"], false);
  for (const char* days : {"0", "-1", "x", "1x", "", "99999999999", "%", "%01"}) {
    const std::string path = std::string("/api/sluice/usage?days=") + days;
    EXPECT_EQ(status(path, bearer(metrics_)), 400) << days;
  }
}

TEST_F(GateTest, ARequestHoldsItsPlaceToItsEnd) {
  const std::string one = add("one", Scope::kInfer, {.max_concurrent = 1});
  behaviour_.step_ms = 5;
  start();
  const std::string body =
      R"({"model":"fake:1","prompt":"hi","ignore_eos":true,"options":{"num_predict":1000000}})";
  RawClient client(server_->port());
  client.send("POST /api/generate HTTP/1.1\r\nHost: localhost\r\n" + bearer(one) +
              "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  client.receive("response");
  EXPECT_EQ(status("/api/tags", bearer(one)), 429);
  client.close();
  EXPECT_TRUE(test::eventually([&] { return status("/api/tags", bearer(one)) == 200; }));
}

TEST_F(GateTest, BeyondThisMachineThereMustBeAKey) {
  ServerOptions options;
  options.transport.address = "0.0.0.0";
  EXPECT_NO_THROW(start(options));
  EXPECT_EQ(status("/api/tags", ""), 401);
  server_.reset();
  for (const char* name : {"all", "infer", "manage", "metrics"}) {
    keys::KeyBook(path_, database::Database::Mode::kExisting)
        .revoke(name, std::chrono::system_clock::now());
  }
  EXPECT_THROW(start(options), Error);
  options.without_key = Scope::kInfer;
  start(options);
  EXPECT_EQ(status("/api/tags", ""), 200);
  EXPECT_EQ(status_of(ask("POST", "/api/pull", "")), 401);
}

}  // namespace
}  // namespace sluice::server
