#include "monitor/layout_parts.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <sstream>

#include "base/print.h"
#include "base/units.h"

namespace sluice::monitor {
namespace {

// "1 core", "2 cores".
std::string number_of(size_t number, const char* thing) {
  return print("%zu %s%s", number, thing, number == 1 ? "" : "s");
}

// `text` and spaces up to `width` columns, at least one.
std::string padded(const std::string& text, size_t width) {
  return text + std::string(width - std::min(display_width(text), width - 1), ' ');
}

std::string of_total(double part, double whole, const std::string& text) {
  return bar(ratio(part, whole), 0, 12) + " " + text;
}

std::string model_memory(const ModelSample& model) {
  if (model.weights_bytes == 0) return "";
  std::string text = format_bytes(model.weights_bytes);
  if (model.cache_bytes > 0) text += " + cache " + format_bytes(model.cache_bytes);
  if (model.workspace_bytes > 0) text += " + work " + format_bytes(model.workspace_bytes);
  if (model.on_device_bytes > 0) text += " (" + format_bytes(model.on_device_bytes) + " on GPUs)";
  return text;
}

void add_model_parts(const ModelSample& model, int width, Lines& lines) {
  for (const ModelPart& part : model.parts) {
    add_wrapped({"    " + printable(part.device) + print("  %d layers", part.num_layers),
                 format_bytes(part.weights_bytes) + " + cache " + format_bytes(part.cache_bytes) +
                     " + work " + format_bytes(part.workspace_bytes)},
                Style::kPlain, width, lines);
  }
}

// "until 12:05:00", by the server's clock; the date is of no use for what goes in minutes.
std::string expiry_text(const ModelSample& model) {
  constexpr size_t kTime = sizeof("2026-08-21T") - 1;
  if (model.expires_at.empty()) return "stays";
  if (model.expires_at.size() < kTime + 8) return "";
  return "until " + printable(std::string_view(model.expires_at).substr(kTime, 8)) +
         (model.expires_at.ends_with('Z') ? " UTC" : "");
}

void add_loading_model(const ModelSample& model, int width, Lines& lines) {
  const int num_waiting = model.num_waiting_for_load;
  add_wrapped({"  " + printable(model.name),
               "loading " + bar(model.load_progress, 0, 22) +
                   print(" %.0f%%", percent(model.load_progress)),
               num_waiting > 0 ? print("%d waiting for it", num_waiting) : ""},
              Style::kPlain, width, lines);
}

std::string count_text(uint64_t count, const char* what) {
  return print("%llu %s", static_cast<unsigned long long>(count), what);
}

// What those wait for who wait.
std::string wait_reason(const RequestCounts& counts) {
  const int num_waiting_for_place =
      counts.num_waiting - counts.num_waiting_for_load - counts.num_waiting_for_cache;
  std::string text;
  const auto say = [&text](int number, const char* what) {
    if (number > 0) text += print("%s%d for %s", text.empty() ? "" : ", ", number, what);
  };
  say(num_waiting_for_place, "a place");
  say(counts.num_waiting_for_cache, "room in the cache");
  say(counts.num_waiting_for_load, "a model");
  return text.empty() ? "" : "waiting: " + text;
}

void add_request_summary(const View& view, int width, Lines& lines) {
  const RequestCounts counts = count_requests(view.now.server);
  const auto& hits = view.cache_hit_share;
  const auto count_if_any = [](uint64_t count, const char* what) {
    return count > 0 ? count_text(count, what) : "";
  };
  add_wrapped(
      {requests_text(counts), wait_reason(counts),
       counts.wait.count() > 0 ? "wait about " + age_text(counts.wait) : "", speed_text(view),
       latency_text(view.now.server.latency),
       view.joules_per_token ? print("%.2f J/token", *view.joules_per_token) : "",
       hits ? print("prefix cache hits %.0f%%", percent(*hits)) : "",
       count_text(counts.num_finished, "done"), count_if_any(counts.num_cancelled, "cancelled"),
       counts.num_drafts > 0
           ? print("guesses right %.0f%%", percent(ratio(static_cast<double>(counts.num_accepted),
                                                         static_cast<double>(counts.num_drafts))))
           : "",
       count_if_any(counts.num_rejected, "refused"),
       count_if_any(counts.num_preemptions, "preempted")},
      Style::kTitle, width, lines);
}

// Names are asked for with and without their tag.
bool is_loading(const std::string& name, const ServerSample& server, double& progress) {
  for (const ModelSample& model : server.models) {
    const bool is_it = model.name == name || model.name.starts_with(name + ":");
    if (!is_it || !model.is_loading) continue;
    progress = model.load_progress;
    return true;
  }
  return false;
}

bool has_pace(const ServerSample& server, int width) {
  return width >= (server.models.size() > 1 ? kWideTableOfModels : kWideTable);
}

std::string milliseconds_text(std::chrono::nanoseconds time, int digits) {
  if (time.count() <= 0) return "-";
  return print("%.*f", digits, static_cast<double>(time.count()) / 1e6);
}

std::string pace_cells(const RequestSample& request) {
  const double speed = request.tokens_per_second();
  return print("%9s%8s%9s  %-12s", milliseconds_text(request.time_to_first_token, 0).c_str(),
               milliseconds_text(request.mean_token_time, 1).c_str(),
               speed > 0 ? print("%.1f", speed).c_str() : "-",
               cut_to_width(printable(request.client), 12).c_str());
}

// One line a request, at most `most` of them, and how many more there are.
void add_request_table(const ServerSample& server, int width, size_t most, Lines& lines) {
  if (server.requests.empty()) return;
  lines.push_back({request_titles(server, width), Style::kDim});
  const size_t num_shown = std::min(server.requests.size(), most);
  for (size_t i = 0; i < num_shown; ++i) {
    lines.push_back({request_line(server.requests[i], server, width)});
  }
  add_number_of_more(server.requests.size() - num_shown, lines);
}

std::string rate_text(double bytes_per_second) {
  return format_bytes(static_cast<uint64_t>(std::clamp(bytes_per_second, 0.0, 1e18))) + "/s";
}

std::string disk_text(const View& view) {
  constexpr double kLeast = 1e3;
  if (std::max(view.disk_read_bytes_per_second, view.disk_written_bytes_per_second) < kLeast) {
    return "";
  }
  return "disk in " + rate_text(view.disk_read_bytes_per_second) + ", out " +
         rate_text(view.disk_written_bytes_per_second);
}

std::string gpu_memory(const GpuSample& gpu) {
  if (!gpu.memory_used_bytes || !gpu.memory_total_bytes) return "";
  return "memory " + of_total(static_cast<double>(*gpu.memory_used_bytes),
                              static_cast<double>(*gpu.memory_total_bytes),
                              format_bytes(*gpu.memory_used_bytes) + " of " +
                                  format_bytes(*gpu.memory_total_bytes));
}

std::string power_text(const View& view, size_t index) {
  const auto watts = view.rates_of(index).power_watts;
  const GpuSample& gpu = view.now.gpus[index];
  if (!watts && !gpu.power_watts) return "";
  std::string text = print("%.0f", watts ? *watts : *gpu.power_watts);
  if (gpu.power_limit_watts) text += print(" of %.0f", *gpu.power_limit_watts);
  return text + " W";
}

void add_gpu_processes(const View& view, const GpuSample& gpu, int width, Lines& lines) {
  constexpr size_t kMost = 5;
  if (gpu.processes.empty()) return;
  std::vector<std::string> parts = {"  on it:"};
  for (size_t i = 0; i < std::min(gpu.processes.size(), kMost); ++i) {
    const machine::GpuProcess& process = gpu.processes[i];
    parts.push_back(process_name(view, process.pid) +
                    (process.memory_bytes ? " " + format_bytes(*process.memory_bytes) : "") +
                    (process.busy_percent ? print(" %d%%", *process.busy_percent) : ""));
  }
  if (gpu.processes.size() > kMost)
    parts.push_back(print("and %zu more", gpu.processes.size() - kMost));
  add_wrapped(parts, Style::kPlain, width, lines);
}

}  // namespace

double percent(double share) { return std::clamp(share, 0.0, 99.99) * 100; }

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

std::string age_text(std::chrono::nanoseconds age) {
  const int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  if (seconds < 10) return print("%.1f s", std::chrono::duration<double>(age).count());
  if (seconds < 60) return print("%d s", static_cast<int>(seconds));
  if (seconds < 3600) {
    return print("%dm %02ds", static_cast<int>(seconds / 60), static_cast<int>(seconds % 60));
  }
  if (seconds < 86'400) {
    return print("%dh %02dm", static_cast<int>(seconds / 3600),
                 static_cast<int>(seconds / 60 % 60));
  }
  return print("%lldd %dh", static_cast<long long>(seconds / 86'400),
               static_cast<int>(seconds / 3600 % 24));
}

void add_wrapped(const std::vector<std::string>& parts, Style style, int width, Lines& lines,
                 std::string_view gap) {
  constexpr std::string_view kIndent = "    ";
  std::string text;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    const bool fits =
        display_width(text) + gap.size() + display_width(part) <= static_cast<size_t>(width);
    if (text.empty()) {
      text = part;
    } else if (fits) {
      text.append(gap).append(part);
    } else {
      lines.push_back({text, style});
      text = std::string(kIndent) + part;
    }
  }
  lines.push_back({text, style});
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

void add_server(const View& view, int width, Lines& lines) {
  const ServerSample& server = view.now.server;
  if (server.kind == ServerKind::kNone) {
    add_wrapped(words_of("No server: " + printable(server.error)), Style::kWarning, width, lines,
                " ");
    return;
  }
  const std::string program = server.kind == ServerKind::kSluice ? "sluice " : "Ollama ";
  add_wrapped({program + printable(server.version) + " at " + view.url,
               server.uptime.count() > 0 ? "up " + age_text(server.uptime) : "",
               server.pid > 0 ? print("process %d", server.pid) : "",
               server.num_connections > 0
                   ? number_of(static_cast<size_t>(server.num_connections), "connection")
                   : "",
               server.max_memory_bytes > 0 ? "models " + format_bytes(server.used_memory_bytes) +
                                                 " of " + format_bytes(server.max_memory_bytes)
                                           : "",
               server.is_draining ? "shutting down" : ""},
              Style::kTitle, width, lines);
}

void add_model(const ModelSample& model, int width, Lines& lines) {
  if (model.is_loading) return add_loading_model(model, width, lines);
  add_wrapped(
      {"  " + printable(model.name), printable(model.parameter_size), printable(model.quantization),
       model.context_length > 0 ? print("context %d", model.context_length) : "",
       model_memory(model), printable(model.backend), expiry_text(model)},
      Style::kPlain, width, lines);
  add_model_parts(model, width, lines);
  if (model.num_blocks_total == 0) return;
  const double total = model.num_blocks_total;
  add_wrapped(
      {"    KV cache " + bar(model.num_blocks_used / total, model.num_blocks_cached / total, 22),
       print("%d used + %d reusable of %d blocks", model.num_blocks_used, model.num_blocks_cached,
             model.num_blocks_total)},
      Style::kPlain, width, lines);
}

void add_models(const ServerSample& server, int width, Lines& lines) {
  if (server.kind == ServerKind::kNone) return;
  if (server.models.empty()) lines.push_back({"  no model is loaded", Style::kDim});
  for (const ModelSample& model : server.models) add_model(model, width, lines);
}

RequestCounts count_requests(const ServerSample& server) {
  RequestCounts sum;
  for (const ModelSample& model : server.models) {
    sum.num_running += model.num_running;
    sum.num_waiting += model.num_waiting + model.num_waiting_for_load;
    sum.num_waiting_for_load += model.num_waiting_for_load;
    sum.num_waiting_for_cache += model.num_waiting_for_cache;
    sum.num_finished += model.num_requests_finished;
    sum.num_rejected += model.num_requests_rejected;
    sum.num_preemptions += model.num_preemptions;
    sum.num_cancelled += model.num_requests_cancelled;
    sum.num_drafts += model.num_draft_tokens;
    sum.num_accepted += model.num_accepted_tokens;
    sum.wait = std::max(sum.wait, model.estimated_wait);
  }
  return sum;
}

std::string requests_text(const RequestCounts& counts) {
  return print("Requests  %d running, %d waiting", counts.num_running, counts.num_waiting);
}

std::string speed_text(const View& view) {
  return print("tokens/s: in %.1f, out %.1f", view.prompt_tokens_per_second,
               view.output_tokens_per_second);
}

std::string latency_text(const LatencySample& latency) {
  if (!latency.is_known()) return "";
  std::string text =
      print("TTFT p50 %.0f p95 %.0f ms", latency.ttft_p50 * 1e3, latency.ttft_p95 * 1e3);
  if (!std::isnan(latency.itl_p50)) {
    text += print(", ITL %.1f %.1f ms", latency.itl_p50 * 1e3, latency.itl_p95 * 1e3);
  }
  return text;
}

std::string state_text(const RequestSample& request, const ServerSample& server) {
  double progress = 0;
  if (request.is_pending) {
    return is_loading(request.model, server, progress) ? print("loading %.0f%%", percent(progress))
                                                       : "preparing";
  }
  const int num_known = std::max(request.num_prefilled_tokens, request.num_cached_tokens);
  if (!request.is_running) {
    const std::string place = print("place %d", request.queue_position);
    return request.estimated_wait.count() > 0 ? place + ", in " + age_text(request.estimated_wait)
                                              : place;
  }
  if (num_known >= request.num_prompt_tokens) return "replying";
  const double share = ratio(num_known, request.num_prompt_tokens);
  return "prompt " + bar(share, 0, 10) + print(" %.0f%%", percent(share));
}

std::string request_line(const RequestSample& request, const ServerSample& server, int width) {
  std::string text =
      print("  %6llu  %-22s%8d%8d%8d%9s", static_cast<unsigned long long>(request.id),
            state_text(request, server).c_str(), request.num_prompt_tokens,
            request.num_cached_tokens, request.num_output_tokens, age_text(request.age).c_str());
  if (has_pace(server, width)) text += pace_cells(request);
  if (server.models.size() > 1) {
    text += "  " + printable(request.model);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::string brief_request_line(const RequestSample& request, const ServerSample& server,
                               int width) {
  const bool is_narrow = width < 40;
  return print(is_narrow ? "%llu " : "  %6llu  ", static_cast<unsigned long long>(request.id)) +
         state_text(request, server) +
         print(is_narrow ? " %d" : "  %d tokens", request.num_output_tokens);
}

std::string request_titles(const ServerSample& server, int width) {
  const std::string titles = "      id  state                   prompt  cached   reply      age";
  return has_pace(server, width) ? titles + " TTFT, ms ITL, ms tokens/s  client" : titles;
}

void add_number_of_more(size_t number, Lines& lines) {
  if (number > 0) lines.push_back({print("          and %zu more", number), Style::kDim});
}

void add_requests(const View& view, int width, size_t most, Lines& lines) {
  const ServerSample& server = view.now.server;
  if (server.kind != ServerKind::kSluice) return;
  lines.push_back({""});
  add_request_summary(view, width, lines);
  add_request_table(server, width, most, lines);
}

// All cores in rows: with bars when they fit into eight lines, else numbers only.
void add_cores(const View& view, int width, Lines& lines) {
  constexpr size_t kMostLines = 8;
  const size_t num_cores = view.core_shares.size();
  const bool has_bars = num_cores <= kMostLines * static_cast<size_t>((width - 2) / 24);
  const size_t cell_width = has_bars ? 24 : 10;
  const size_t num_columns = std::max<size_t>(static_cast<size_t>(width - 2) / cell_width, 1);
  for (size_t first = 0; first < num_cores; first += num_columns) {
    std::string text = " ";
    for (size_t i = first; i < std::min(first + num_columns, num_cores); ++i) {
      const double share = view.core_shares[i];
      text += has_bars ? print(" %3zu ", i) + bar(share, 0, 12) + print("%4.0f%%  ", percent(share))
                       : print(" %3zu%4.0f%% ", i, percent(share));
    }
    text.erase(text.find_last_not_of(' ') + 1);
    lines.push_back({text});
  }
}

void add_machine(const View& view, int width, Lines& lines) {
  const MachineSample& machine = view.now.machine;
  const uint64_t total = machine.memory.total_bytes;
  const uint64_t used = total - std::min(machine.memory.available_bytes, total);
  std::string load;
  if (machine.load.size() == 3) {
    load = print("load %.2f %.2f %.2f", machine.load[0], machine.load[1], machine.load[2]);
  }
  lines.push_back({""});
  add_wrapped(
      {std::string(view.is_local ? "Machine" : "This machine (the server is elsewhere)"),
       number_of(view.core_shares.size(), "core") + print(" at %.0f%%", percent(view.cpu_share)),
       load,
       total == 0 ? ""
                  : "memory " + of_total(static_cast<double>(used), static_cast<double>(total),
                                         format_bytes(used) + " of " + format_bytes(total)),
       machine.clock_mhz ? print("%.1f GHz", *machine.clock_mhz / 1e3) : "",
       view.processor_watts ? print("%.0f W", *view.processor_watts) : "",
       machine.temperature_celsius ? print("%.0f C", *machine.temperature_celsius) : "",
       disk_text(view)},
      Style::kTitle, width, lines);
}

void add_others(const View& view, int width, Lines& lines) {
  constexpr size_t kMost = 5;
  if (view.others.empty()) return;
  std::vector<std::string> parts = {"  beside it:"};
  for (size_t i = 0; i < std::min(view.others.size(), kMost); ++i) {
    const ProcessShare& other = view.others[i];
    parts.push_back(printable(other.name) +
                    print(" (%d) %.0f%%", other.pid, std::min(other.cpu_share, 9999.0) * 100));
  }
  add_wrapped(parts, Style::kPlain, width, lines);
}

std::string thread_line(const ThreadShare& thread) {
  return "  " + padded(printable(thread.name), 18) + bar(thread.cpu_share, 0, 22) +
         print("%5.0f%%", percent(thread.cpu_share));
}

void add_threads(const View& view, size_t most, Lines& lines) {
  if (!view.now.process) return;
  lines.push_back({""});
  lines.push_back({print("Server process %d   %.0f%% CPU   RSS ", view.now.process->pid,
                         percent(view.process_cpu_share)) +
                       format_bytes(view.now.process->resident_bytes) + "   " +
                       number_of(view.threads.size(), "thread"),
                   Style::kTitle});
  const size_t num_shown = std::min(view.threads.size(), most);
  for (size_t i = 0; i < num_shown; ++i) {
    lines.push_back({thread_line(view.threads[i])});
  }
  if (num_shown < view.threads.size()) {
    lines.push_back({print("  and %zu more", view.threads.size() - num_shown), Style::kDim});
  }
}

std::string gpu_traffic_text(const View& view, size_t gpu) {
  const GpuSample& sample = view.now.gpus[gpu];
  const GpuRates rates = view.rates_of(gpu);
  const auto way = [](const char* name, const auto& in, const auto& out) -> std::string {
    if (!in && !out) return "";
    return name + (" in " + rate_text(in.value_or(0))) + ", out " + rate_text(out.value_or(0));
  };
  const std::string pcie =
      way("PCIe", sample.pcie_received_bytes_per_second, sample.pcie_sent_bytes_per_second);
  const std::string nvlink =
      way("NVLink", rates.nvlink_received_bytes_per_second, rates.nvlink_sent_bytes_per_second);
  return pcie + (pcie.empty() || nvlink.empty() ? "" : "  ") + nvlink;
}

std::string process_name(const View& view, int pid) {
  for (const machine::ProcessTicks& process : view.now.processes) {
    if (process.pid == pid) return printable(process.name) + print(" (%d)", pid);
  }
  return print("process %d", pid);
}

void add_gpu(const View& view, size_t index, int width, Lines& lines) {
  const GpuSample& gpu = view.now.gpus[index];
  std::string busy;
  if (gpu.busy_percent) {
    busy = "busy " + of_total(*gpu.busy_percent, 100, print("%d%%", *gpu.busy_percent));
  }
  lines.push_back({""});
  add_wrapped({print("GPU %d", gpu.index), printable(gpu.name)}, Style::kTitle, width, lines);
  add_wrapped({"  " + busy, gpu_memory(gpu), power_text(view, index),
               gpu.temperature_celsius ? print("%d C", *gpu.temperature_celsius) : "",
               gpu.sm_clock_mhz ? print("%d MHz", *gpu.sm_clock_mhz) : "",
               gpu.memory_clock_mhz ? print("memory %d MHz", *gpu.memory_clock_mhz) : "",
               gpu_traffic_text(view, index)},
              Style::kPlain, width, lines);
  add_gpu_processes(view, gpu, width, lines);
}

}  // namespace sluice::monitor
