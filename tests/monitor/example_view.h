#pragma once

#include "monitor/view.h"

namespace sluice::monitor {

// A server with two models, a reply, a prefill and a queue, on four cores with a GPU.
inline View example_view() {
  View view;
  view.url = "http://127.0.0.1:11434";
  ServerSample& server = view.now.server;
  server.kind = ServerKind::kSluice;
  server.version = "0.1.0";
  server.pid = 77;
  server.uptime = std::chrono::seconds(200);
  server.num_connections = 2;
  server.max_memory_bytes = 8'000'000'000;
  server.used_memory_bytes = 500'000'000;
  ModelSample model;
  model.name = "smollm2:135m";
  model.parameter_size = "134.52M";
  model.quantization = "Q4_1";
  model.backend = "cpu avx2, 2 threads";
  model.context_length = 8192;
  model.weights_bytes = 97'000'000;
  model.cache_bytes = 377'000'000;
  model.num_running = 2;
  model.num_waiting = 2;
  model.num_blocks_total = 64;
  model.num_blocks_used = 32;
  model.num_blocks_cached = 16;
  model.expires_at = "2026-08-21T12:05:00.5Z";
  model.estimated_wait = std::chrono::milliseconds(2500);
  model.num_requests_cancelled = 3;
  model.num_draft_tokens = 200;
  model.num_accepted_tokens = 150;
  model.num_requests_finished = 10;
  model.num_requests_rejected = 1;
  ModelSample loading;
  loading.name = "big:70b";
  loading.is_loading = true;
  loading.load_progress = 0.25;
  loading.num_waiting_for_load = 3;
  server.models = {model, loading};
  const auto request = [](uint64_t id, int place, int prompt, int cached, int prefilled, int output,
                          int age_ms) {
    return RequestSample{.id = id,
                         .model = "smollm2:135m",
                         .is_running = place == 0,
                         .queue_position = place,
                         .estimated_wait = std::chrono::milliseconds(800 * place),
                         .num_prompt_tokens = prompt,
                         .num_cached_tokens = cached,
                         .num_prefilled_tokens = prefilled,
                         .num_output_tokens = output,
                         .age = std::chrono::milliseconds(age_ms)};
  };
  server.requests = {request(17, 0, 640, 32, 640, 120, 3200), request(18, 0, 640, 0, 256, 0, 400),
                     request(19, 1, 12, 0, 0, 0, 65'000), request(20, 2, 14, 0, 0, 0, 100)};
  view.prompt_tokens_per_second = 120.25;
  view.output_tokens_per_second = 61.5;
  view.cache_hit_share = 0.45;
  view.cpu_share = 0.53;
  view.core_shares = {1, 0.9, 0.25, 0};
  view.now.machine.load = {2.05, 1.42, 0.92};
  view.now.machine.memory = {.total_bytes = 24'000'000'000, .available_bytes = 18'000'000'000};
  ProcessSample process;
  process.pid = 77;
  process.resident_bytes = 512'000'000;
  view.now.process = process;
  view.process_cpu_share = 1.9;
  view.threads = {{.id = 1, .name = "cpu-worker-1", .cpu_share = 0.99},
                  {.id = 2, .name = "engine", .cpu_share = 0.9},
                  {.id = 3, .name = "http", .cpu_share = 0.01}};
  GpuSample gpu;
  gpu.name = "NVIDIA H200";
  gpu.busy_percent = 55;
  gpu.memory_used_bytes = 42'000'000'000;
  gpu.memory_total_bytes = 150'000'000'000;
  gpu.power_watts = 300.4;
  gpu.power_limit_watts = 700;
  gpu.temperature_celsius = 45;
  gpu.sm_clock_mhz = 1980;
  view.now.gpus = {gpu};
  return view;
}

}  // namespace sluice::monitor
