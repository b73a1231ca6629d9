#include "server/request_report.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "api/json_writer.h"
#include "base/units.h"

namespace sluice::server {
namespace {

using api::JsonList;
using api::JsonObject;
using std::chrono::nanoseconds;

// The longest time of the first so many percent; 0 when there are none.
nanoseconds percentile(const engine::TimeHistogram& times, double percent) {
  uint64_t total = 0;
  for (const uint32_t count : times.counts) total += count;
  uint64_t below = 0;
  for (size_t i = 0; i < times.counts.size() && total > 0; ++i) {
    below += times.counts[i];
    const bool is_reached =
        static_cast<double>(below) >= percent / 100 * static_cast<double>(total);
    if (is_reached) return engine::TimeHistogram::limit(std::min(i, times.counts.size() - 2));
  }
  return {};
}

JsonObject summary(std::string_view state, const LiveRequest& request) {
  JsonObject json;
  json.add("id", request.id);
  json.add("number", request.number);
  json.add("state", state);
  json.add("route", request.route);
  json.add("model", request.model);
  json.add("key", request.key);
  json.add("address", request.address);
  json.add("arrived_at", format_rfc3339(request.arrived_at));
  return json;
}

JsonObject live_summary(const LiveRequest& request, const LivePlace& place) {
  const engine::RequestStatus* status = place.status;
  JsonObject json = summary(!status              ? "preparing"
                            : status->is_running ? "running"
                                                 : "waiting",
                            request);
  const auto age = std::chrono::system_clock::now() - request.arrived_at;
  json.add("total_ns", std::max(nanoseconds(0), nanoseconds(age)).count());
  if (!status) return json;
  json.add("queue_position", status->queue_position);
  json.add("estimated_wait_ns", status->estimated_wait.count());
  json.add("prompt_tokens", status->num_prompt_tokens);
  json.add("cached_tokens", status->num_cached_tokens);
  json.add("prefilled_tokens", status->num_prefilled_tokens);
  json.add("output_tokens", status->num_output_tokens);
  if (status->time_to_first_token.count() > 0) {
    json.add("time_to_first_token_ns", status->time_to_first_token.count());
  }
  if (status->mean_token_time.count() > 0) {
    json.add("tokens_per_second", 1e9 / static_cast<double>(status->mean_token_time.count()));
  }
  return json;
}

nanoseconds time_to_first_token(const RequestLife& life) {
  const engine::Timings& timings = life.parts.front().record.timings;
  return life.load + life.prepare + timings.queued + timings.prefill;
}

double tokens_per_second(const engine::RequestRecord& record) {
  const double seconds = std::chrono::duration<double>(record.timings.decode).count();
  return record.num_output_tokens > 1 && seconds > 0 ? (record.num_output_tokens - 1) / seconds : 0;
}

JsonObject ended_summary(const RequestLife& life) {
  JsonObject json = summary("ended", {life.number, life.id, life.route, life.key, life.address,
                                      life.model, life.arrived_at});
  json.add("status", life.status);
  json.add("total_ns", life.total.count());
  if (life.num_parts > 0) {
    const engine::RequestRecord& record = life.parts.front().record;
    json.add("prompt_tokens", life.num_prompt_tokens);
    json.add("cached_tokens", life.num_cached_tokens);
    json.add("output_tokens", life.num_output_tokens);
    json.add("finish_reason", engine::finish_reason_name(record.reason));
    json.add("queued_ns", record.timings.queued.count());
    if (record.num_output_tokens > 0) {
      json.add("time_to_first_token_ns", time_to_first_token(life).count());
    }
    json.add("tokens_per_second", tokens_per_second(record));
  }
  json.add("error", life.error);
  return json;
}

std::string span_json(const engine::TraceSpan& span) {
  JsonObject json;
  json.add("kind", span.kind == engine::TraceSpan::Kind::kPrefill ? "prefill" : "decode");
  json.add("was_preempted", span.was_preempted);
  json.add("begin_ns", span.begin.count());
  json.add("end_ns", span.end.count());
  json.add("forward_ns", span.forward_time.count());
  json.add("steps", span.num_steps);
  json.add("prompt_tokens", span.num_prompt_tokens);
  json.add("output_tokens", span.num_output_tokens);
  json.add("mean_sequences", static_cast<double>(span.num_sequences) / std::max(span.num_steps, 1));
  json.add("most_sequences", span.most_sequences);
  json.add("other_prompt_tokens", span.num_other_prompt_tokens);
  return json.take();
}

std::string part_json(const PartLife& part) {
  const engine::RequestRecord& record = part.record;
  JsonObject json;
  json.add("finish_reason", engine::finish_reason_name(record.reason));
  if (!part.stop_string.empty()) json.add("stop", part.stop_string);
  json.add("prompt_tokens", record.num_prompt_tokens);
  json.add("cached_tokens", record.num_cached_tokens);
  json.add("prefilled_tokens", record.num_prefilled_tokens);
  json.add("output_tokens", record.num_output_tokens);
  json.add("shifted_tokens", record.num_shifted_tokens);
  json.add("draft_tokens", record.num_draft_tokens);
  json.add("accepted_tokens", record.num_accepted_tokens);
  json.add("preemptions", record.num_preemptions);
  json.add("queued_ns", record.timings.queued.count());
  json.add("prefill_ns", record.timings.prefill.count());
  json.add("decode_ns", record.timings.decode.count());
  json.add("itl_p50_ns", percentile(record.inter_token_times, 50).count());
  json.add("itl_p95_ns", percentile(record.inter_token_times, 95).count());
  json.add("itl_p99_ns", percentile(record.inter_token_times, 99).count());
  JsonList spans;
  if (part.trace) {
    for (const engine::TraceSpan& span : part.trace->spans()) spans.add_json(span_json(span));
  }
  json.add_json("spans", spans.take());
  return json.take();
}

// Who runs has his turn, who waits by his place; who is not in a queue yet is behind them.
int turn_of(const LivePlace& place) {
  if (!place.status) return std::numeric_limits<int>::max();
  return place.status->is_running ? 0 : place.status->queue_position;
}

}  // namespace

LivePlaces live_places(const std::vector<ModelStatus>& models) {
  LivePlaces places;
  for (const ModelStatus& model : models) {
    for (const engine::RequestStatus& status : model.engine.requests) {
      // Of several prompts of one request the first that runs stands for all.
      LivePlace& place = places[status.tag];
      if (place.status && (place.status->is_running || !status.is_running)) continue;
      place = {model.record->name.short_name(), &status};
    }
  }
  return places;
}

std::string encode_requests(const std::vector<LiveRequest>& live, const LivePlaces& places,
                            const std::vector<SharedLife>& ended, size_t most) {
  std::vector<std::pair<LivePlace, const LiveRequest*>> placed;
  for (const LiveRequest& request : live) {
    const auto found = places.find(request.number);
    placed.emplace_back(found == places.end() ? LivePlace() : found->second, &request);
  }
  std::stable_sort(placed.begin(), placed.end(), [](const auto& a, const auto& b) {
    return turn_of(a.first) < turn_of(b.first);
  });
  JsonList list;
  size_t count = 0;
  for (const auto& [place, request] : placed) {
    if (++count > most) break;
    list.add_json(live_summary(*request, place).take());
  }
  for (const SharedLife& life : ended) {
    if (++count > most) break;
    list.add_json(ended_summary(*life).take());
  }
  JsonObject json;
  json.add_json("requests", list.take());
  return json.take();
}

std::string encode_live(const LiveRequest& live, const LivePlace& place) {
  return live_summary(live, place).take();
}

std::string encode_life(const RequestLife& life) {
  JsonObject json = ended_summary(life);
  json.add("stream", life.is_stream);
  json.add("load_ns", life.load.count());
  json.add("prepare_ns", life.prepare.count());
  json.add("queue_position", life.queue_position);
  json.add("dropped_tokens", life.num_dropped_tokens);
  json.add("context_limit", life.context_limit);
  json.add("max_tokens", life.max_tokens);
  json.add("has_grammar", life.has_grammar);
  json.add("bytes", life.num_sent_bytes);
  json.add("backend", life.backend);
  json.add("weights_bytes", life.weights_bytes);
  json.add("fastest_decode_ns", life.fastest_decode.count());
  json.add("num_parts", life.num_parts);
  JsonList parts;
  for (const PartLife& part : life.parts) parts.add_json(part_json(part));
  json.add_json("parts", parts.take());
  JsonList explanation;
  for (const std::string& sentence : explain(life)) explanation.add(sentence);
  json.add_json("explanation", explanation.take());
  return json.take();
}

}  // namespace sluice::server
