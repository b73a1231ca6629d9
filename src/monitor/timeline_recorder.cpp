#include "monitor/timeline_recorder.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/threads.h"
#include "machine/page_cache.h"

namespace sluice::monitor {

using measure::TimelineGpu;
using measure::TimelinePoint;
using measure::TimelineThread;
using Clock = std::chrono::steady_clock;

namespace {

constexpr double kLeastShare = 0.005;  // of a core, for a thread to be kept

double seconds_of(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

std::string_view phase_of(const View& view) {
  const auto& models = view.now.server.models;
  const bool is_loading = std::any_of(models.begin(), models.end(),
                                      [](const ModelSample& model) { return model.is_loading; });
  if (is_loading) return "load";
  if (view.prompt_tokens_per_second > view.output_tokens_per_second) return "prefill";
  if (view.output_tokens_per_second > 0) return "decode";
  const bool has_requests = std::any_of(models.begin(), models.end(), [](const ModelSample& model) {
    return model.num_running + model.num_waiting > 0;
  });
  return has_requests ? "prefill" : "idle";
}

std::vector<TimelineThread> busy_threads(const View& view) {
  std::vector<TimelineThread> threads;
  for (const ThreadShare& share : view.threads) {
    const auto found =
        std::find_if(threads.begin(), threads.end(),
                     [&](const TimelineThread& thread) { return thread.name == share.name; });
    if (found != threads.end()) {
      found->cpu_share += share.cpu_share;
    } else if (share.cpu_share >= kLeastShare) {
      threads.push_back({share.name, share.cpu_share});
    }
  }
  return threads;
}

// Of what flows both ways; -1 where neither is told.
double both_ways(const std::optional<double>& one, const std::optional<double>& other) {
  return one || other ? one.value_or(0) + other.value_or(0) : -1;
}

TimelineGpu gpu_point(const GpuSample& sample, const GpuRates& rates) {
  const auto or_unknown = [](const auto& value) {
    return value ? static_cast<double>(*value) : -1.0;
  };
  return {.index = sample.index,
          .busy_percent = or_unknown(sample.busy_percent),
          .memory_used_bytes = or_unknown(sample.memory_used_bytes),
          .power_watts = or_unknown(rates.power_watts),
          .sm_clock_mhz = or_unknown(sample.sm_clock_mhz),
          .temperature_celsius = or_unknown(sample.temperature_celsius),
          .pcie_bytes_per_second =
              both_ways(sample.pcie_sent_bytes_per_second, sample.pcie_received_bytes_per_second),
          .nvlink_bytes_per_second = both_ways(rates.nvlink_sent_bytes_per_second,
                                               rates.nvlink_received_bytes_per_second)};
}

// Of all engines: time in forward passes, and of their threads beside them.
std::pair<double, double> engine_seconds(const ServerSample& server) {
  std::pair<double, double> sum;
  for (const ModelSample& model : server.models) {
    sum.first += seconds_of(model.forward_time);
    sum.second += seconds_of(model.schedule_time);
  }
  return sum;
}

}  // namespace

TimelinePoint make_point(const Snapshot& before, const Snapshot& now, const View& view,
                         Clock::time_point start) {
  TimelinePoint point;
  const double length = std::max(seconds_of(now.time - before.time), 1e-3);
  point.seconds = seconds_of(now.time - start);
  point.length_seconds = length;
  point.phase = phase_of(view);
  point.core_shares = view.core_shares;
  point.process_cpu_share = view.process_cpu_share;
  point.threads = busy_threads(view);
  point.available_bytes = static_cast<double>(now.machine.memory.available_bytes);
  if (now.process) {
    point.resident_bytes = static_cast<double>(now.process->resident_bytes);
    const bool is_same = before.process && before.process->pid == now.process->pid;
    if (is_same && now.process->disk_read_bytes >= before.process->disk_read_bytes) {
      const uint64_t read = now.process->disk_read_bytes - before.process->disk_read_bytes;
      point.disk_read_bytes_per_second = static_cast<double>(read) / length;
    }
  }
  point.power_watts = view.processor_watts.value_or(-1);
  for (size_t i = 0; i < now.gpus.size(); ++i) {
    point.gpus.push_back(gpu_point(now.gpus[i], view.rates_of(i)));
  }
  for (const ModelSample& model : now.server.models) {
    point.num_places += model.num_places;
    point.num_running += model.num_running;
    point.num_waiting += model.num_waiting + model.num_waiting_for_load;
    point.num_blocks_used += model.num_blocks_used;
    point.num_blocks_total += model.num_blocks_total;
  }
  point.prompt_tokens_per_second = view.prompt_tokens_per_second;
  point.output_tokens_per_second = view.output_tokens_per_second;
  const auto [forward_before, schedule_before] = engine_seconds(before.server);
  const auto [forward, schedule] = engine_seconds(now.server);
  point.forward_share = std::clamp((forward - forward_before) / length, 0.0, 1.0);
  point.schedule_share = std::clamp((schedule - schedule_before) / length, 0.0, 1.0);
  return point;
}

TimelineRecorder::TimelineRecorder(const http::Url& url, const std::string& api_key,
                                   std::chrono::milliseconds interval, std::string model_path)
    : sampler_(url, api_key),
      interval_(interval),
      model_path_(std::move(model_path)),
      start_(Clock::now()) {
  thread_ = start_thread("timeline", [this] {
    try {
      watch();
    } catch (const std::exception&) {  // no memory: it ends here, what is measured goes on
    }
  });
}

TimelineRecorder::~TimelineRecorder() { finish(); }

std::vector<TimelinePoint> TimelineRecorder::finish() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  return std::move(points_);
}

void TimelineRecorder::watch() {
  Snapshot before = sampler_.take();
  Clock::time_point due = Clock::now() + interval_;
  for (bool is_last = false; !is_last; due = std::max(due + interval_, Clock::now())) {
    {
      std::unique_lock lock(mutex_);
      is_last = changed_.wait_until(lock, due, [this] { return is_stopping_; });
    }
    Snapshot now = sampler_.take();
    const View view = make_view(before, now, sampler_.url(), sampler_.is_local());
    points_.push_back(make_point(before, now, view, start_));
    if (!model_path_.empty()) {
      points_.back().page_cache_share = machine::page_cache_share(model_path_).value_or(-1);
    }
    before = std::move(now);
    if (points_.size() < measure::kMostTimelinePoints) continue;
    for (size_t i = 0; 2 * i + 1 < points_.size(); ++i) points_[i] = points_[2 * i + 1];
    points_.resize(points_.size() / 2);
    interval_ *= 2;
  }
}

}  // namespace sluice::monitor
