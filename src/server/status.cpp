#include "server/status.h"

#include <unistd.h>

#include <set>

#include "api/json.h"
#include "base/memory.h"
#include "base/units.h"
#include "server/version.h"

namespace sluice::server {
namespace {

using api::Json;

Json request_json(const ServerFacts& facts, const engine::RequestStatus& request) {
  const auto found = facts.sources.find(request.tag);
  const RequestSource source = found == facts.sources.end() ? RequestSource{} : found->second;
  return {{"id", request.id},
          {"number", request.tag},
          {"request_id", source.id},
          {"is_running", request.is_running},
          {"queue_position", request.queue_position},
          {"estimated_wait_ns", request.estimated_wait.count()},
          {"num_prompt_tokens", request.num_prompt_tokens},
          {"num_cached_tokens", request.num_cached_tokens},
          {"num_prefilled_tokens", request.num_prefilled_tokens},
          {"num_output_tokens", request.num_output_tokens},
          {"age_ns", request.age.count()},
          {"time_to_first_token_ns", request.time_to_first_token.count()},
          {"mean_token_time_ns", request.mean_token_time.count()},
          {"client", source.client}};
}

Json histograms_json(const engine::EngineTotals& totals) {
  Json json = Json::object();
  for (const engine::HistogramInfo& info : engine::engine_histograms()) {
    const engine::Histogram& histogram = totals.*info.member;
    const size_t num_bounds = histogram.bounds.size();
    json[info.metric] = {{"bounds", histogram.bounds},
                         {"counts", std::span(histogram.counts).first(num_bounds + 1)},
                         {"sum", histogram.sum}};
  }
  return json;
}

Json engine_json(const ServerFacts& facts, const engine::EngineStats& stats) {
  Json json = Json::object();
  for (const engine::Counter& counter : engine::engine_counters()) {
    json[counter.name] = counter.get(stats);
  }
  json["histograms"] = histograms_json(stats);
  Json requests = Json::array();
  for (const auto& request : stats.requests) requests.push_back(request_json(facts, request));
  json["requests"] = std::move(requests);
  return json;
}

Json pending_json(const ServerFacts& facts, const std::vector<ModelStatus>& models) {
  std::set<uint64_t> listed;
  for (const ModelStatus& model : models) {
    for (const auto& request : model.engine.requests) listed.insert(request.tag);
  }
  Json list = Json::array();
  for (const auto& [number, source] : facts.sources) {
    if (list.size() == kMostPending) break;
    if (listed.contains(number)) continue;
    list.push_back({{"number", number},
                    {"request_id", source.id},
                    {"model", source.model},
                    {"client", source.client},
                    {"age_ns", source.age.count()}});
  }
  return list;
}

Json totals_json(const engine::EngineTotals& totals) {
  Json json = Json::object();
  for (const engine::Counter& counter : engine::engine_counters()) {
    if (counter.kind == engine::CounterKind::kTotal) json[counter.name] = counter.get({{}, totals});
  }
  json["histograms"] = histograms_json(totals);
  return json;
}

}  // namespace

Json parts_json(const std::vector<LoadedModel::Part>& parts) {
  Json list = Json::array();
  for (const LoadedModel::Part& part : parts) {
    list.push_back({{"device", part.device},
                    {"layers", part.num_layers},
                    {"weights", part.memory.weights},
                    {"cache", part.memory.cache},
                    {"workspace", part.memory.workspace}});
  }
  return list;
}

namespace {

Json model_json(const ServerFacts& facts, const ModelStatus& model) {
  const CatalogRecord& record = *model.record;
  Json json = {{"name", record.name.short_name()},
               {"digest", record.digest.hex()},
               {"size_bytes", record.size_bytes},
               {"family", record.config.family},
               {"parameter_size", record.config.parameter_size},
               {"quantization", record.config.quantization},
               {"is_loading", model.is_loading},
               {"load_progress", model.load_progress},
               {"num_waiting_for_load", model.num_waiting_for_load}};
  if (model.is_loading) return json;
  json["num_leases"] = model.num_leases;
  json["context_length"] = model.context_length;
  json["backend"] = model.backend_description;
  json["memory"] = {{"weights", model.memory.weights},
                    {"cache", model.memory.cache},
                    {"workspace", model.memory.workspace},
                    {"on_device", model.memory.on_device}};
  if (!model.parts.empty()) json["parts"] = parts_json(model.parts);
  json["load_duration_ns"] = model.load_duration.count();
  json["expires_at"] =
      model.stays_for_ever ? Json(nullptr) : Json(format_rfc3339(model.expires_at));
  json["engine"] = engine_json(facts, model.engine);
  return json;
}

}  // namespace

std::string encode_status(const ServerFacts& facts, const std::vector<ModelStatus>& models) {
  int num_running = 0;
  int num_waiting = 0;
  uint64_t used_bytes = 0;
  Json list = Json::array();
  for (const ModelStatus& model : models) {
    num_running += model.engine.num_running;
    num_waiting += model.engine.num_waiting + model.num_waiting_for_load;
    used_bytes += uint64_t{model.memory.weights} + model.memory.cache + model.memory.workspace -
                  model.memory.on_device;
    list.push_back(model_json(facts, model));
  }
  return api::dump_json({{"version", kVersion},
                         {"pid", getpid()},
                         {"uptime_ns", facts.uptime.count()},
                         {"resident_bytes", resident_memory_bytes()},
                         {"available_bytes", available_memory_bytes()},
                         {"num_threads", num_process_threads()},
                         {"num_connections", facts.num_connections},
                         {"is_draining", facts.is_draining},
                         {"max_memory_bytes", facts.max_memory_bytes},
                         {"used_memory_bytes", used_bytes},
                         {"num_running", num_running},
                         {"num_waiting", num_waiting},
                         {"totals", totals_json(facts.totals)},
                         {"models", std::move(list)},
                         {"pending", pending_json(facts, models)}});
}

}  // namespace sluice::server
