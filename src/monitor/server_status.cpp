#include "monitor/server_status.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace sluice::monitor {
namespace {

using nlohmann::json;

constexpr size_t kMaxRequests = 10'000;

const json& member(const json& object, const char* name) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(name);
  return found == object.end() ? kNothing : *found;
}

std::string text_of(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool flag_of(const json& object, const char* name) { return member(object, name) == true; }

double fraction_of(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_number() ? std::clamp(value.get<double>(), 0.0, 1.0) : 0.0;
}

uint64_t count_of(const json& object, const char* name) {
  const json& value = member(object, name);
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  return 0;
}

int int_of(const json& object, const char* name) {
  constexpr uint64_t kMost = std::numeric_limits<int>::max();
  return static_cast<int>(std::min(count_of(object, name), kMost));
}

std::chrono::nanoseconds duration_of(const json& object, const char* name) {
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  return std::chrono::nanoseconds(static_cast<int64_t>(std::min(count_of(object, name), kMost)));
}

void read_engine(const json& engine, ModelSample& model) {
  for (const engine::Counter& counter : engine::engine_counters()) {
    counter.set(model, count_of(engine, counter.name));
  }
}

std::vector<ModelPart> read_parts(const json& list) {
  constexpr size_t kMostParts = 64;
  std::vector<ModelPart> parts;
  for (const json& part : list) {
    if (parts.size() == kMostParts) break;
    parts.push_back({.device = text_of(part, "device"),
                     .num_layers = int_of(part, "layers"),
                     .weights_bytes = count_of(part, "weights"),
                     .cache_bytes = count_of(part, "cache"),
                     .workspace_bytes = count_of(part, "workspace")});
  }
  return parts;
}

ModelSample read_model(const json& object) {
  ModelSample model;
  model.name = text_of(object, "name");
  model.parameter_size = text_of(object, "parameter_size");
  model.quantization = text_of(object, "quantization");
  model.backend = text_of(object, "backend");
  model.is_loading = flag_of(object, "is_loading");
  model.load_progress = fraction_of(object, "load_progress");
  model.num_waiting_for_load = int_of(object, "num_waiting_for_load");
  model.context_length = int_of(object, "context_length");
  model.expires_at = text_of(object, "expires_at");
  const json& memory = member(object, "memory");
  model.weights_bytes = count_of(memory, "weights");
  model.cache_bytes = count_of(memory, "cache");
  model.workspace_bytes = count_of(memory, "workspace");
  model.on_device_bytes = count_of(memory, "on_device");
  model.parts = read_parts(member(object, "parts"));
  read_engine(member(object, "engine"), model);
  return model;
}

RequestSample read_request(const json& object, const std::string& model) {
  // Each engine has ids of its own; the server's number is one for all of a request's prompts.
  const bool has_number = member(object, "number").is_number_unsigned();
  return {.id = count_of(object, has_number ? "number" : "id"),
          .model = model,
          .is_running = flag_of(object, "is_running"),
          .queue_position = int_of(object, "queue_position"),
          .estimated_wait = duration_of(object, "estimated_wait_ns"),
          .num_prompt_tokens = int_of(object, "num_prompt_tokens"),
          .num_cached_tokens = int_of(object, "num_cached_tokens"),
          .num_prefilled_tokens = int_of(object, "num_prefilled_tokens"),
          .num_output_tokens = int_of(object, "num_output_tokens"),
          .age = duration_of(object, "age_ns"),
          .time_to_first_token = duration_of(object, "time_to_first_token_ns"),
          .mean_token_time = duration_of(object, "mean_token_time_ns"),
          .client = text_of(object, "client"),
          .request_id = text_of(object, "request_id")};
}

// Of a histogram's values, within its bucket by a straight line; NaN without any.
double histogram_percentile(const json& histogram, double share) {
  const json& bounds = member(histogram, "bounds");
  const json& counts = member(histogram, "counts");
  if (!bounds.is_array() || !counts.is_array()) return LatencySample::kUnknown;
  const auto number = [](const json& value) { return value.is_number() ? value.get<double>() : 0; };
  double total = 0;
  for (const json& count : counts) total += number(count);
  double below = 0;
  for (size_t i = 0; i < std::min(bounds.size(), counts.size()) && total > 0; ++i) {
    const double count = number(counts[i]);
    const double upper = number(bounds[i]), lower = i > 0 ? number(bounds[i - 1]) : 0;
    if (count > 0 && below + count >= share * total) {
      return lower + (upper - lower) * (share * total - below) / count;
    }
    below += count;
  }
  // Beyond the last bound.
  return total > 0 && !bounds.empty() ? number(bounds.back()) : LatencySample::kUnknown;
}

LatencySample read_latency(const json& histograms) {
  const json& ttft = member(histograms, "time_to_first_token_seconds");
  const json& itl = member(histograms, "inter_token_latency_seconds");
  return {.ttft_p50 = histogram_percentile(ttft, 0.5),
          .ttft_p95 = histogram_percentile(ttft, 0.95),
          .itl_p50 = histogram_percentile(itl, 0.5),
          .itl_p95 = histogram_percentile(itl, 0.95)};
}

void read_requests(const json& engine, ServerSample& sample) {
  for (const json& request : member(engine, "requests")) {
    if (sample.requests.size() >= kMaxRequests) return;
    sample.requests.push_back(read_request(request, sample.models.back().name));
  }
}

void read_pending(const json& list, ServerSample& sample) {
  for (const json& request : list) {
    if (sample.requests.size() >= kMaxRequests) return;
    sample.requests.push_back(read_request(request, text_of(request, "model")));
    sample.requests.back().is_pending = true;
  }
}

ServerSample unreadable(const std::string& error) {
  ServerSample sample;
  sample.error = error;
  return sample;
}

}  // namespace

ServerSample parse_status(std::string_view json_text) {
  const json body = json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) return unreadable("the server's status is no JSON object");
  ServerSample sample;
  sample.kind = ServerKind::kSluice;
  sample.version = text_of(body, "version");
  sample.pid = int_of(body, "pid");
  sample.uptime = duration_of(body, "uptime_ns");
  sample.num_connections = int_of(body, "num_connections");
  sample.is_draining = flag_of(body, "is_draining");
  sample.max_memory_bytes = count_of(body, "max_memory_bytes");
  sample.used_memory_bytes = count_of(body, "used_memory_bytes");
  sample.latency = read_latency(member(member(body, "totals"), "histograms"));
  for (const json& model : member(body, "models")) {
    sample.models.push_back(read_model(model));
    read_requests(member(model, "engine"), sample);
  }
  std::stable_sort(sample.requests.begin(), sample.requests.end(),
                   [](const RequestSample& a, const RequestSample& b) {
                     return a.queue_position < b.queue_position;
                   });
  read_pending(member(body, "pending"), sample);
  return sample;
}

ServerSample parse_ps(std::string_view json_text) {
  const json body = json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) return unreadable("the server's list of models is no JSON object");
  ServerSample sample;
  sample.kind = ServerKind::kOllama;
  for (const json& object : member(body, "models")) {
    ModelSample model;
    model.name = text_of(object, "name");
    const json& details = member(object, "details");
    model.parameter_size = text_of(details, "parameter_size");
    model.quantization = text_of(details, "quantization_level");
    model.context_length = int_of(object, "context_length");
    model.weights_bytes = count_of(object, "size");
    model.expires_at = text_of(object, "expires_at");
    sample.models.push_back(std::move(model));
  }
  return sample;
}

ServerSample sample_server(http::Client& client) {
  try {
    const http::Response status = client.send({.target = "/api/sluice/status"});
    if (status.status == 200) return parse_status(status.body);
    const http::Response ps = client.send({.target = "/api/ps"});
    if (status.status == 401 || status.status == 403) {
      return unreadable("the server wants an API key of the scope metrics: set SLUICE_API_KEY");
    }
    if (ps.status != 200) {
      return unreadable("the server answers, but tells no status (HTTP " +
                        std::to_string(status.status) + ")");
    }
    ServerSample sample = parse_ps(ps.body);
    const http::Response version = client.send({.target = "/api/version"});
    sample.version =
        text_of(json::parse(version.body, nullptr, /*allow_exceptions=*/false), "version");
    return sample;
  } catch (const Error& error) {
    return unreadable(error.what());
  }
}

}  // namespace sluice::monitor
