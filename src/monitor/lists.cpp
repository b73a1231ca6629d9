#include "monitor/lists.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/print.h"
#include "base/units.h"
#include "monitor/layout_parts.h"

namespace sluice::monitor {
namespace {

constexpr int kLeastTableWidth = 66;  // of the requests' columns
constexpr int kNarrowList = 46;       // below it a line tells the share and the name

struct List {
  std::string titles;  // of the columns; "": none
  Lines rows;
};

List request_list(const View& view, int width) {
  const ServerSample& server = view.now.server;
  List list;
  const bool is_table = width >= kLeastTableWidth;
  if (is_table) list.titles = request_titles(server, width);
  for (const RequestSample& request : server.requests) {
    list.rows.push_back({is_table ? request_line(request, server, width)
                                  : brief_request_line(request, server, width)});
  }
  return list;
}

List model_list(const View& view, int width) {
  List list;
  for (const ModelSample& model : view.now.server.models) add_model(model, width, list.rows);
  return list;
}

std::string narrow_line(double cpu_share, const std::string& name) {
  return print("%3.0f%% ", std::min(cpu_share, 99.99) * 100) + name;
}

List thread_list(const View& view, int width) {
  List list;
  for (const ThreadShare& thread : view.threads) {
    list.rows.push_back({width < kNarrowList ? narrow_line(thread.cpu_share, printable(thread.name))
                                             : thread_line(thread)});
  }
  return list;
}

// Of all cards together.
std::map<int, uint64_t> gpu_bytes(const View& view) {
  std::map<int, uint64_t> bytes;
  for (const GpuSample& gpu : view.now.gpus) {
    for (const machine::GpuProcess& process : gpu.processes) {
      bytes[process.pid] += process.memory_bytes.value_or(0);
    }
  }
  return bytes;
}

// Those that take a core or a card; the others' names would only be in the way.
List process_list(const View& view, int width) {
  List list;
  const bool is_narrow = width < kNarrowList;
  if (!is_narrow) list.titles = "      CPU  memory of GPUs  process";
  std::map<int, uint64_t> on_gpus = gpu_bytes(view);
  const auto add = [&](double cpu_share, int pid, const std::string& name) {
    const auto found = on_gpus.find(pid);
    const std::string memory = found == on_gpus.end() ? "-" : format_bytes(found->second);
    list.rows.push_back({is_narrow ? narrow_line(cpu_share, name)
                                   : print("    %4.0f%%  %14s  ", std::min(cpu_share, 99.99) * 100,
                                           memory.c_str()) +
                                         name});
    if (found != on_gpus.end()) on_gpus.erase(found);
  };
  if (view.now.process) {
    add(view.process_cpu_share, view.now.process->pid,
        print("the server (%d)", view.now.process->pid));
  }
  for (const ProcessShare& other : view.others) {
    add(other.cpu_share, other.pid, printable(other.name) + print(" (%d)", other.pid));
  }
  while (!on_gpus.empty()) {
    const int pid = on_gpus.begin()->first;
    add(0, pid, process_name(view, pid));
  }
  return list;
}

List list_of(const View& view, ListKind kind, int width) {
  switch (kind) {
    case ListKind::kModels:
      return model_list(view, width);
    case ListKind::kThreads:
      return thread_list(view, width);
    case ListKind::kProcesses:
      return process_list(view, width);
    case ListKind::kRequests:
      break;
  }
  return request_list(view, width);
}

}  // namespace

std::string_view list_name(ListKind kind) {
  constexpr std::string_view kNames[] = {"requests", "models", "threads", "processes"};
  return kNames[static_cast<size_t>(kind)];
}

ListKind next_list(ListKind kind) {
  return kind == ListKind::kProcesses ? ListKind::kRequests
                                      : static_cast<ListKind>(static_cast<int>(kind) + 1);
}

std::string ListScreen::place_text() const {
  if (num_rows == 0) return "none";
  return print("%zu-%zu of %zu", first + 1, first + num_shown, num_rows);
}

ListScreen list_screen(const View& view, ListKind kind, size_t first, int width, int height) {
  constexpr size_t kLeastForHead = 4;  // lines
  const auto num_lines = static_cast<size_t>(std::max(height, 1));
  List list = list_of(view, kind, width);
  ListScreen screen;
  if (num_lines >= kLeastForHead) {
    const bool has_server = view.now.server.kind != ServerKind::kNone;
    const std::string speed = width < kNarrowList
                                  ? print("out %.1f tokens/s", view.output_tokens_per_second)
                                  : speed_text(view);
    screen.lines.push_back({has_server ? speed : "No server", Style::kTitle});
    if (!list.titles.empty()) screen.lines.push_back({list.titles, Style::kDim});
  }
  const size_t room = num_lines - screen.lines.size();
  screen.num_rows = list.rows.size();
  screen.num_shown = std::min(room, screen.num_rows);
  screen.first = std::min(first, screen.num_rows - screen.num_shown);
  for (size_t i = 0; i < screen.num_shown; ++i) {
    screen.lines.push_back(std::move(list.rows[screen.first + i]));
  }
  for (Line& line : screen.lines) {
    line.text = cut_to_width(line.text, static_cast<size_t>(std::max(width, 1)));
  }
  return screen;
}

std::vector<Line> help_lines(int width) {
  constexpr std::pair<const char*, const char*> kKeys[] = {
      {"q", "quit"},
      {"Tab", "one list alone: requests, models, threads, processes"},
      {"Up Down PgUp PgDn Home End", "scroll it"},
      {"Esc", "back to the overview"},
      {"s", "sort the requests in another order"},
      {"/", "only requests of a client or model (Esc: all)"},
      {"x", "cancel the request whose id is typed"},
      {"?", "this help; any key ends it"},
  };
  Lines lines = {{"Keys", Style::kTitle}};
  for (const auto& [key, what] : kKeys) {
    std::vector<std::string> words = words_of(what);
    words.insert(words.begin(), std::string(key) + ":");
    add_wrapped(words, Style::kPlain, width, lines, " ");
  }
  return lines;
}

}  // namespace sluice::monitor
