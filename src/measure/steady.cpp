#include "measure/steady.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/print.h"
#include "measure/distribution.h"
#include "measure/report.h"
#include "measure/traffic_report.h"

namespace sluice::measure {
namespace {

// The two-sided 95% quantile of Student's t, by degrees of freedom.
double student95(size_t freedom) {
  constexpr std::array<double, 20> kQuantiles = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
                                                 2.306,  2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
                                                 2.131,  2.120, 2.110, 2.101, 2.093, 2.086};
  return kQuantiles[std::clamp<size_t>(freedom, 1, kQuantiles.size()) - 1];
}

bool are_alike(const Arrivals& a, const Arrivals& b) {
  return a.num_clients == b.num_clients && a.rate == b.rate && a.speedup == b.speedup;
}

std::string steady_line(const std::string& load, const Steadiness& repeats, double limit) {
  const auto estimate = [](const MeanEstimate& one, double unit) {
    if (std::isnan(one.mean)) return std::string("-");
    return print("%.4g", one.mean / unit) +
           (std::isfinite(one.error) ? print(" +- %.1f%%", one.error * 100) : "");
  };
  return print("  %-34s %2d times: %s tokens/s, TTFT %s ms", load.c_str(), repeats.num_repeats,
               estimate(repeats.tokens_per_second, 1).c_str(),
               estimate(repeats.ttft_seconds, 1e-3).c_str()) +
         (repeats.is_within(limit) ? "\n" : "; not steady\n");
}

std::string steady_title(double limit) {
  return print(
      "Repeated until the 95%% confidence interval of the mean is within %g%%, at most %d "
      "times:\n",
      limit * 100, kMostRepeats);
}

}  // namespace

MeanEstimate estimate_mean(std::vector<double> values) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  const Distribution all = distribution_of(values);
  MeanEstimate estimate{all.mean, std::numeric_limits<double>::infinity()};
  if (values.size() < 2 || !(all.mean > 0)) return estimate;
  const double error = all.deviation / std::sqrt(static_cast<double>(values.size()));
  estimate.error = student95(values.size() - 1) * error / all.mean;
  return estimate;
}

bool Steadiness::is_within(double limit) const {
  return num_repeats >= kFewestRepeats && tokens_per_second.error <= limit &&
         ttft_seconds.error <= limit;
}

Steadiness steadiness_of(const std::vector<double>& tokens_per_second,
                         const std::vector<double>& ttft_seconds) {
  return {static_cast<int>(tokens_per_second.size()), estimate_mean(tokens_per_second),
          estimate_mean(ttft_seconds)};
}

Steadiness steadiness_of_points(const std::vector<TrafficPoint>& points, const Arrivals& arrivals) {
  std::vector<double> speeds, ttfts;
  for (const TrafficPoint& point : points) {
    if (!are_alike(point.arrivals, arrivals)) continue;
    const TrafficRow row = summarize(point);
    speeds.push_back(row.tokens_per_second);
    ttfts.push_back(row.ttft_seconds.mean);
  }
  return steadiness_of(speeds, ttfts);
}

Steadiness steadiness_of_waves(std::span<const LoadRecord> requests) {
  std::vector<double> speeds, ttfts;
  while (!requests.empty()) {
    const auto next = std::find_if(requests.begin(), requests.end(), [&](const auto& request) {
      return request.wave != requests.front().wave;
    });
    const auto num_in_wave = static_cast<size_t>(next - requests.begin());
    const std::vector<ReportRow> rows = summarize(requests.first(num_in_wave));
    requests = requests.subspan(num_in_wave);
    if (rows.empty()) continue;  // all were cancelled
    speeds.push_back(rows.front().total_tokens_per_second);
    ttfts.push_back(rows.front().mean_ttft_seconds);
  }
  return steadiness_of(speeds, ttfts);
}

TrafficResult run_traffic_until_steady(
    const TrafficOptions& options, double limit, const std::atomic<bool>& stop,
    const std::function<void(const TrafficProgress&)>& on_progress) {
  size_t place = 0;
  std::vector<double> speeds, ttfts;  // of this place's repeats
  const auto next = [&](const std::vector<TrafficPoint>& points) -> std::optional<Arrivals> {
    if (!points.empty()) {
      const TrafficRow row = summarize(points.back());
      speeds.push_back(row.tokens_per_second);
      ttfts.push_back(row.ttft_seconds.mean);
      if (!steadiness_of(speeds, ttfts).must_go_on(limit)) {
        ++place;
        speeds.clear();
        ttfts.clear();
      }
    }
    if (place >= options.arrivals.size()) return std::nullopt;
    return options.arrivals[place];
  };
  return run_traffic_points(options, next, stop, on_progress);
}

std::string steady_text(const TrafficResult& result, double limit) {
  std::string text = steady_title(limit);
  std::vector<Arrivals> seen;
  for (const TrafficPoint& point : result.points) {
    const bool is_known = std::any_of(seen.begin(), seen.end(), [&](const Arrivals& arrivals) {
      return are_alike(arrivals, point.arrivals);
    });
    if (is_known) continue;
    seen.push_back(point.arrivals);
    text += steady_line(arrivals_text(point.arrivals),
                        steadiness_of_points(result.points, point.arrivals), limit);
  }
  return text;
}

std::string steady_text(const LoadTestResult& result, double limit) {
  std::string text = steady_title(limit);
  std::span<const LoadRecord> rest = result.requests;
  while (!rest.empty()) {  // line after line, as they were sent
    const LoadRecord& first = rest.front();
    const auto next = std::find_if(rest.begin(), rest.end(), [&](const LoadRecord& request) {
      return !(request.workload == first.workload) || request.concurrency != first.concurrency;
    });
    const auto num_in_line = static_cast<size_t>(next - rest.begin());
    text += steady_line(
        print("%s, %d words, %d at a time", std::string(workload_name(first.workload.kind)).c_str(),
              first.workload.num_words, first.concurrency),
        steadiness_of_waves(rest.first(num_in_line)), limit);
    rest = rest.subspan(num_in_line);
  }
  return text;
}

}  // namespace sluice::measure
