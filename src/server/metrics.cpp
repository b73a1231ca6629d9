#include "server/metrics.h"

#include <array>
#include <string_view>

#include "backend/backend.h"
#include "server/prometheus_text.h"
#include "server/version.h"

namespace sluice::server {
namespace {

using engine::EngineCounts;
using engine::EngineTotals;
using engine::FinishReason;
using Type = PrometheusText::Type;

// One model's row in every family.
struct ModelRow {
  std::string name;
  EngineCounts counts;
  const ModelStatus* status = nullptr;  // null: unloaded
};

// Who waits for the model to load is queued as well. Without any model a row without a name says
// that nothing runs: who watches the gauges takes their absence for a server that is lost.
std::vector<ModelRow> model_rows(const MetricsFacts& facts) {
  std::map<std::string, ModelRow> rows;
  for (const auto& [name, totals] : facts.totals) {
    static_cast<EngineTotals&>(rows[name].counts) = totals;
  }
  for (const ModelStatus& model : facts.models) {
    ModelRow& row = rows[model.record->name.short_name()];
    static_cast<engine::EngineGauges&>(row.counts) = model.engine;
    row.counts.num_waiting += model.num_waiting_for_load;
    row.status = &model;
  }
  std::vector<ModelRow> list;
  for (auto& [name, row] : rows) {
    row.name = name;
    list.push_back(std::move(row));
  }
  if (list.empty()) list.emplace_back();
  return list;
}

double usage_ratio(const EngineCounts& counts) {
  if (counts.num_blocks_total <= 0) return 0;
  return static_cast<double>(counts.num_blocks_used) / counts.num_blocks_total;
}

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

class MetricsWriter {
 public:
  explicit MetricsWriter(const MetricsFacts& facts) : facts_(facts), rows_(model_rows(facts)) {}

  void write_server() {
    gauge("build_info", "the version that runs", {{"version", kVersion}}, 1);
    gauge("connections", "open connections", {}, facts_.server.num_connections);
    gauge("draining", "1 when the server is about to end and takes no more requests", {},
          facts_.server.is_draining ? 1 : 0);
    gauge("max_memory_bytes", "what all models together may take; 0: no bound of our own", {},
          static_cast<double>(facts_.server.max_memory_bytes));
    begin("http_requests_total", Type::kCounter, "requests answered, by route and status");
    for (const HttpCount& http : facts_.http) {
      const std::string code = std::to_string(http.status);
      text_.add({{"method", http.method}, {"route", http.route}, {"code", code}}, http.count);
    }
  }

  void write_models() {
    for (const engine::Counter& counter : engine::engine_counters()) {
      const bool is_gauge = counter.kind == engine::CounterKind::kGauge;
      begin(counter.metric, is_gauge ? Type::kGauge : Type::kCounter, counter.help);
      const bool is_time = counter.unit == engine::CounterUnit::kNanoseconds;
      for (const ModelRow& row : rows_) {
        const uint64_t value = counter.get(row.counts);
        if (is_time) {
          text_.add(labels(row), static_cast<double>(value) / 1e9);
        } else {
          text_.add(labels(row), value);
        }
      }
    }
    begin("request_ends_total", Type::kCounter, "requests that ended, by the reason");
    for (const ModelRow& row : rows_) {
      for (size_t i = 0; i < row.counts.num_ended.size(); ++i) {
        const auto reason = engine::finish_reason_name(static_cast<FinishReason>(i));
        text_.add({{"model_name", row.name}, {"reason", reason}}, row.counts.num_ended[i]);
      }
    }
    for (const engine::HistogramInfo& info : engine::engine_histograms()) {
      begin(info.metric, Type::kHistogram, info.help);
      for (const ModelRow& row : rows_) text_.add(labels(row), row.counts.*info.member);
    }
    begin("kv_cache_usage_ratio", Type::kGauge, "share of the cache held by running requests");
    for (const ModelRow& row : rows_) text_.add(labels(row), usage_ratio(row.counts));
    write_loaded();
  }

  void write_process() {
    const machine::OwnProcess& process = facts_.process;
    begin_plain("process_cpu_seconds_total", Type::kCounter, "CPU time, user and system");
    text_.add({}, process.cpu_seconds);
    begin_plain("process_resident_memory_bytes", Type::kGauge, "memory that is held");
    text_.add({}, process.resident_bytes);
    begin_plain("process_virtual_memory_bytes", Type::kGauge, "addresses that are taken");
    text_.add({}, process.virtual_bytes);
    begin_plain("process_threads", Type::kGauge, "threads");
    text_.add({}, process.num_threads);
    begin_plain("process_open_fds", Type::kGauge, "open file descriptors");
    text_.add({}, process.num_open_files);
    begin_plain("process_max_fds", Type::kGauge, "most open file descriptors");
    text_.add({}, process.max_open_files);
    begin_plain("process_start_time_seconds", Type::kGauge, "start, in seconds since 1970");
    text_.add({}, process.start_time_seconds);
  }

  // Nothing where there is none. What a card does not tell is left out.
  void write_gpus() {
    using machine::GpuSample;
    const auto family = [&](std::string_view name, std::string_view help, auto member,
                            double factor, Type type = Type::kGauge) {
      begin(name, type, help);
      for (const GpuSample& gpu : facts_.gpus) {
        const std::string index = std::to_string(gpu.index);
        if (!(gpu.*member)) continue;
        text_.add({{"gpu", index}, {"name", gpu.name}},
                  static_cast<double>(*(gpu.*member)) * factor);
      }
    };
    if (facts_.gpus.empty()) return;
    family("gpu_utilization_ratio", "share of time in which something ran on the card",
           &GpuSample::busy_percent, 0.01);
    family("gpu_memory_utilization_ratio", "share of time in which its memory was used",
           &GpuSample::memory_busy_percent, 0.01);
    family("gpu_memory_used_bytes", "memory taken", &GpuSample::memory_used_bytes, 1);
    family("gpu_memory_bytes", "memory of the card", &GpuSample::memory_total_bytes, 1);
    family("gpu_power_watts", "power drawn", &GpuSample::power_watts, 1);
    family("gpu_energy_joules_total", "energy drawn since the driver was loaded",
           &GpuSample::energy_joules, 1, Type::kCounter);
    family("gpu_power_limit_watts", "most power", &GpuSample::power_limit_watts, 1);
    family("gpu_temperature_celsius", "temperature", &GpuSample::temperature_celsius, 1);
    family("gpu_clock_hertz", "clock of its multiprocessors", &GpuSample::sm_clock_mhz, 1e6);
    family("gpu_memory_clock_hertz", "clock of its memory", &GpuSample::memory_clock_mhz, 1e6);
  }

  void write_vllm();

  std::string take() { return text_.take(); }

 private:
  static PrometheusText::Labels labels(const ModelRow& row) { return {{"model_name", row.name}}; }

  void begin(std::string_view name, Type type, std::string_view help) {
    begin_plain("sluice_" + std::string(name), type, help);
  }
  void begin_plain(std::string_view name, Type type, std::string_view help) {
    text_.begin_family(name, type, help);
  }
  void gauge(std::string_view name, std::string_view help, const PrometheusText::Labels& labels,
             double value) {
    begin(name, Type::kGauge, help);
    text_.add(labels, value);
  }

  // Of models in memory, or on the way there.
  template <typename Visit>
  void for_loaded(std::string_view name, std::string_view help, Visit visit) {
    begin(name, Type::kGauge, help);
    for (const ModelRow& row : rows_) {
      if (row.status) visit(row, *row.status);
    }
  }

  void write_loaded() {
    for_loaded("model_info", "what the model is", [&](const ModelRow& row, const ModelStatus& s) {
      const std::string digest = s.record->digest.hex();
      const auto& config = s.record->config;
      text_.add({{"model_name", row.name},
                 {"digest", digest},
                 {"family", config.family},
                 {"parameter_size", config.parameter_size},
                 {"quantization", config.quantization},
                 {"backend", s.backend_description}},
                1);
    });
    for_loaded("model_load_progress_ratio", "1 when it is in memory",
               [&](const ModelRow& row, const ModelStatus& s) {
                 text_.add(labels(row), s.is_loading ? s.load_progress : 1.0);
               });
    for_loaded("model_load_seconds", "how long it took to load",
               [&](const ModelRow& row, const ModelStatus& s) {
                 text_.add(labels(row), seconds(s.load_duration));
               });
    for_loaded("model_memory_bytes", "what it takes",
               [&](const ModelRow& row, const ModelStatus& s) {
                 const auto part = [&](std::string_view kind, uint64_t bytes) {
                   text_.add({{"model_name", row.name}, {"kind", kind}}, bytes);
                 };
                 part("weights", s.memory.weights);
                 part("cache", s.memory.cache);
                 part("workspace", s.memory.workspace);
               });
    for_loaded("model_device_memory_bytes", "of what it takes, in a GPU's own memory",
               [&](const ModelRow& row, const ModelStatus& s) {
                 text_.add(labels(row), uint64_t{s.memory.on_device});
               });
    for_loaded("cache_config_info", "shape of the cache: tokens of a block, blocks",
               [&](const ModelRow& row, const ModelStatus&) { add_cache_config(row, {}); });
  }

  void add_cache_config(const ModelRow& row, const PrometheusText::Labels& more,
                        std::string_view blocks_label = "num_blocks") {
    const std::string block_size = std::to_string(backend::kBlockTokens);
    const std::string num_blocks = std::to_string(row.counts.num_blocks_total);
    PrometheusText::Labels all = labels(row);
    all.insert(all.end(), more.begin(), more.end());
    all.emplace_back("block_size", block_size);
    all.emplace_back(blocks_label, num_blocks);
    text_.add(all, 1);
  }

  const MetricsFacts& facts_;
  const std::vector<ModelRow> rows_;
  PrometheusText text_;
};

// vLLM's name for a histogram of ours.
struct HistogramAlias {
  std::string_view name;
  engine::Histogram EngineTotals::*member;
};
constexpr std::array kVllmHistograms = {
    HistogramAlias{"time_to_first_token_seconds", &EngineTotals::time_to_first_token},
    HistogramAlias{"inter_token_latency_seconds", &EngineTotals::inter_token_time},
    HistogramAlias{"time_per_output_token_seconds",
                   &EngineTotals::inter_token_time},  // its old one
    HistogramAlias{"request_time_per_output_token_seconds", &EngineTotals::time_per_token},
    HistogramAlias{"e2e_request_latency_seconds", &EngineTotals::request_time},
    HistogramAlias{"request_queue_time_seconds", &EngineTotals::queue_time},
    HistogramAlias{"request_prefill_time_seconds", &EngineTotals::prefill_time},
    HistogramAlias{"request_decode_time_seconds", &EngineTotals::decode_time},
    HistogramAlias{"request_inference_time_seconds", &EngineTotals::inference_time},
    HistogramAlias{"request_prompt_tokens", &EngineTotals::prompt_length},
    HistogramAlias{"request_generation_tokens", &EngineTotals::reply_length},
    HistogramAlias{"request_params_max_tokens", &EngineTotals::reply_limit},
    HistogramAlias{"iteration_tokens_total", &EngineTotals::step_rows},
};

// How vLLM groups the ends of requests.
constexpr std::array<std::string_view, 4> kVllmReasons = {"stop", "length", "abort", "error"};

std::string_view vllm_reason(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEndOfSequence:
    case FinishReason::kStopString:
    case FinishReason::kEmbedded:
      return "stop";
    case FinishReason::kMaxTokens:
    case FinishReason::kContextFull:
      return "length";
    case FinishReason::kCancelled:
    case FinishReason::kDeadline:
      return "abort";
    case FinishReason::kError:
      break;
  }
  return "error";
}

uint64_t num_ended(const EngineTotals& totals, std::string_view reason) {
  uint64_t count = 0;
  for (size_t i = 0; i < totals.num_ended.size(); ++i) {
    if (vllm_reason(static_cast<FinishReason>(i)) == reason) count += totals.num_ended[i];
  }
  return count;
}

// A request asks for one reply: as a histogram.
engine::Histogram replies_wanted(const EngineTotals& totals) {
  engine::Histogram histogram(engine::kTokenCounts);
  histogram.counts[0] = totals.reply_length.num_values();
  histogram.sum = static_cast<double>(histogram.counts[0]);
  return histogram;
}

void MetricsWriter::write_vllm() {
  const auto both = [](const ModelRow& row) {
    return PrometheusText::Labels{{"engine", "0"}, {"model_name", row.name}};
  };
  const auto family = [&](std::string_view name, Type type, std::string_view help, auto value) {
    begin_plain("vllm:" + std::string(name), type, help);
    for (const ModelRow& row : rows_) text_.add(both(row), value(row.counts));
  };
  const auto gauge_of = [&](std::string_view name, std::string_view help, auto value) {
    family(name, Type::kGauge, help, value);
  };
  const auto total_of = [&](std::string_view name, std::string_view help, auto value) {
    family(name, Type::kCounter, help, value);
  };
  using Counts = const EngineCounts&;
  gauge_of("num_requests_running", "requests that run", [](Counts c) { return c.num_running; });
  gauge_of("num_requests_waiting", "requests in the queue", [](Counts c) { return c.num_waiting; });
  gauge_of("kv_cache_usage_perc", "share of the cache in use, 1 is all", usage_ratio);
  gauge_of("gpu_cache_usage_perc", "the same by its old name", usage_ratio);
  total_of("num_preemptions_total", "requests that were preempted",
           [](Counts c) { return c.num_preemptions; });
  const auto num_prompt_tokens = [](Counts c) { return c.num_prompt_tokens + c.num_cached_tokens; };
  total_of("prompt_tokens_total", "tokens of prompts", num_prompt_tokens);
  total_of("generation_tokens_total", "tokens sampled",
           [](Counts c) { return c.num_output_tokens; });
  total_of("prefix_cache_queries_total", "tokens looked up in the prefix cache", num_prompt_tokens);
  total_of("prefix_cache_hits_total", "tokens found there",
           [](Counts c) { return c.num_cached_tokens; });
  total_of("admission_rejections_total", "requests refused because the queue was full",
           [](Counts c) { return c.num_requests_rejected; });
  begin_plain("vllm:request_success_total", Type::kCounter, "requests that ended");
  for (const ModelRow& row : rows_) {
    for (const std::string_view reason : kVllmReasons) {
      PrometheusText::Labels all = both(row);
      all.emplace_back("finished_reason", reason);
      text_.add(all, num_ended(row.counts, reason));
    }
  }
  for (const HistogramAlias& alias : kVllmHistograms) {
    family(alias.name, Type::kHistogram, "as the histogram of sluice that is alike",
           [&](Counts c) -> const engine::Histogram& { return c.*alias.member; });
  }
  family("request_params_n", Type::kHistogram, "replies wanted of a request", replies_wanted);
  begin_plain("vllm:cache_config_info", Type::kGauge, "shape of the cache");
  for (const ModelRow& row : rows_) {
    if (row.status) add_cache_config(row, {{"engine", "0"}}, "num_gpu_blocks");
  }
}

}  // namespace

std::string encode_metrics(const MetricsFacts& facts, MetricsCompat compat) {
  MetricsWriter writer(facts);
  writer.write_server();
  writer.write_models();
  writer.write_process();
  writer.write_gpus();
  if (compat == MetricsCompat::kVllm) writer.write_vllm();
  return writer.take();
}

}  // namespace sluice::server
