#include "server/status.h"

#include <unistd.h>

#include "api/json.h"
#include "base/memory.h"
#include "base/units.h"
#include "server/version.h"

namespace sluice::server {
namespace {

using api::Json;

Json request_json(const engine::RequestStatus& request) {
  return {{"id", request.id},
          {"is_running", request.is_running},
          {"queue_position", request.queue_position},
          {"estimated_wait_ns", request.estimated_wait.count()},
          {"num_prompt_tokens", request.num_prompt_tokens},
          {"num_cached_tokens", request.num_cached_tokens},
          {"num_prefilled_tokens", request.num_prefilled_tokens},
          {"num_output_tokens", request.num_output_tokens},
          {"age_ns", request.age.count()}};
}

Json engine_json(const engine::EngineStats& stats) {
  Json requests = Json::array();
  for (const auto& request : stats.requests) requests.push_back(request_json(request));
  return {{"num_running", stats.num_running},
          {"num_waiting", stats.num_waiting},
          {"num_blocks_total", stats.num_blocks_total},
          {"num_blocks_used", stats.num_blocks_used},
          {"num_blocks_cached", stats.num_blocks_cached},
          {"estimated_wait_ns", stats.estimated_wait.count()},
          {"num_requests_finished", stats.num_requests_finished},
          {"num_requests_cancelled", stats.num_requests_cancelled},
          {"num_requests_rejected", stats.num_requests_rejected},
          {"num_prompt_tokens", stats.num_prompt_tokens},
          {"num_cached_tokens", stats.num_cached_tokens},
          {"num_output_tokens", stats.num_output_tokens},
          {"num_draft_tokens", stats.num_draft_tokens},
          {"num_accepted_tokens", stats.num_accepted_tokens},
          {"num_steps", stats.num_steps},
          {"num_preemptions", stats.num_preemptions},
          {"forward_time_ns", stats.forward_time.count()},
          {"schedule_time_ns", stats.schedule_time.count()},
          {"requests", std::move(requests)}};
}

Json model_json(const ModelStatus& model) {
  Json json = {{"name", model.record.name.short_name()},
               {"digest", model.record.digest.hex()},
               {"size_bytes", model.record.size_bytes},
               {"family", model.record.config.family},
               {"parameter_size", model.record.config.parameter_size},
               {"quantization", model.record.config.quantization},
               {"is_loading", model.is_loading},
               {"load_progress", model.load_progress},
               {"num_waiting_for_load", model.num_waiting_for_load}};
  if (model.is_loading) return json;
  json["num_leases"] = model.num_leases;
  json["context_length"] = model.context_length;
  json["backend"] = model.backend_description;
  json["memory"] = {{"weights", model.memory.weights},
                    {"cache", model.memory.cache},
                    {"workspace", model.memory.workspace}};
  json["load_duration_ns"] = model.load_duration.count();
  json["expires_at"] =
      model.stays_for_ever ? Json(nullptr) : Json(format_rfc3339(model.expires_at));
  json["engine"] = engine_json(model.engine);
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
    used_bytes += uint64_t{model.memory.weights} + model.memory.cache + model.memory.workspace;
    list.push_back(model_json(model));
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
                         {"models", std::move(list)}});
}

}  // namespace sluice::server
