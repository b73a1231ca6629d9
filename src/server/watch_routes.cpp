#include "server/watch_routes.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "api/json_writer.h"
#include "base/error.h"
#include "server/model_request.h"
#include "server/prometheus_text.h"
#include "server/request_report.h"
#include "server/status.h"

namespace sluice::server {
namespace {

ServerFacts server_facts(const ServerContext& context) {
  ServerFacts facts;
  facts.uptime = std::chrono::steady_clock::now() - context.started;
  facts.num_connections = context.num_connections();
  facts.is_draining = context.is_draining;
  facts.max_memory_bytes = context.models.max_memory_bytes();
  facts.totals = context.models.totals();
  const auto now = std::chrono::system_clock::now();
  for (const LiveRequest& live : context.journal.live()) {
    const std::string& client = live.key.empty() ? live.address : live.key;
    const auto age = std::max(now - live.arrived_at, std::chrono::system_clock::duration::zero());
    facts.sources.emplace(live.number, RequestSource{live.id, client, live.model, age});
  }
  return facts;
}

// Nothing of what a card, or the machine, does not tell.
template <typename Value>
void add_told(api::JsonObject& json, std::string_view name, const std::optional<Value>& value) {
  if (value) json.add(name, *value);
}

std::string gpu_text(const machine::GpuSample& gpu) {
  api::JsonObject json;
  json.add("index", gpu.index);
  json.add("name", gpu.name);
  if (gpu.busy_percent) json.add("busy_ratio", *gpu.busy_percent / 100.0);
  add_told(json, "memory_used_bytes", gpu.memory_used_bytes);
  add_told(json, "memory_bytes", gpu.memory_total_bytes);
  add_told(json, "power_watts", gpu.power_watts);
  add_told(json, "power_limit_watts", gpu.power_limit_watts);
  add_told(json, "temperature_celsius", gpu.temperature_celsius);
  add_told(json, "clock_mhz", gpu.sm_clock_mhz);
  add_told(json, "memory_clock_mhz", gpu.memory_clock_mhz);
  add_told(json, "energy_joules", gpu.energy_joules);
  return json.take();
}

// All that took any time, but this one: whoever looks twice knows who takes the cores.
std::string other_processes_text() {
  api::JsonList list;
  for (const machine::ProcessTicks& process : machine::sample_all_processes()) {
    if (process.ticks == 0 || process.pid == ::getpid()) continue;
    api::JsonObject json;
    json.add("pid", process.pid);
    json.add("name", process.name);
    json.add("cpu_s", static_cast<double>(process.ticks) / machine::ticks_per_second());
    list.add_json(json.take());
  }
  return list.take();
}

std::string process_text(const machine::ProcessSample& process) {
  api::JsonList threads;
  for (const machine::ThreadSample& thread : process.threads) {
    api::JsonObject json;
    json.add("id", thread.id);
    json.add("name", thread.name);
    json.add("cpu_s", static_cast<double>(thread.ticks) / machine::ticks_per_second());
    threads.add_json(json.take());
  }
  api::JsonObject json;
  json.add("resident_bytes", process.resident_bytes);
  json.add_json("threads", threads.take());
  return json.take();
}

constexpr size_t kUsualList = 100;

size_t limit_of(const HttpRequest& request) {
  const auto text = query_parameter(request.query, "limit");
  if (!text) return kUsualList;
  size_t limit = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), limit);
  if (error != std::errc() || end != text->data() + text->size() || limit == 0) {
    throw Error(ErrorCode::kInvalidArgument, "limit must be a whole number from 1 on");
  }
  return limit;
}

}  // namespace

Reply say_status(const ServerContext& context, const HttpRequest&, Work&) {
  std::vector<ModelStatus> models = context.models.status();
  for (ModelStatus& model : models) model.context_length = usual_context(context, model);
  return json_reply(encode_status(server_facts(context), models));
}

Reply say_metrics(const ServerContext& context, const HttpRequest&, Work&) {
  MetricsFacts facts;
  facts.server = server_facts(context);
  facts.models = context.models.status();
  facts.totals = context.models.totals_by_name();
  facts.process = machine::sample_own_process();
  facts.gpus = context.gpus.sample();
  facts.http = context.journal.counts();
  return Reply{200,
               std::string(PrometheusText::kContentType),
               encode_metrics(facts, context.metrics_compat),
               {}};
}

Reply say_machine(const ServerContext& context, const HttpRequest&, Work&) {
  const machine::MachineSample sample = machine::sample_machine();
  const double second = machine::ticks_per_second();
  api::JsonList cores;
  for (const machine::CpuTimes& times : sample.cpu.cores) {
    api::JsonObject core;
    core.add("busy_s", static_cast<double>(times.busy) / second);
    core.add("total_s", static_cast<double>(times.total) / second);
    cores.add_json(core.take());
  }
  api::JsonObject memory;
  memory.add("total_bytes", sample.memory.total_bytes);
  memory.add("available_bytes", sample.memory.available_bytes);
  api::JsonList load;
  for (const double average : sample.load) load.add(average);
  api::JsonList gpus;
  for (const machine::GpuSample& gpu : context.gpus.sample()) gpus.add_json(gpu_text(gpu));
  api::JsonObject json;
  json.add_json("cores", cores.take());
  json.add_json("memory", memory.take());
  json.add_json("load", load.take());
  json.add("disk_read_bytes", sample.disk_read_bytes);
  json.add("disk_written_bytes", sample.disk_written_bytes);
  add_told(json, "clock_mhz", sample.clock_mhz);
  add_told(json, "temperature_celsius", sample.temperature_celsius);
  add_told(json, "energy_joules", sample.energy_joules);
  if (const auto process = machine::sample_process(::getpid())) {
    json.add_json("process", process_text(*process));
  }
  json.add_json("other_processes", other_processes_text());
  json.add_json("gpus", gpus.take());
  return json_reply(json.take());
}

Reply list_requests(const ServerContext& context, const HttpRequest& request, Work&) {
  const std::vector<ModelStatus> models = context.models.status();
  return json_reply(encode_requests(context.journal.live(), live_places(models),
                                    context.journal.ended(), limit_of(request)));
}

Reply show_request(const ServerContext& context, const HttpRequest& request, Work&) {
  const std::string id = request.path.substr(request.path.rfind('/') + 1);
  for (const LiveRequest& live : context.journal.live()) {
    if (live.id != id) continue;
    const std::vector<ModelStatus> models = context.models.status();
    const LivePlaces places = live_places(models);
    const auto found = places.find(live.number);
    return json_reply(encode_live(live, found == places.end() ? LivePlace() : found->second));
  }
  if (const SharedLife life = context.journal.find_ended(id)) return json_reply(encode_life(*life));
  throw Error(ErrorCode::kNotFound,
              "no request '" + id + "' is remembered: the server keeps the last " +
                  std::to_string(Journal::kMostEnded) + " that were for a model, since its start");
}

Reply cancel_request(const ServerContext& context, const HttpRequest& request, Work&) {
  const std::string id = request.path.substr(request.path.rfind('/') + 1);
  std::vector<LiveRequest> live = context.journal.live();
  std::erase_if(live, [&](const LiveRequest& other) { return other.id != id; });
  if (live.empty()) throw Error(ErrorCode::kNotFound, "no request '" + id + "' is under way");
  if (live.size() > 1) {
    throw Error(ErrorCode::kAlreadyExists,
                "several requests under way have the id '" + id +
                    "', which their clients gave them: each should send its own X-Request-Id");
  }
  // Where it runs, its reply ends as any other; elsewhere (its model is loading, it is being
  // prepared, it is in the queue) who answers it is told, and no step is waited for.
  if (!context.models.cancel_running(live.front().number)) live.front().waker->cancel();
  api::JsonObject json;
  json.add("id", id);
  json.add("cancelled", true);
  return json_reply(json.take());
}

Reply say_alive(const ServerContext&, const HttpRequest&, Work&) {
  return json_reply(R"({"status":"ok"})");
}

Reply say_ready(const ServerContext& context, const HttpRequest&, Work&) {
  if (!context.is_draining) return json_reply(R"({"status":"ok"})");
  Reply reply = json_reply(R"({"status":"draining"})");
  reply.status = 503;
  return reply;
}

}  // namespace sluice::server
