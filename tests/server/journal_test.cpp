#include "server/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "server/request_report.h"

namespace sluice::server {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

TEST(RequestId, TakesTheClientsOwnWhenItIsSane) {
  for (const std::string good : {"a", "req_1", "3f2b-77.x:Y", "0123456789abcdef"}) {
    EXPECT_EQ(request_id_of(&good), good);
  }
  const std::string longest(128, 'x');
  EXPECT_EQ(request_id_of(&longest), longest);
  for (const std::string& bad :
       {std::string(), std::string("a b"), std::string("a\nb"), std::string("a\"b"),
        std::string(129, 'x'), std::string("\xC3\xA4"), std::string("a/b"), std::string("$(x)")}) {
    const std::string made = request_id_of(&bad);
    EXPECT_THAT(made, testing::MatchesRegex("req_[0-9a-f]{24}"));
    EXPECT_NE(made, request_id_of(&bad));
  }
  EXPECT_THAT(request_id_of(nullptr), testing::StartsWith("req_"));
}

RequestLife life_of(const std::string& id, uint64_t number = 1, const std::string& model = "m:1") {
  RequestLife life;
  life.number = number;
  life.id = id;
  life.method = "POST";
  life.path = "/api/chat";
  life.route = "/api/chat";
  life.address = "127.0.0.1";
  life.arrived_at = std::chrono::system_clock::time_point(1'700'000'000s);
  life.status = 200;
  life.total = 250ms;
  life.model = model;
  life.load = 20ms;
  life.prepare = 1ms;
  life.context_limit = 4096;
  life.max_tokens = 40;
  life.weights_bytes = 100'000'000;
  life.fastest_decode = 4ms;
  engine::Event event;
  event.is_final = true;
  event.reason = engine::FinishReason::kStopString;
  event.stop_string = "END";
  event.num_prompt_tokens = 32;
  event.num_cached_tokens = 16;
  event.num_prefilled_tokens = 16;
  event.num_output_tokens = 11;
  event.timings = {3ms, 8ms, 50ms};
  for (int i = 0; i < 10; ++i) event.inter_token_times.add(5ms);
  auto trace = std::make_shared<engine::RequestTrace>();
  trace->add({.kind = engine::TraceSpan::Kind::kPrefill,
              .begin = 3ms,
              .end = 11ms,
              .forward_time = 7ms,
              .num_steps = 1,
              .num_prompt_tokens = 16,
              .num_output_tokens = 1,
              .num_sequences = 2,
              .num_other_prompt_tokens = 9,
              .most_sequences = 2});
  trace->add({.kind = engine::TraceSpan::Kind::kDecode,
              .begin = 11ms,
              .end = 61ms,
              .forward_time = 50ms,
              .num_steps = 10,
              .num_output_tokens = 10,
              .num_sequences = 20,
              .most_sequences = 3});
  event.trace = trace;
  life.add_part(event);
  return life;
}

class JournalTest : public testing::Test {
 protected:
  AccessLog log_{""};
  Journal journal_{log_};
};

TEST_F(JournalTest, KnowsWhatIsUnderWayAndWhatEnded) {
  RequestLife life = life_of("a");
  life.model.clear();
  journal_.begin(life);
  ASSERT_EQ(journal_.live().size(), 1u);
  EXPECT_EQ(journal_.live()[0].model, "");
  journal_.set_model(1, "m:1");
  EXPECT_EQ(journal_.live()[0].model, "m:1");
  EXPECT_EQ(journal_.find_ended("a"), nullptr);
  journal_.end(life_of("a"), false);
  EXPECT_TRUE(journal_.live().empty());
  ASSERT_EQ(journal_.ended().size(), 1u);
  EXPECT_EQ(journal_.find_ended("a")->num_output_tokens, 11);
}

TEST_F(JournalTest, RemembersTheLastThousandThatWereAboutAModel) {
  for (int i = 0; i < 3000; ++i) {
    journal_.begin(life_of("", i));
    journal_.end(life_of("id" + std::to_string(i), i), false);
    journal_.end(life_of("poll", 100'000 + i, ""), true);
  }
  EXPECT_EQ(journal_.ended().size(), Journal::kMostEnded);
  EXPECT_EQ(journal_.ended().front()->id, "id2999");
  EXPECT_EQ(journal_.find_ended("id1999"), nullptr);
  EXPECT_NE(journal_.find_ended("id2000"), nullptr);
  EXPECT_EQ(journal_.find_ended("poll"), nullptr);
  EXPECT_TRUE(journal_.live().empty());
}

TEST_F(JournalTest, WhatNeverCameToAModelIsNotUnderWayForEver) {
  journal_.begin(life_of("a", 7, ""));
  RequestLife life = life_of("a", 7, "");
  life.status = 400;
  journal_.end(std::move(life), false);
  EXPECT_TRUE(journal_.live().empty());
  EXPECT_TRUE(journal_.ended().empty());
}

TEST_F(JournalTest, OfTwoWithOneIdTheNewestIsFound) {
  journal_.end(life_of("same", 1), false);
  journal_.end(life_of("same", 2), false);
  EXPECT_EQ(journal_.find_ended("same")->number, 2u);
}

TEST_F(JournalTest, CountsByRouteAndStatusAndNothingThatClientsMakeUp) {
  journal_.end(life_of("a"), false);
  journal_.end(life_of("b"), false);
  RequestLife strange;
  strange.method = "BREW\"";
  strange.path = "/coffee";
  strange.status = 404;
  journal_.end(std::move(strange), false);
  const auto counts = journal_.counts();
  ASSERT_EQ(counts.size(), 2u);
  EXPECT_EQ(counts[0].method, "POST");
  EXPECT_EQ(counts[0].route, "/api/chat");
  EXPECT_EQ(counts[0].status, 200);
  EXPECT_EQ(counts[0].count, 2u);
  EXPECT_EQ(counts[1].method, "other");
  EXPECT_EQ(counts[1].route, "none");
  EXPECT_EQ(counts[1].status, 404);
}

TEST_F(JournalTest, ManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 500; ++i) {
        const auto number = static_cast<uint64_t>(thread * 1000 + i);
        journal_.begin(life_of("x", number));
        journal_.live();
        journal_.end(life_of("x", number), true);
        journal_.ended();
        journal_.counts();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(journal_.counts().at(0).count, 2000u);
}

TEST(RequestLifeTest, IsBounded) {
  RequestLife life = life_of("a");
  for (int i = 0; i < 100; ++i) {
    engine::Event event;
    event.num_prompt_tokens = 5;
    life.add_part(event);
  }
  EXPECT_EQ(life.parts.size(), RequestLife::kMostParts);
  EXPECT_EQ(life.num_parts, 101);
  EXPECT_EQ(life.num_prompt_tokens, 32 + 500);
  for (const size_t size : {299u, 300u, 301u, 5000u}) {
    std::string text;
    while (text.size() < size) text += "\xC3\xA4";
    life.set_error(text);
    EXPECT_LE(life.error.size(), RequestLife::kMostErrorBytes);
    EXPECT_EQ(life.error.size() % 2, 0u) << "half of a character";
    EXPECT_GE(life.error.size(), std::min(size, RequestLife::kMostErrorBytes - 2));
  }
}

TEST(AccessLogTest, LinesHaveWhatAPersonAndAScriptLookFor) {
  RequestLife life = life_of("req_1");
  life.key = "ann";
  EXPECT_EQ(access_line(life),
            "id=req_1 method=POST path=/api/chat status=200 ms=250.0 bytes=0 address=127.0.0.1 "
            "key=ann model=m:1 prompt_tokens=32 cached_tokens=16 output_tokens=11 end=stop_string "
            "load_ms=20.0 queued_ms=3.0 ttft_ms=32.0");
  const json object = json::parse(access_json(life));
  EXPECT_EQ(object["time"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(object["id"], "req_1");
  EXPECT_EQ(object["status"], 200);
  EXPECT_EQ(object["ttft_ms"], 32.0);
  EXPECT_EQ(object["route"], "/api/chat");
  EXPECT_FALSE(object.contains("error"));
}

TEST(AccessLogTest, WhatClientsSayStaysOneValueOnOneLine) {
  RequestLife life = life_of("req_1", 1, "a\" status=200\nid=req_2 \x1b[31m");
  life.path = "/x y=\"z\"";
  life.status = 404;
  const std::string line = access_line(life);
  EXPECT_THAT(line, Not(HasSubstr("\n")));
  EXPECT_THAT(line, Not(HasSubstr("\x1b")));
  EXPECT_THAT(line, HasSubstr(R"(path="/x y=\"z\"" status=404)"));
  EXPECT_THAT(line, HasSubstr(R"(model="a\" status=200\nid=req_2)"));
  EXPECT_EQ(json::parse(access_json(life))["model"], life.model);
}

TEST(AccessLogTest, AppendsToItsFile) {
  const std::string path = testing::TempDir() + "/sluice_access_log_test";
  std::filesystem::remove(path);
  for (int run = 0; run < 2; ++run) {
    AccessLog log(path);
    log.write(life_of("a" + std::to_string(run)), false);
    log.write(life_of("b" + std::to_string(run)), true);
  }
  std::ifstream file(path);
  std::vector<std::string> ids;
  for (std::string line; std::getline(file, line);) ids.push_back(json::parse(line)["id"]);
  EXPECT_EQ(ids, (std::vector<std::string>{"a0", "b0", "a1", "b1"}));
  std::filesystem::remove(path);
  EXPECT_THROW(AccessLog("/nonexistent/folder/log"), Error);
}

TEST(AccessLogTest, GoesOnInANewFileWhenTheOldOneIsMovedAway) {
  const std::string path = testing::TempDir() + "/sluice_access_log_moved";
  std::filesystem::remove(path);
  AccessLog log(path);
  log.write(life_of("a"), true);
  std::filesystem::rename(path, path + ".1");
  log.write(life_of("b"), true);
  log.reopen();
  log.write(life_of("c"), true);
  const auto num_lines = [](const std::string& file) {
    std::ifstream lines(file);
    return std::count(std::istreambuf_iterator<char>(lines), {}, '\n');
  };
  EXPECT_EQ(num_lines(path + ".1"), 2);
  EXPECT_EQ(num_lines(path), 1);
  std::filesystem::remove(path);
  std::filesystem::remove(path + ".1");
}

TEST(AccessLogTest, AFullDiskEndsNothing) {
  AccessLog log("/dev/full");
  for (int i = 0; i < 3; ++i) EXPECT_NO_THROW(log.write(life_of("a"), true));
}

TEST(RequestReport, TellsTheWholeLife) {
  const json life = json::parse(encode_life(life_of("req_1")));
  EXPECT_EQ(life["state"], "ended");
  EXPECT_EQ(life["finish_reason"], "stop_string");
  EXPECT_EQ(life["time_to_first_token_ns"], 32'000'000);
  EXPECT_EQ(life["tokens_per_second"], 200.0);
  const json& part = life["parts"][0];
  EXPECT_EQ(part["stop"], "END");
  EXPECT_EQ(part["spans"].size(), 2u);
  EXPECT_EQ(part["spans"][0]["kind"], "prefill");
  EXPECT_EQ(part["spans"][1]["mean_sequences"], 2.0);
  EXPECT_NEAR(part["itl_p50_ns"].get<double>(), 5e6, 1.5e6);
  EXPECT_GE(part["itl_p99_ns"], part["itl_p50_ns"]);
}

TEST(RequestReport, ExplainsWithFigures) {
  std::string text;
  for (const std::string& sentence : explain(life_of("req_1"))) text += sentence + "\n";
  EXPECT_THAT(text, HasSubstr("took 250.0 ms in all and ended with status 200"));
  EXPECT_THAT(text, HasSubstr("16 of the 32 prompt tokens were in the prefix cache"));
  EXPECT_THAT(text, HasSubstr("The first token came 32.0 ms after the request"));
  EXPECT_THAT(text, HasSubstr("200.0 tokens/s"));
  EXPECT_THAT(text, HasSubstr("10 steps of 5.0 ms, with 2.0 requests in each (at most 3)"));
  EXPECT_THAT(text, HasSubstr("20.0 GB/s"));
  EXPECT_THAT(text, HasSubstr("took 4.0 ms: 80% of that speed was reached"));
  EXPECT_THAT(text, HasSubstr("It ended at the stop string \"END\""));
  EXPECT_THAT(text, Not(HasSubstr("preempt")));
}

TEST(RequestReport, ExplainsWhatCameToNothing) {
  RequestLife life = life_of("req_1");
  life.parts.clear();
  life.num_parts = 0;
  life.status = 503;
  life.error = "server busy: the queue is full";
  std::string text;
  for (const std::string& sentence : explain(life)) text += sentence + "\n";
  EXPECT_THAT(text, HasSubstr("status 503"));
  EXPECT_THAT(text, HasSubstr("the queue is full"));
  EXPECT_EQ(json::parse(encode_life(life))["parts"], json::array());
}

TEST(RequestReport, ListsWhatIsUnderWayByItsTurnAndThenWhatEnded) {
  // The newest first, as the journal has them.
  const LiveRequest preparing{10, "p", "/api/chat", "", "", "", {}};
  const LiveRequest last{9, "l", "/api/chat", "", "", "m:1", {}};
  const LiveRequest waiting{8, "w", "/api/chat", "", "", "m:1", {}};
  const LiveRequest running{7, "r", "/api/chat", "", "", "m:1", {}};
  engine::RequestStatus place;
  place.queue_position = 3;
  engine::RequestStatus last_place;
  last_place.queue_position = 4;
  engine::RequestStatus run;
  run.is_running = true;
  run.num_output_tokens = 5;
  run.time_to_first_token = std::chrono::milliseconds(20);
  run.mean_token_time = std::chrono::milliseconds(4);
  const LivePlaces places = {{9, {"m:1", &last_place}}, {8, {"m:1", &place}}, {7, {"m:1", &run}}};
  const std::vector<SharedLife> ended = {std::make_shared<const RequestLife>(life_of("e"))};
  const auto list = [&](size_t most) {
    return json::parse(encode_requests({preparing, last, waiting, running}, places, ended, most))
        .at("requests");
  };
  const json all = list(100);
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(all[0]["state"], "running");
  EXPECT_EQ(all[0]["output_tokens"], 5);
  EXPECT_EQ(all[0]["tokens_per_second"], 250);
  EXPECT_EQ(all[0]["time_to_first_token_ns"], 20'000'000);
  EXPECT_EQ(all[1]["state"], "waiting");
  EXPECT_EQ(all[1]["queue_position"], 3);
  EXPECT_FALSE(all[1].contains("tokens_per_second"));
  EXPECT_EQ(all[2]["id"], "l");
  EXPECT_EQ(all[3]["state"], "preparing");
  EXPECT_FALSE(all[3].contains("output_tokens"));
  EXPECT_EQ(all[4]["id"], "e");
  EXPECT_EQ(list(2).size(), 2u);
}

}  // namespace
}  // namespace sluice::server
