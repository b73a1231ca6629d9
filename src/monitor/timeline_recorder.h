#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "measure/timeline.h"
#include "monitor/sampler.h"
#include "monitor/view.h"

namespace sluice::monitor {

measure::TimelinePoint make_point(const Snapshot& before, const Snapshot& now, const View& view,
                                  std::chrono::steady_clock::time_point start);

// Watches a server, and where in memory the model's file is ("": none is known), from its
// construction on, in a thread of its own. Its memory is bounded: after
// measure::kMostTimelinePoints it drops every other point and watches half as often.
class TimelineRecorder {
 public:
  TimelineRecorder(const http::Url& url, const std::string& api_key,
                   std::chrono::milliseconds interval, std::string model_path = "");
  ~TimelineRecorder();
  TimelineRecorder(const TimelineRecorder&) = delete;
  TimelineRecorder& operator=(const TimelineRecorder&) = delete;

  // Ends it.
  std::vector<measure::TimelinePoint> finish();

 private:
  void watch();

  SnapshotSampler sampler_;
  std::chrono::milliseconds interval_;
  const std::string model_path_;
  const std::chrono::steady_clock::time_point start_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_stopping_ = false;                    // guarded by mutex_
  std::vector<measure::TimelinePoint> points_;  // of the thread, until it has ended
  std::thread thread_;
};

}  // namespace sluice::monitor
