#include "monitor/server_status.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "http/scripted_server.h"

namespace sluice::monitor {
namespace {

const std::string kStatus = R"({"version":"0.1.0","pid":77,"uptime_ns":200000000000,
 "resident_bytes":1,"num_threads":9,"num_connections":2,"is_draining":false,
 "num_running":1,"num_waiting":1,
 "models":[{"name":"smollm2:135m","digest":"ab","size_bytes":98,"family":"llama",
   "parameter_size":"134.52M","quantization":"Q4_1","is_loading":false,"load_progress":1.0,
   "num_waiting_for_load":0,"num_leases":1,"context_length":8192,"backend":"cpu avx2, 2 threads",
   "memory":{"weights":97000000,"cache":377000000,"workspace":5000000},
   "load_duration_ns":1,"expires_at":"2026-08-21T10:00:00Z",
   "engine":{"num_running":1,"num_waiting":1,"num_blocks_total":64,"num_blocks_used":12,
     "num_blocks_cached":4,"num_requests_finished":10,"num_requests_rejected":2,
     "estimated_wait_ns":7000,"num_requests_cancelled":3,"num_draft_tokens":9,
     "num_accepted_tokens":8,
     "num_prompt_tokens":600,"num_cached_tokens":200,"num_output_tokens":1234,"num_steps":99,
     "num_preemptions":1,"forward_time_ns":5000,"schedule_time_ns":6,
     "requests":[
       {"id":8,"is_running":false,"queue_position":1,"estimated_wait_ns":700,"num_prompt_tokens":40,
        "num_cached_tokens":0,"num_prefilled_tokens":0,"num_output_tokens":0,"age_ns":5},
       {"id":7,"is_running":true,"queue_position":0,"num_prompt_tokens":640,
        "num_cached_tokens":32,"num_prefilled_tokens":640,"num_output_tokens":120,
        "age_ns":3200000000}]}},
  {"name":"big","is_loading":true,"load_progress":0.25,"num_waiting_for_load":3}]})";

TEST(ServerStatus, ReadsTheServersDocument) {
  const ServerSample sample = parse_status(kStatus);
  EXPECT_EQ(sample.kind, ServerKind::kSluice);
  EXPECT_EQ(sample.version, "0.1.0");
  EXPECT_EQ(sample.pid, 77);
  EXPECT_EQ(sample.uptime, std::chrono::seconds(200));
  EXPECT_EQ(sample.num_connections, 2);
  ASSERT_EQ(sample.models.size(), 2u);
  const ModelSample& model = sample.models[0];
  EXPECT_EQ(model.name, "smollm2:135m");
  EXPECT_EQ(model.context_length, 8192);
  EXPECT_EQ(model.backend, "cpu avx2, 2 threads");
  EXPECT_EQ(model.weights_bytes, 97'000'000u);
  EXPECT_EQ(model.cache_bytes, 377'000'000u);
  EXPECT_EQ(model.num_blocks_total, 64);
  EXPECT_EQ(model.num_blocks_used, 12);
  EXPECT_EQ(model.num_blocks_cached, 4);
  EXPECT_EQ(model.num_requests_rejected, 2u);
  EXPECT_EQ(model.num_requests_cancelled, 3u);
  EXPECT_EQ(model.num_draft_tokens, 9u);
  EXPECT_EQ(model.num_accepted_tokens, 8u);
  EXPECT_EQ(model.estimated_wait.count(), 7000);
  EXPECT_EQ(model.num_prompt_tokens, 600u);
  EXPECT_EQ(model.num_output_tokens, 1234u);
  EXPECT_EQ(model.forward_time.count(), 5000);
  EXPECT_TRUE(sample.models[1].is_loading);
  EXPECT_EQ(sample.models[1].load_progress, 0.25);
  EXPECT_EQ(sample.models[1].num_waiting_for_load, 3);
  ASSERT_EQ(sample.requests.size(), 2u);
  EXPECT_EQ(sample.requests[0].id, 7u);  // the running one first
  EXPECT_EQ(sample.requests[0].num_output_tokens, 120);
  EXPECT_EQ(sample.requests[0].age, std::chrono::milliseconds(3200));
  EXPECT_EQ(sample.requests[1].queue_position, 1);
  EXPECT_EQ(sample.requests[1].estimated_wait.count(), 700);
}

TEST(ServerStatus, ReadsHowRepliesCome) {
  const ServerSample sample = parse_status(
      R"({"totals":{"histograms":{
            "time_to_first_token_seconds":{"bounds":[0.1,0.2,0.4],"counts":[0,10,0,0],"sum":1},
            "inter_token_latency_seconds":{"bounds":[0.01],"counts":[0,5],"sum":1}}},
          "models":[{"name":"m","engine":{"requests":[{"id":1,"is_running":true,
            "time_to_first_token_ns":90000000,"mean_token_time_ns":20000000,"client":"ann"}]}}]})");
  EXPECT_NEAR(sample.latency.ttft_p50, 0.15, 1e-9);
  EXPECT_NEAR(sample.latency.ttft_p95, 0.195, 1e-9);
  EXPECT_NEAR(sample.latency.itl_p50, 0.01, 1e-9);  // beyond the last bound
  ASSERT_EQ(sample.requests.size(), 1u);
  EXPECT_EQ(sample.requests[0].client, "ann");
  EXPECT_EQ(sample.requests[0].time_to_first_token, std::chrono::milliseconds(90));
  EXPECT_DOUBLE_EQ(sample.requests[0].tokens_per_second(), 50);
  EXPECT_FALSE(parse_status("{}").latency.is_known());
}

TEST(ServerStatus, ReadsDevicesAndRequestsThatNoEngineHas) {
  const ServerSample sample = parse_status(
      R"({"models":[{"name":"m","memory":{"weights":9,"on_device":5},
            "parts":[{"device":"cuda:0","layers":8,"weights":4,"cache":1,"workspace":2},
                     {"device":"cpu","layers":2,"weights":5}],
            "engine":{"num_waiting_for_cache":3,"requests":[{"id":1,"number":70}]}}],
          "pending":[{"number":71,"request_id":"r","model":"big","client":"ann","age_ns":5}]})");
  ASSERT_EQ(sample.models.size(), 1u);
  EXPECT_EQ(sample.models[0].on_device_bytes, 5u);
  EXPECT_EQ(sample.models[0].num_waiting_for_cache, 3);
  ASSERT_EQ(sample.models[0].parts.size(), 2u);
  EXPECT_EQ(sample.models[0].parts[0].device, "cuda:0");
  EXPECT_EQ(sample.models[0].parts[0].num_layers, 8);
  EXPECT_EQ(sample.models[0].parts[0].workspace_bytes, 2u);
  ASSERT_EQ(sample.requests.size(), 2u);
  EXPECT_EQ(sample.requests[0].id, 70u) << "the server's number";
  EXPECT_EQ(sample.requests[0].model, "m");
  EXPECT_TRUE(sample.requests[1].is_pending);
  EXPECT_EQ(sample.requests[1].model, "big");
  EXPECT_EQ(sample.requests[1].request_id, "r");
}

// Whatever member is missing or of another type, the rest is still read.
TEST(ServerStatus, LivesWithMissingAndWrongMembers) {
  using nlohmann::json;
  const json whole = json::parse(kStatus);
  const json paths = whole.flatten();
  for (const auto& [path, value] : paths.items()) {
    for (const json& other : {json("text"), json(-1), json(1e300), json(), json::array({1})}) {
      json changed = whole;
      changed[json::json_pointer(path)] = other;
      const ServerSample sample = parse_status(changed.dump());
      EXPECT_EQ(sample.kind, ServerKind::kSluice) << path;
      EXPECT_LE(sample.models.size(), 2u);
    }
  }
  EXPECT_EQ(parse_status("{}").kind, ServerKind::kSluice);
  EXPECT_TRUE(parse_status(R"({"models":7})").models.size() <= 1);
}

TEST(ServerStatus, SaysWhenTheReplyIsNoStatus) {
  for (const char* text : {"", "null", "[]", "<html>", "{"}) {
    const ServerSample sample = parse_status(text);
    EXPECT_EQ(sample.kind, ServerKind::kNone) << text;
    EXPECT_FALSE(sample.error.empty());
    EXPECT_EQ(parse_ps(text).kind, ServerKind::kNone) << text;
  }
}

test::ScriptedServer::Script answer(std::map<std::string, std::string> replies) {
  return [replies = std::move(replies)](test::ScriptedConnection& connection) {
    test::ScriptedRequest request;
    while (connection.read_request(request)) {
      const auto found = replies.find(request.target);
      if (found == replies.end()) {
        connection.reply(404, "404 page not found");
      } else {
        connection.reply(200, found->second);
      }
    }
  };
}

TEST(ServerStatus, AsksOurServer) {
  test::ScriptedServer server(answer({{"/api/sluice/status", kStatus}}));
  http::Client client(http::parse_url(server.url()));
  EXPECT_EQ(sample_server(client).models.size(), 2u);
}

TEST(ServerStatus, FallsBackToWhatOllamaTells) {
  test::ScriptedServer server(answer({
      {"/api/ps", R"({"models":[{"name":"llama3:8b","size":5000000000,
        "details":{"parameter_size":"8.0B","quantization_level":"Q4_0"},
        "expires_at":"2026-08-21T12:05:00+02:00","size_vram":0,"context_length":4096}]})"},
      {"/api/version", R"({"version":"0.17.7"})"},
  }));
  http::Client client(http::parse_url(server.url()));
  const ServerSample sample = sample_server(client);
  EXPECT_EQ(sample.kind, ServerKind::kOllama);
  EXPECT_EQ(sample.version, "0.17.7");
  ASSERT_EQ(sample.models.size(), 1u);
  EXPECT_EQ(sample.models[0].name, "llama3:8b");
  EXPECT_EQ(sample.models[0].quantization, "Q4_0");
  EXPECT_EQ(sample.models[0].weights_bytes, 5'000'000'000u);
  EXPECT_EQ(sample.models[0].context_length, 4096);
}

TEST(ServerStatus, SaysWhyThereIsNone) {
  test::ScriptedServer server(answer({}));
  http::Client client(http::parse_url(server.url()));
  EXPECT_NE(sample_server(client).error.find("tells no status"), std::string::npos);
  http::Client nobody(http::parse_url("127.0.0.1:1"));
  EXPECT_NE(sample_server(nobody).error.find("sluice serve"), std::string::npos);
}

}  // namespace
}  // namespace sluice::monitor
