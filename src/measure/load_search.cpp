#include "measure/load_search.h"

#include <algorithm>
#include <cmath>

#include "base/print.h"

namespace sluice::measure {
namespace {

double load_of(const Arrivals& arrivals) {
  return arrivals.rate > 0 ? arrivals.rate : arrivals.num_clients;
}

Arrivals with_load(const Arrivals& kind, double load) {
  if (kind.rate > 0) return {.rate = load};
  return {.num_clients = static_cast<int>(load)};
}

std::optional<double> lowest_missed(const std::vector<Trial>& trials) {
  std::optional<double> lowest;
  for (const Trial& trial : trials) {
    if (!trial.is_met && (!lowest || trial.load < *lowest)) lowest = trial.load;
  }
  return lowest;
}

std::vector<Trial> trials_of(const Goal& goal, const std::vector<TrafficPoint>& points) {
  std::vector<Trial> trials;
  for (const TrafficPoint& point : points) {
    trials.push_back({load_of(point.arrivals), judge(goal, point).is_met});
  }
  return trials;
}

// Two digits are enough of a rate.
double rounded(double load, bool is_whole) {
  if (is_whole) return std::floor(load);
  const double step = std::pow(10, std::floor(std::log10(load)) - 2);
  return std::round(load / step) * step;
}

}  // namespace

std::optional<double> best_load(const std::vector<Trial>& trials) {
  const std::optional<double> missed = lowest_missed(trials);
  std::optional<double> best;
  for (const Trial& trial : trials) {
    if (!trial.is_met || (missed && trial.load >= *missed)) continue;
    if (!best || trial.load > *best) best = trial.load;
  }
  return best;
}

std::optional<double> next_load(const LoadRange& range, const std::vector<Trial>& trials) {
  if (trials.empty()) return range.first;
  if (trials.size() >= kMostTrials) return std::nullopt;
  const std::optional<double> best = best_load(trials);
  const std::optional<double> missed = lowest_missed(trials);
  if (!missed) {
    if (*best >= range.most) return std::nullopt;
    return std::min(*best * 2, range.most);
  }
  if (!best) {
    if (*missed <= range.least) return std::nullopt;
    return std::max(rounded(*missed / 2, range.is_whole), range.least);
  }
  if (*missed / *best <= kCloseEnough) return std::nullopt;
  const double middle = rounded((*best + *missed) / 2, range.is_whole);
  if (middle <= *best || middle >= *missed) return std::nullopt;
  return middle;
}

TrafficResult search_highest_load(const TrafficOptions& options, const Goal& goal,
                                  const std::atomic<bool>& stop,
                                  const std::function<void(const TrafficProgress&)>& on_progress) {
  const Arrivals first = options.arrivals.at(0);
  const bool is_whole = first.rate <= 0;
  const LoadRange range{.first = load_of(first),
                        .least = is_whole ? 1 : load_of(first) / 64,
                        .most = is_whole ? double{kMaxClients} : 1e5,
                        .is_whole = is_whole};
  const auto next = [&](const std::vector<TrafficPoint>& points) -> std::optional<Arrivals> {
    const auto load = next_load(range, trials_of(goal, points));
    if (!load) return std::nullopt;
    return with_load(first, *load);
  };
  return run_traffic_points(options, next, stop, on_progress);
}

std::string search_text(const Goal& goal, const TrafficResult& result) {
  if (result.points.empty()) return "";
  std::vector<Trial> trials = trials_of(goal, result.points);
  if (result.was_stopped) trials.pop_back();
  const bool is_rate = result.points.front().arrivals.rate > 0;
  const char* const unit = is_rate ? " requests/s" : " clients";
  const auto best = best_load(trials);
  const auto missed = lowest_missed(trials);
  if (trials.empty()) return "The search was stopped before its first load was done.\n";
  if (!best) {
    return print("No load that was tried meets the goal; the lowest was %g%s.\n",
                 missed.value_or(0), unit);
  }
  std::string text = print("The highest load that meets the goal: %g%s", *best, unit);
  if (missed) {
    text += print(" (%g%s miss it)", *missed, unit);
  } else {
    text += "; it was met to the end of what was tried";
  }
  return text + (result.was_stopped ? ", as far as the search came.\n" : ".\n");
}

}  // namespace sluice::measure
