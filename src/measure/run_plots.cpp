#include "measure/run_plots.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "backend/backend.h"
#include "base/print.h"
#include "measure/distribution.h"
#include "measure/plot.h"
#include "measure/run_answers.h"

namespace sluice::measure {
namespace {

constexpr double kBytesPerGigabyte = 1e9;

std::string test_name(const RunRow& row) {
  if (row.test == "output") return print("story of %d words", row.words);
  if (row.test == "input") return "title for a text";
  return row.test;
}

using RowValue = std::function<double(const RunRow&)>;

// One line for each test, over the number of users (or the rate of arrivals).
std::vector<PlotSeries> over_users(const LoadRun& run, const RowValue& value) {
  std::vector<PlotSeries> series;
  for (const RunRow& row : run.rows) {
    const std::string name = test_name(row);
    const auto found = std::find_if(series.begin(), series.end(),
                                    [&](const PlotSeries& one) { return one.name == name; });
    PlotSeries& one = found != series.end() ? *found : series.emplace_back(PlotSeries{name, {}});
    const double load = row.speedup > 0 ? row.speedup : row.rate > 0 ? row.rate : row.users;
    one.points.emplace_back(load, value(row));
  }
  for (PlotSeries& one : series) std::sort(one.points.begin(), one.points.end());
  // More than six could not be told apart: those with the longest replies say most.
  constexpr size_t kMost = 6;
  if (series.size() > kMost) series.erase(series.begin(), series.end() - kMost);
  return series;
}

const char* users_label(const LoadRun& run) {
  const auto any = [&](double RunRow::*member) {
    return std::any_of(run.rows.begin(), run.rows.end(),
                       [&](const RunRow& row) { return row.*member > 0; });
  };
  if (any(&RunRow::speedup)) return "times the trace's speed";
  return any(&RunRow::rate) ? "requests that arrive a second" : "users at a time";
}

ReportFigure figure_of(const Plot& plot, std::string caption) {
  const std::string svg = plot_svg(plot);
  return {plot.title, std::move(caption), svg.empty() ? "" : plot_legend(plot) + svg};
}

// What the machine allows; where it is not known (y is 0), why not: in at most forty characters.
struct Ceiling {
  std::string name;
  double y = 0;
  std::string why_none;
};

constexpr const char* kUnknownSpeed = "the machine's speed is not known";

void add_ceiling(Plot& plot, const Ceiling& ceiling) {
  if (ceiling.y > 0) {
    plot.bounds.push_back({ceiling.name, ceiling.y});
  } else if (plot.no_bound.empty()) {
    plot.no_bound = ceiling.why_none;
  }
}

// Of requests of which the server told it, without what its cache had; 0: none.
double mean_prompt_tokens(const LoadRun& run) {
  double sum = 0;
  int count = 0;
  for (const RunRequest& request : run.requests) {
    if (request.prompt_tokens <= 0) continue;
    sum += request.prompt_tokens - std::max(request.cached_tokens, 0.0);
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

// Tokens of the replies of that line of the table whose replies are the longest; 0: none.
double longest_mean_reply(const LoadRun& run) {
  double tokens = 0;
  for (const RunRow& row : run.rows) {
    if (row.mean_output_tokens > tokens) tokens = row.mean_output_tokens;
  }
  return tokens;
}

// Tokens of prompt and reply together, the mean over requests of which both are known; 0: none.
double mean_request_tokens(const LoadRun& run) {
  double sum = 0;
  int count = 0;
  for (const RunRequest& request : run.requests) {
    if (request.prompt_tokens < 0 || !request.error.empty()) continue;
    sum += request.prompt_tokens + request.output_tokens;
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

ReportFigure speed_figure(const LoadRun& run) {
  Plot plot{
      .title = "Tokens a second of each user", .x_label = users_label(run), .y_label = "tokens/s"};
  plot.series = over_users(run, [](const RunRow& row) { return row.tokens_per_second_each; });
  add_ceiling(plot, {"one user, by the memory", decode_bound(run), kUnknownSpeed});
  return figure_of(plot, "What each user gets, from sending to the last byte.");
}

ReportFigure throughput_figure(const LoadRun& run) {
  Plot plot{.title = "Tokens a second of all together",
            .x_label = users_label(run),
            .y_label = "tokens/s"};
  plot.series = over_users(run, [](const RunRow& row) { return row.tokens_per_second; });
  add_ceiling(plot, {"one user, by the memory", decode_bound(run), kUnknownSpeed});
  add_ceiling(plot, {"all, by arithmetic", prefill_bound(run), kUnknownSpeed});
  return figure_of(
      plot, "Users together can pass the line: the weights are read once a step for all of them.");
}

ReportFigure ttft_figure(const LoadRun& run) {
  Plot plot{.title = "Time to the first token", .x_label = users_label(run), .y_label = "ms"};
  plot.series = over_users(run, [](const RunRow& row) { return row.ttft_seconds * 1e3; });
  const double prompt = mean_prompt_tokens(run);
  const double bound = prefill_bound(run);
  add_ceiling(plot, {print("the mean prompt of %.0f tokens, by arithmetic", prompt),
                     bound > 0 ? prompt / bound * 1e3 : 0, kUnknownSpeed});
  return figure_of(plot, "Mean (median of lasting traffic).");
}

ReportFigure reply_time_figure(const LoadRun& run) {
  Plot plot{.title = "Time of a whole reply", .x_label = users_label(run), .y_label = "seconds"};
  plot.series = over_users(run, [](const RunRow& row) { return row.mean_seconds; });
  const double tokens = longest_mean_reply(run);
  const double bound = decode_bound(run);
  add_ceiling(plot, {print("%.0f tokens to one user, by the memory", tokens),
                     bound > 0 ? tokens / bound : 0, kUnknownSpeed});
  return figure_of(plot, "From sending to the last byte, the mean.");
}

// When each piece of one reply came: the longest that succeeded, of the fewest users.
ReportFigure reply_figure(const LoadRun& run) {
  const RunRequest* best = nullptr;
  for (const RunRequest& request : run.requests) {
    if (request.row < 0 || !request.error.empty()) continue;
    const auto users = [&](const RunRequest& r) {
      return run.rows[static_cast<size_t>(r.row)].users;
    };
    const bool is_better = best == nullptr || users(request) < users(*best) ||
                           (users(request) == users(*best) &&
                            request.piece_seconds.size() > best->piece_seconds.size());
    if (is_better) best = &request;
  }
  if (best == nullptr || best->piece_seconds.size() < 3) return {};
  Plot plot{.title = "One reply, token by token",
            .x_label = "seconds since it was sent",
            .y_label = "ms since the piece before"};
  plot.has_dots = false;
  PlotSeries gaps{"gap", {}};
  const double first = best->piece_seconds.front() - best->sent_seconds;
  for (size_t i = 1; i < best->piece_seconds.size(); ++i) {
    const double at = best->piece_seconds[i];
    gaps.points.emplace_back(at - best->sent_seconds, (at - best->piece_seconds[i - 1]) * 1e3);
  }
  plot.spans = {{"prefill", 0, first}, {"decode", first, gaps.points.back().first}};
  plot.series = {std::move(gaps)};
  const double bound = decode_bound(run);
  add_ceiling(plot, {"a token, by the memory", bound > 0 ? 1e3 / bound : 0, kUnknownSpeed});
  return figure_of(plot, print("%zu pieces of text, the first after %.0f ms (orange).",
                               best->piece_seconds.size(), first * 1e3));
}

// --- over time ---

std::vector<PlotSpan> phases(const LoadRun& run) {
  std::vector<PlotSpan> spans;
  for (const TimelinePoint& point : run.timeline) {
    const double begin = point.seconds - point.length_seconds;
    const bool goes_on =
        !spans.empty() && spans.back().kind == point.phase && begin - spans.back().end < 0.1;
    if (goes_on) {
      spans.back().end = point.seconds;
    } else {
      spans.push_back({point.phase, begin, point.seconds});
    }
  }
  std::erase_if(spans, [](const PlotSpan& span) { return span.kind == "idle"; });
  return spans;
}

using PointValue = std::function<double(const TimelinePoint&)>;

PlotSeries over_time(const LoadRun& run, const std::string& name, const PointValue& value) {
  PlotSeries series{name, {}};
  for (const TimelinePoint& point : run.timeline) {
    series.points.emplace_back(point.seconds, value(point));
  }
  return series;
}

ReportFigure time_figure(const LoadRun& run, std::string title, const char* unit,
                         std::string caption, std::vector<PlotSeries> series,
                         const std::vector<Ceiling>& ceilings, bool is_stacked = false) {
  Plot plot{.title = std::move(title), .x_label = "seconds", .y_label = unit};
  plot.has_dots = false;
  plot.is_stacked = is_stacked;
  plot.spans = phases(run);
  const bool is_flat = std::all_of(series.begin(), series.end(), [](const PlotSeries& one) {
    return std::all_of(one.points.begin(), one.points.end(), [](const auto& point) {
      return std::isnan(point.second) || point.second == 0;
    });
  });
  if (is_flat) return {};
  plot.series = std::move(series);
  for (const Ceiling& ceiling : ceilings) add_ceiling(plot, ceiling);
  return figure_of(plot, std::move(caption));
}

double share_of_thread(const TimelinePoint& point, const std::string& name) {
  for (const TimelineThread& thread : point.threads) {
    if (thread.name == name) return thread.cpu_share;
  }
  return 0;
}

std::vector<PlotSeries> thread_series(const LoadRun& run) {
  std::map<std::string, double> sums;
  for (const TimelinePoint& point : run.timeline) {
    for (const TimelineThread& thread : point.threads) {
      sums[thread.name] += thread.cpu_share * point.length_seconds;
    }
  }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [name, sum] : sums) order.emplace_back(sum, name);
  std::sort(order.begin(), order.end(), std::greater<>());
  constexpr size_t kMost = 5;
  std::vector<PlotSeries> series;
  for (size_t i = 0; i < std::min(order.size(), kMost); ++i) {
    const std::string& name = order[i].second;
    series.push_back(
        over_time(run, name, [&](const auto& point) { return share_of_thread(point, name); }));
  }
  return series;
}

std::vector<double> in_rows(const std::vector<double>& shares, size_t cores_a_row) {
  std::vector<double> rows;
  for (size_t first = 0; first < shares.size(); first += cores_a_row) {
    const size_t count = std::min(cores_a_row, shares.size() - first);
    double sum = 0;
    for (size_t i = first; i < first + count; ++i) sum += shares[i];
    rows.push_back(sum / static_cast<double>(count));
  }
  return rows;
}

// Which cores worked, whoever for.
ReportFigure cores_figure(const LoadRun& run) {
  size_t num_cores = 1;
  for (const TimelinePoint& point : run.timeline) {
    num_cores = std::max(num_cores, point.core_shares.size());
  }
  const size_t cores_a_row = (num_cores + kMostHeatRows - 1) / kMostHeatRows;
  HeatMap map{.title = "The machine's cores", .x_label = "seconds", .y_label = "core"};
  for (const TimelinePoint& point : run.timeline) {
    if (!map.x_ends.empty() && point.seconds <= map.x_ends.back()) continue;
    map.x_ends.push_back(point.seconds);
    map.columns.push_back(in_rows(point.core_shares, cores_a_row));
  }
  if (map.x_ends.empty()) return {};
  if (cores_a_row > 1) map.y_label = print("groups of %zu cores", cores_a_row);
  return {map.title,
          "The darker, the busier, with whatever: also with others' work. The ceiling is the full "
          "colour: a core with no time left.",
          heat_svg(map)};
}

double or_none(double value) { return value < 0 ? kNone : value; }

void add_gpu_figures(const LoadRun& run, std::vector<ReportFigure>& figures) {
  std::set<int> cards;
  for (const TimelinePoint& point : run.timeline) {
    for (const TimelineGpu& gpu : point.gpus) cards.insert(gpu.index);
  }
  if (cards.empty()) return;
  const auto series = [&](double TimelineGpu::*member, double scale) {
    std::vector<PlotSeries> all;
    for (const int card : cards) {
      all.push_back(over_time(run, print("card %d", card), [&](const TimelinePoint& point) {
        for (const TimelineGpu& gpu : point.gpus) {
          if (gpu.index == card) return or_none(gpu.*member) / scale;
        }
        return kNone;
      }));
    }
    return all;
  };
  using Gpu = TimelineGpu;
  const RunCard& card = run.machine.card;
  const char* untold = "the card does not tell it";
  figures.push_back(time_figure(run, "GPU: busy", "%", "Time in which a kernel ran.",
                                series(&Gpu::busy_percent, 1), {{"always", 100, ""}}));
  figures.push_back(time_figure(run, "GPU: memory", "GB", "Used, by all processes.",
                                series(&Gpu::memory_used_bytes, kBytesPerGigabyte),
                                {{"the card's", card.memory_bytes / kBytesPerGigabyte, untold}}));
  figures.push_back(time_figure(run, "GPU: power", "W", "", series(&Gpu::power_watts, 1),
                                {{"the card's limit", card.power_watts, untold}}));
  figures.push_back(time_figure(run, "GPU: clock", "MHz", "Of the multiprocessors.",
                                series(&Gpu::sm_clock_mhz, 1),
                                {{"its highest", card.clock_mhz, untold}}));
  figures.push_back(
      time_figure(run, "GPU: temperature", "C", "", series(&Gpu::temperature_celsius, 1),
                  {{"it slows down from here on", card.temperature_celsius, untold}}));
  figures.push_back(
      time_figure(run, "GPU: PCIe", "GB/s", "Both ways together.",
                  series(&Gpu::pcie_bytes_per_second, kBytesPerGigabyte),
                  {{"the link's", card.pcie_bytes_per_second / kBytesPerGigabyte, untold}}));
  figures.push_back(time_figure(run, "GPU: NVLink", "GB/s", "Both ways together, over all links.",
                                series(&Gpu::nvlink_bytes_per_second, kBytesPerGigabyte),
                                {{"", 0, untold}}));
}

// How many fit: by the engine's places, and by the blocks of its cache.
std::vector<Ceiling> request_ceilings(const LoadRun& run) {
  int places = 0, blocks = 0;
  for (const TimelinePoint& point : run.timeline) {
    places = std::max(places, point.num_places);
    blocks = std::max(blocks, point.num_blocks_total);
  }
  const double tokens = mean_request_tokens(run);
  const double in_cache = tokens > 0 ? blocks * backend::kBlockTokens / tokens : 0;
  const char* untold = "the server does not tell its places";
  return {{"places to run", static_cast<double>(places), untold},
          {print("fit into the cache with %.0f tokens each", tokens), in_cache, untold}};
}

}  // namespace

std::vector<ReportFigure> run_figures(const LoadRun& run) {
  std::vector<ReportFigure> figures = {speed_figure(run), throughput_figure(run), ttft_figure(run),
                                       reply_time_figure(run), reply_figure(run)};
  figures.push_back(time_figure(
      run, "Tokens over time", "tokens/s", "As the server counted them.",
      {over_time(run, "replies", [](const auto& p) { return p.output_tokens_per_second; }),
       over_time(run, "prompts", [](const auto& p) { return p.prompt_tokens_per_second; })},
      {{"replies to one user, by the memory", decode_bound(run), kUnknownSpeed},
       {"prompts, by arithmetic", prefill_bound(run), kUnknownSpeed}}));
  figures.push_back(
      time_figure(run, "Requests over time", "requests", "Running, and waiting for a place.",
                  {over_time(run, "running", [](const auto& p) { return p.num_running; }),
                   over_time(run, "waiting", [](const auto& p) { return p.num_waiting; })},
                  request_ceilings(run)));
  figures.push_back(time_figure(
      run, "The server's threads", "cores", "Processor time by thread, one on top of the other.",
      thread_series(run),
      {{"all cores", static_cast<double>(run.machine.cores), "the number of cores is not known"}},
      true));
  figures.push_back(cores_figure(run));
  figures.push_back(
      time_figure(run, "Memory", "GB", "",
                  {over_time(run, "the server",
                             [](const auto& p) { return p.resident_bytes / kBytesPerGigabyte; }),
                   over_time(run, "free in the machine",
                             [](const auto& p) { return p.available_bytes / kBytesPerGigabyte; })},
                  {{"the machine's", run.machine.memory_bytes / kBytesPerGigabyte,
                    "the machine's memory is not known"}}));
  figures.push_back(time_figure(
      run, "The model's file in the page cache", "%",
      "Of the file; the kernel lets go of it when memory is short.",
      {over_time(run, "cached", [](const auto& p) { return or_none(p.page_cache_share) * 100; })},
      {{"all of it", 100, ""}}));
  figures.push_back(time_figure(
      run, "Read from the disk", "MB/s", "By the server.",
      {over_time(run, "read", [](const auto& p) { return p.disk_read_bytes_per_second / 1e6; })},
      {{"the disk's, past the page cache", run.machine.disk_bytes_per_second / 1e6,
        "the disk was not measured"}}));
  figures.push_back(
      time_figure(run, "Power of the processors", "W", "",
                  {over_time(run, "power", [](const auto& p) { return or_none(p.power_watts); })},
                  {{"their limit", run.machine.power_watts, "the processors do not tell it"}}));
  add_gpu_figures(run, figures);
  std::erase_if(figures, [](const ReportFigure& figure) { return figure.picture.empty(); });
  return figures;
}

}  // namespace sluice::measure
