#include "monitor/layout.h"

#include <algorithm>
#include <cmath>

#include "base/print.h"
#include "base/units.h"
#include "monitor/layout_parts.h"

namespace sluice::monitor {
namespace {

constexpr int kLeastWidth = 10;
constexpr int kNarrow = 40;             // below it a line holds one thing
constexpr size_t kLeastTableLines = 1;  // that a table keeps when the screen is short
constexpr size_t kUnlimited = 100'000;  // lines

// What is shown, and how much of the tables.
struct Extent {
  size_t most_requests = 0;
  size_t most_threads = 0;
  bool has_cores = true;
};

// Two columns side by side: the server's, and the machine's.
constexpr int kTwoColumns = 170;

Lines side_by_side(Lines left, const Lines& right, int left_width) {
  left.resize(std::max(left.size(), right.size()));
  for (size_t i = 0; i < right.size(); ++i) {
    left[i].text = cut_to_width(left[i].text, static_cast<size_t>(left_width));
    left[i].right = right[i].text;
    left[i].right_style = right[i].style;
    left[i].right_column = left_width + 2;
  }
  return left;
}

// The machine, its GPUs and what runs on them.
void add_all_of_machine(const View& view, int width, const Extent& extent, Lines& lines) {
  add_machine(view, width, lines);
  if (extent.has_cores) add_cores(view, width, lines);
  if (extent.has_cores) add_others(view, width, lines);
  for (size_t i = 0; i < view.now.gpus.size(); ++i) add_gpu(view, i, width, lines);
  if (extent.most_threads > 0) add_threads(view, extent.most_threads, lines);
}

Lines compose_wide(const View& view, int width, const Extent& extent) {
  const bool names_models = view.now.server.models.size() > 1;
  const int left_width = std::max(width * 3 / 5, names_models ? kWideTableOfModels : kWideTable);
  const int right_width = width - left_width - 2;
  Lines lines, left, right;
  add_server(view, width, lines);
  add_models(view.now.server, left_width, left);
  add_requests(view, left_width, extent.most_requests, left);
  add_all_of_machine(view, right_width, extent, right);
  right.erase(right.begin());  // the empty line above
  for (Line& line : right) {
    line.text = cut_to_width(line.text, static_cast<size_t>(right_width));
  }
  for (Line& line : side_by_side(std::move(left), right, left_width)) {
    lines.push_back(std::move(line));
  }
  return lines;
}

Lines compose(const View& view, int width, const Extent& extent) {
  if (width >= kTwoColumns) return compose_wide(view, width, extent);
  Lines lines;
  add_server(view, width, lines);
  add_models(view.now.server, width, lines);
  add_requests(view, width, extent.most_requests, lines);
  add_all_of_machine(view, width, extent, lines);
  return lines;
}

std::string brief_model(const ModelSample& model, int width) {
  const double total = model.num_blocks_total;
  const std::string name = "  " + printable(model.name);
  if (model.is_loading) return name + print("  loading %.0f%%", percent(model.load_progress));
  if (total == 0) return name;
  if (width < kNarrow)
    return printable(model.name) + print("  %.0f%%", percent(model.num_blocks_used / total));
  return name + "  cache " +
         bar(model.num_blocks_used / total, model.num_blocks_cached / total, 12);
}

// The speed, and how many there are.
void add_brief_server(const View& view, int width, size_t most_lines, Lines& lines) {
  const ServerSample& server = view.now.server;
  const RequestCounts counts = count_requests(server);
  if (width < kNarrow) {
    lines.push_back({print("out %.1f", view.output_tokens_per_second), Style::kTitle});
    lines.push_back({print("in %.1f tokens/s", view.prompt_tokens_per_second), Style::kTitle});
    lines.push_back(
        {print("%d run, %d wait", counts.num_running, counts.num_waiting), Style::kTitle});
    return;
  }
  lines.push_back({speed_text(view), Style::kTitle});
  lines.push_back({requests_text(counts), Style::kTitle});
  constexpr size_t kLinesForLatency = 9;
  const std::string latency = latency_text(server.latency);
  if (!latency.empty() && most_lines >= kLinesForLatency) lines.push_back({latency});
}

std::string brief_memory(const View& view) {
  const machine::MemorySample& memory = view.now.machine.memory;
  return print("CPU %.0f%%  memory ", percent(view.cpu_share)) +
         format_bytes(memory.total_bytes - std::min(memory.available_bytes, memory.total_bytes)) +
         " of " + format_bytes(memory.total_bytes);
}

// For a screen of few lines, or narrow ones: a line for each thing, the most important first.
Lines compose_brief(const View& view, int width, size_t most_lines) {
  const ServerSample& server = view.now.server;
  Lines lines;
  if (server.kind == ServerKind::kNone || width >= kNarrow) add_server(view, width, lines);
  if (server.kind != ServerKind::kNone && !lines.empty()) lines.resize(1);
  if (server.kind == ServerKind::kSluice) add_brief_server(view, width, most_lines, lines);
  for (const ModelSample& model : server.models) lines.push_back({brief_model(model, width)});
  lines.push_back({brief_memory(view)});
  for (const GpuSample& gpu : view.now.gpus) {
    lines.push_back({print("GPU %d", gpu.index) +
                     (gpu.busy_percent ? print("  %d%%", *gpu.busy_percent) : "") +
                     (gpu.memory_used_bytes ? "  " + format_bytes(*gpu.memory_used_bytes) : "")});
  }
  const size_t num_left = most_lines - std::min(lines.size(), most_lines);
  const size_t num_requests = server.requests.size();
  const size_t num_shown = num_requests <= num_left ? num_requests : num_left - (num_left > 0);
  for (size_t i = 0; i < num_shown; ++i) {
    lines.push_back({brief_request_line(server.requests[i], server, width)});
  }
  add_number_of_more(num_requests - num_shown, lines);
  return lines;
}

// The longer table gives way first, then cores and threads, then all but the brief.
Lines compose_to_fit(const View& view, int width, size_t most_lines) {
  Extent extent = {.most_requests = view.now.server.requests.size(),
                   .most_threads = view.threads.size()};
  Lines lines = compose(view, width, extent);
  while (lines.size() > most_lines &&
         std::max(extent.most_requests, extent.most_threads) > kLeastTableLines) {
    size_t& longer =
        extent.most_requests > extent.most_threads ? extent.most_requests : extent.most_threads;
    const size_t too_many = lines.size() - most_lines;
    longer = std::max({longer - std::min(longer, (too_many + 1) / 2), kLeastTableLines});
    lines = compose(view, width, extent);
  }
  if (lines.size() <= most_lines) return lines;
  extent.most_threads = 0;
  extent.has_cores = false;
  lines = compose(view, width, extent);
  if (lines.size() < most_lines) {
    extent.most_requests += most_lines - lines.size();
    lines = compose(view, width, extent);
  }
  return lines.size() > most_lines ? compose_brief(view, width, most_lines) : lines;
}

}  // namespace

std::string whole_text(const Line& line) {
  if (line.right.empty()) return line.text;
  const auto column = static_cast<size_t>(line.right_column);
  const size_t used = std::min(display_width(line.text), column);
  return line.text + std::string(column - used, ' ') + line.right;
}

std::string bar(double share, double second_share, int width) {
  const int inner = std::max(width - 2, 1);
  const auto columns = [inner](double value) {
    return std::clamp(static_cast<int>(std::lround(value * inner)), 0, inner);
  };
  const int first = std::isnan(share) ? 0 : columns(share);
  const int both =
      std::isnan(second_share) ? first : std::max(columns(share + second_share), first);
  return "[" + std::string(static_cast<size_t>(first), '#') +
         std::string(static_cast<size_t>(both - first), '+') +
         std::string(static_cast<size_t>(inner - both), '.') + "]";
}

std::vector<Line> layout(const View& view, int width, int height) {
  width = std::max(width, kLeastWidth);
  const size_t most_lines = height > 0 ? static_cast<size_t>(height) : kUnlimited;
  Lines lines = width < kNarrow ? compose_brief(view, width, most_lines)
                                : compose_to_fit(view, width, most_lines);
  if (lines.size() > most_lines) lines.resize(most_lines);
  for (Line& line : lines) line.text = cut_to_width(line.text, static_cast<size_t>(width));
  return lines;
}

}  // namespace sluice::monitor
