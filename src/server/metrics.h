#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/counters.h"
#include "machine/gpu.h"
#include "machine/proc.h"
#include "server/journal.h"
#include "server/model_manager.h"
#include "server/status.h"

namespace sluice::server {

// Whose names stand beside ours.
enum class MetricsCompat {
  kNone,
  kVllm,  // vLLM's: its dashboards, and what scales or balances by its metrics, work as they are
};

struct MetricsFacts {
  ServerFacts server;
  std::vector<ModelStatus> models;
  std::map<std::string, engine::EngineTotals> totals;  // by name, also of models that are gone
  machine::OwnProcess process;
  std::vector<machine::GpuSample> gpus;
  std::vector<HttpCount> http;
};

// The document of GET /metrics, for Prometheus. What it holds of each model is in
// engine/counters.h, with the label model_name; a model's totals stay when it is unloaded. The
// Kubernetes gateway's inference extension finds its three gauges in sluice_requests_waiting,
// sluice_requests_running and sluice_kv_cache_usage_ratio, the cache's shape in the labels of
// sluice_cache_config_info.
std::string encode_metrics(const MetricsFacts& facts, MetricsCompat compat);

}  // namespace sluice::server
