#include "monitor/timeline_recorder.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "monitor/example_view.h"

namespace sluice::monitor {
namespace {

using namespace measure;

TEST(Timeline, APointIsWhatHappenedBetweenTwoSamples) {
  Snapshot before = example_view().now, now = before;
  const auto start = before.time - std::chrono::seconds(1);
  now.time = before.time + std::chrono::seconds(2);
  now.server.models[0].forward_time += std::chrono::milliseconds(1500);
  now.server.models[0].schedule_time += std::chrono::milliseconds(20);
  now.server.models[0].num_output_tokens += 100;
  for (ModelSample& model : now.server.models) model.is_loading = false;
  before.process = ProcessSample{77, 5, 1000, {}};
  now.process = ProcessSample{77, 6, 5000, {}};
  before.machine.energy_joules = 10;
  now.machine.energy_joules = 110;
  const TimelinePoint point = make_point(before, now, make_view(before, now, "", true), start);
  EXPECT_DOUBLE_EQ(point.seconds, 3);
  EXPECT_DOUBLE_EQ(point.length_seconds, 2);
  EXPECT_EQ(point.phase, "decode");
  EXPECT_DOUBLE_EQ(point.output_tokens_per_second, 50);
  EXPECT_DOUBLE_EQ(point.disk_read_bytes_per_second, 2000);
  EXPECT_DOUBLE_EQ(point.power_watts, 50);
  EXPECT_DOUBLE_EQ(point.forward_share, 0.75);
  EXPECT_DOUBLE_EQ(point.schedule_share, 0.01);
  EXPECT_EQ(point.num_running, 2);
  EXPECT_EQ(point.num_blocks_total, 64);
}

TEST(Timeline, ReadsBackAsItWasWritten) {
  TimelinePoint point;
  point.seconds = 2;
  point.phase = "load";
  point.threads = {{"engine", 0.5}};
  point.gpus.resize(1);
  point.gpus[0].power_watts = 300;
  const std::vector<TimelinePoint> points = parse_timeline(timeline_json({point}));
  ASSERT_EQ(points.size(), 1u);
  EXPECT_EQ(points[0].phase, "load");
  EXPECT_EQ(points[0].threads[0].name, "engine");
  EXPECT_EQ(points[0].gpus[0].power_watts, 300);
  EXPECT_EQ(points[0].gpus[0].busy_percent, -1);
  EXPECT_EQ(points[0].power_watts, -1);
  EXPECT_THROW(parse_timeline(nlohmann::json::parse(R"([{"seconds":"x"}])")), Error);
  EXPECT_THROW(parse_timeline(nlohmann::json(3)), Error);
}

TEST(Timeline, TheMachineIsWatchedWithoutAServerToo) {
  TimelineRecorder recorder(http::parse_url("http://127.0.0.1:1"), "", std::chrono::milliseconds(5),
                            "/nonexistent");
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  const std::vector<TimelinePoint> points = recorder.finish();
  ASSERT_FALSE(points.empty());
  EXPECT_EQ(points.back().phase, "idle");
  EXPECT_GT(points.back().available_bytes, 0);
  EXPECT_EQ(points.back().page_cache_share, -1);
  EXPECT_TRUE(recorder.finish().empty());
}

}  // namespace
}  // namespace sluice::monitor
