#include "monitor/view.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "monitor/example_view.h"
#include "monitor/view_json.h"

namespace sluice::monitor {
namespace {

Snapshot snapshot(int second) {
  Snapshot snapshot;
  snapshot.time = std::chrono::steady_clock::time_point(std::chrono::seconds(second));
  return snapshot;
}

ModelSample model(const std::string& name, uint64_t num_prompt, uint64_t num_output) {
  ModelSample model;
  model.name = name;
  model.num_prompt_tokens = num_prompt;
  model.num_output_tokens = num_output;
  return model;
}

TEST(View, ComputesTokenRatesFromCounters) {
  Snapshot before = snapshot(10);
  Snapshot now = snapshot(12);
  before.server.kind = now.server.kind = ServerKind::kSluice;
  before.server.models = {model("a", 1000, 100), model("gone", 9, 9)};
  now.server.models = {model("a", 1200, 130), model("new", 40, 10)};
  const View view = make_view(before, now, "url", true);
  EXPECT_DOUBLE_EQ(view.prompt_tokens_per_second, (200 + 40) / 2.0);
  EXPECT_DOUBLE_EQ(view.output_tokens_per_second, (30 + 10) / 2.0);
}

TEST(View, ComputesPowerFromCountersOfEnergy) {
  Snapshot before = snapshot(10);
  Snapshot now = snapshot(12);
  before.server.kind = now.server.kind = ServerKind::kSluice;
  before.server.models = {model("a", 0, 100)};
  now.server.models = {model("a", 0, 300)};
  EXPECT_FALSE(make_view(before, now, "url", true).joules_per_token.has_value());
  before.machine.energy_joules = 1000;
  now.machine.energy_joules = 1100;
  before.gpus.resize(2);
  now.gpus.resize(2);
  now.gpus[1].index = before.gpus[1].index = 1;
  before.gpus[0].energy_joules = 10;
  now.gpus[0].energy_joules = 1010;
  now.gpus[0].power_watts = 3;  // of this moment
  before.gpus[0].nvlink_sent_bytes = 1e9;
  now.gpus[0].nvlink_sent_bytes = 5e9;
  now.gpus[1].power_watts = 50;  // has no counter
  const View view = make_view(before, now, "url", true);
  EXPECT_DOUBLE_EQ(view.processor_watts.value(), 50);
  EXPECT_DOUBLE_EQ(view.rates_of(0).power_watts.value(), 500);
  EXPECT_DOUBLE_EQ(view.rates_of(0).nvlink_sent_bytes_per_second.value(), 2e9);
  EXPECT_FALSE(view.rates_of(0).nvlink_received_bytes_per_second.has_value());
  EXPECT_DOUBLE_EQ(view.rates_of(1).power_watts.value(), 50);
  EXPECT_DOUBLE_EQ(view.joules_per_token.value(), 6);
  EXPECT_FALSE(make_view(before, now, "url", false).joules_per_token.has_value());
}

TEST(View, StartsAgainFromZeroAfterAReload) {
  Snapshot before = snapshot(10);
  Snapshot now = snapshot(11);
  before.server.kind = now.server.kind = ServerKind::kSluice;
  before.server.models = {model("a", 1000, 100)};
  now.server.models = {model("a", 50, 7)};
  EXPECT_DOUBLE_EQ(make_view(before, now, "url", true).prompt_tokens_per_second, 50);
  EXPECT_DOUBLE_EQ(make_view(before, now, "url", true).output_tokens_per_second, 7);
}

TEST(View, HasNoRateForAServerThatJustAppeared) {
  const Snapshot before = snapshot(10);
  Snapshot now = snapshot(11);
  now.server.kind = ServerKind::kSluice;
  now.server.models = {model("a", 1'000'000, 100)};
  EXPECT_EQ(make_view(before, now, "url", true).prompt_tokens_per_second, 0);
}

TEST(View, ComputesTheShareOfPromptTokensFromTheCache) {
  Snapshot now = snapshot(1);
  now.server.kind = ServerKind::kSluice;
  EXPECT_FALSE(make_view(now, now, "url", true).cache_hit_share.has_value());
  now.server.models = {model("a", 300, 0)};
  now.server.models[0].num_cached_tokens = 100;
  EXPECT_DOUBLE_EQ(make_view(now, now, "url", true).cache_hit_share.value(), 0.25);
}

TEST(View, ComputesCoreSharesAndLivesWithCountersThatGoBack) {
  Snapshot before = snapshot(10);
  Snapshot now = snapshot(11);
  before.machine.cpu.all = {.busy = 100, .total = 1000};
  now.machine.cpu.all = {.busy = 150, .total = 1200};
  before.machine.cpu.cores = {{.busy = 0, .total = 100}, {.busy = 50, .total = 100}};
  now.machine.cpu.cores = {
      {.busy = 75, .total = 200}, {.busy = 49, .total = 200}, {.busy = 5, .total = 10}};
  const View view = make_view(before, now, "url", true);
  EXPECT_DOUBLE_EQ(view.cpu_share, 0.25);
  EXPECT_EQ(view.core_shares, (std::vector<double>{0.75, 0, 0}));
  // Twice the same moment (the first picture of the screen): no division by nothing.
  EXPECT_EQ(make_view(now, now, "url", true).cpu_share, 0);
}

TEST(View, SortsThreadsByWhatTheyDid) {
  const auto hz = static_cast<uint64_t>(machine::ticks_per_second());
  Snapshot before = snapshot(10);
  Snapshot now = snapshot(12);
  before.process = ProcessSample{.pid = 5,
                                 .resident_bytes = 1,
                                 .threads = {{.id = 1, .name = "idle", .ticks = 500},
                                             {.id = 2, .name = "busy", .ticks = 100}}};
  now.process = ProcessSample{.pid = 5,
                              .resident_bytes = 2,
                              .threads = {{.id = 1, .name = "idle", .ticks = 500},
                                          {.id = 2, .name = "busy", .ticks = 100 + 2 * hz},
                                          {.id = 3, .name = "new", .ticks = 50 * hz}}};
  const View view = make_view(before, now, "url", true);
  ASSERT_EQ(view.threads.size(), 3u);
  EXPECT_EQ(view.threads[0].name, "busy");
  EXPECT_DOUBLE_EQ(view.threads[0].cpu_share, 1);
  EXPECT_EQ(view.threads[1].cpu_share, 0);
  EXPECT_EQ(view.threads[2].cpu_share, 0);
  EXPECT_DOUBLE_EQ(view.process_cpu_share, 1);
  // Another process under the same port: nothing is known about the time between.
  now.process->pid = 6;
  EXPECT_EQ(make_view(before, now, "url", true).process_cpu_share, 0);
}

TEST(View, TellsWhatElseTakesTheCoresAndTheDisk) {
  const auto hz = static_cast<uint64_t>(machine::ticks_per_second());
  Snapshot before = snapshot(10);
  Snapshot now = snapshot(12);
  now.process = ProcessSample();
  now.process->pid = 5;
  before.processes = {{5, "server", 0}, {6, "idle", 70}, {7, "build", 100}, {8, "gone", 9}};
  now.processes = {{5, "server", 9 * hz},
                   {6, "idle", 70},
                   {7, "build", 100 + 3 * hz},
                   {9, "new", 900 * hz},
                   {10, "newer", 1 * hz}};
  before.machine.disk_read_bytes = 1000;
  now.machine.disk_read_bytes = 5000;
  before.machine.disk_written_bytes = 9;  // back to zero: no rate
  const View view = make_view(before, now, "url", true);
  ASSERT_EQ(view.others.size(), 1u);  // of new ones nobody knows how long they have been there
  EXPECT_EQ(view.others[0].name, "build");
  EXPECT_DOUBLE_EQ(view.others[0].cpu_share, 1.5);
  EXPECT_DOUBLE_EQ(view.disk_read_bytes_per_second, 2000);
  EXPECT_EQ(view.disk_written_bytes_per_second, 0);
  const auto json = nlohmann::json::parse(view_json(view));
  EXPECT_EQ(json["machine"]["other_processes"][0]["pid"], 7);
  EXPECT_TRUE(json["machine"]["clock_mhz"].is_null());
}

TEST(View, IsWrittenAsOneLineOfJson) {
  const std::string text = view_json(example_view());
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["server"]["models"][0]["num_blocks_used"], 32);
  EXPECT_EQ(json["server"]["output_tokens_per_second"], 61.5);
  EXPECT_EQ(json["requests"][2]["queue_position"], 1);
  EXPECT_TRUE(json["server"]["latency"]["ttft_p50_seconds"].is_null());
  EXPECT_EQ(json["machine"]["core_shares"].size(), 4u);
  EXPECT_EQ(json["process"]["threads"][0]["name"], "cpu-worker-1");
  EXPECT_EQ(json["gpus"][0]["power_watts"], 300.4);
  EXPECT_TRUE(json["gpus"][0]["memory_clock_mhz"].is_null());
  EXPECT_TRUE(json["error"].is_null());
  View none;
  none.now.server.error = "nobody \xff there";
  const auto empty = nlohmann::json::parse(view_json(none));
  EXPECT_TRUE(empty["server"].is_null());
  EXPECT_TRUE(empty["process"].is_null());
  EXPECT_TRUE(empty["error"].is_string());
}

}  // namespace
}  // namespace sluice::monitor
