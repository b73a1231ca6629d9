#include "monitor/view_json.h"

#include <nlohmann/json.hpp>

namespace sluice::monitor {
namespace {

using nlohmann::ordered_json;

template <typename Value>
ordered_json or_null(const std::optional<Value>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json parts_json(const std::vector<ModelPart>& parts) {
  ordered_json list = ordered_json::array();
  for (const ModelPart& part : parts) {
    list.push_back({{"device", part.device},
                    {"num_layers", part.num_layers},
                    {"weights_bytes", part.weights_bytes},
                    {"cache_bytes", part.cache_bytes},
                    {"workspace_bytes", part.workspace_bytes}});
  }
  return list;
}

ordered_json model_json(const ModelSample& model) {
  ordered_json json = {
      {"name", model.name},
      {"parameter_size", model.parameter_size},
      {"quantization", model.quantization},
      {"backend", model.backend},
      {"is_loading", model.is_loading},
      {"load_progress", model.load_progress},
      {"context_length", model.context_length},
      {"weights_bytes", model.weights_bytes},
      {"cache_bytes", model.cache_bytes},
      {"workspace_bytes", model.workspace_bytes},
      {"on_device_bytes", model.on_device_bytes},
      {"parts", parts_json(model.parts)},
      {"expires_at", model.expires_at.empty() ? ordered_json() : ordered_json(model.expires_at)}};
  for (const engine::Counter& counter : engine::engine_counters()) {
    json[counter.name] = counter.get(model);
  }
  return json;
}

// NaN is null.
ordered_json latency_json(const LatencySample& latency) {
  return {{"ttft_p50_seconds", latency.ttft_p50},
          {"ttft_p95_seconds", latency.ttft_p95},
          {"itl_p50_seconds", latency.itl_p50},
          {"itl_p95_seconds", latency.itl_p95}};
}

ordered_json server_json(const View& view) {
  const ServerSample& server = view.now.server;
  if (server.kind == ServerKind::kNone) return {};
  ordered_json models = ordered_json::array();
  for (const ModelSample& model : server.models) models.push_back(model_json(model));
  return {{"kind", server.kind == ServerKind::kSluice ? "sluice" : "ollama"},
          {"version", server.version},
          {"pid", server.pid},
          {"uptime_ns", server.uptime.count()},
          {"num_connections", server.num_connections},
          {"is_draining", server.is_draining},
          {"max_memory_bytes", server.max_memory_bytes},
          {"used_memory_bytes", server.used_memory_bytes},
          {"prompt_tokens_per_second", view.prompt_tokens_per_second},
          {"output_tokens_per_second", view.output_tokens_per_second},
          {"joules_per_token", or_null(view.joules_per_token)},
          {"cache_hit_share", or_null(view.cache_hit_share)},
          {"latency", latency_json(server.latency)},
          {"models", std::move(models)}};
}

ordered_json requests_json(const ServerSample& server) {
  ordered_json requests = ordered_json::array();
  for (const RequestSample& request : server.requests) {
    requests.push_back({{"id", request.id},
                        {"request_id", request.request_id},
                        {"model", request.model},
                        {"is_running", request.is_running},
                        {"is_pending", request.is_pending},
                        {"queue_position", request.queue_position},
                        {"estimated_wait_ns", request.estimated_wait.count()},
                        {"num_prompt_tokens", request.num_prompt_tokens},
                        {"num_cached_tokens", request.num_cached_tokens},
                        {"num_prefilled_tokens", request.num_prefilled_tokens},
                        {"num_output_tokens", request.num_output_tokens},
                        {"age_ns", request.age.count()},
                        {"time_to_first_token_ns", request.time_to_first_token.count()},
                        {"mean_token_time_ns", request.mean_token_time.count()},
                        {"client", request.client}});
  }
  return requests;
}

ordered_json others_json(const View& view) {
  ordered_json others = ordered_json::array();
  for (const ProcessShare& other : view.others) {
    others.push_back({{"pid", other.pid}, {"name", other.name}, {"cpu_share", other.cpu_share}});
  }
  return others;
}

ordered_json machine_json(const View& view) {
  return {{"cpu_share", view.cpu_share},
          {"core_shares", view.core_shares},
          {"load", view.now.machine.load},
          {"memory_total_bytes", view.now.machine.memory.total_bytes},
          {"memory_available_bytes", view.now.machine.memory.available_bytes},
          {"power_watts", or_null(view.processor_watts)},
          {"clock_mhz", or_null(view.now.machine.clock_mhz)},
          {"temperature_celsius", or_null(view.now.machine.temperature_celsius)},
          {"disk_read_bytes_per_second", view.disk_read_bytes_per_second},
          {"disk_written_bytes_per_second", view.disk_written_bytes_per_second},
          {"other_processes", others_json(view)}};
}

ordered_json process_json(const View& view) {
  if (!view.now.process) return {};
  ordered_json threads = ordered_json::array();
  for (const ThreadShare& thread : view.threads) {
    threads.push_back({{"id", thread.id}, {"name", thread.name}, {"cpu_share", thread.cpu_share}});
  }
  return {{"pid", view.now.process->pid},
          {"cpu_share", view.process_cpu_share},
          {"resident_bytes", view.now.process->resident_bytes},
          {"threads", std::move(threads)}};
}

ordered_json gpu_json(const GpuSample& gpu, const GpuRates& rates) {
  ordered_json processes = ordered_json::array();
  for (const machine::GpuProcess& process : gpu.processes) {
    processes.push_back({{"pid", process.pid},
                         {"memory_bytes", or_null(process.memory_bytes)},
                         {"busy_percent", or_null(process.busy_percent)}});
  }
  return {{"index", gpu.index},
          {"name", gpu.name},
          {"busy_percent", or_null(gpu.busy_percent)},
          {"memory_busy_percent", or_null(gpu.memory_busy_percent)},
          {"memory_used_bytes", or_null(gpu.memory_used_bytes)},
          {"memory_total_bytes", or_null(gpu.memory_total_bytes)},
          {"power_watts", or_null(gpu.power_watts)},
          {"power_limit_watts", or_null(gpu.power_limit_watts)},
          {"temperature_celsius", or_null(gpu.temperature_celsius)},
          {"sm_clock_mhz", or_null(gpu.sm_clock_mhz)},
          {"memory_clock_mhz", or_null(gpu.memory_clock_mhz)},
          {"mean_power_watts", or_null(rates.power_watts)},
          {"energy_joules", or_null(gpu.energy_joules)},
          {"pcie_sent_bytes_per_second", or_null(gpu.pcie_sent_bytes_per_second)},
          {"pcie_received_bytes_per_second", or_null(gpu.pcie_received_bytes_per_second)},
          {"nvlink_sent_bytes_per_second", or_null(rates.nvlink_sent_bytes_per_second)},
          {"nvlink_received_bytes_per_second", or_null(rates.nvlink_received_bytes_per_second)},
          {"processes", std::move(processes)}};
}

}  // namespace

std::string view_json(const View& view) {
  ordered_json gpus = ordered_json::array();
  for (size_t i = 0; i < view.now.gpus.size(); ++i) {
    gpus.push_back(gpu_json(view.now.gpus[i], view.rates_of(i)));
  }
  const std::string& error = view.now.server.error;
  const ordered_json json = {{"url", view.url},
                             {"error", error.empty() ? ordered_json() : ordered_json(error)},
                             {"server", server_json(view)},
                             {"requests", requests_json(view.now.server)},
                             {"machine", machine_json(view)},
                             {"process", process_json(view)},
                             {"gpus", std::move(gpus)}};
  // In ASCII: names come from outside, and a terminal obeys some characters beyond it.
  return json.dump(-1, ' ', true, ordered_json::error_handler_t::replace);
}

}  // namespace sluice::monitor
