#include "measure/run.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "measure/distribution.h"
#include "measure/told.h"

namespace sluice::measure {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(RunCard, memory_bytes, power_watts, clock_mhz,
                                                temperature_celsius, pcie_bytes_per_second)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(RunMachine, processor, cores, memory_bytes,
                                                read_bytes_per_second, operations_per_second,
                                                disk_bytes_per_second, power_watts, gpus, card)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(RunTensors, name, type, count, bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(RunModel, server, architecture, parameter_size,
                                                quantization, backend, bytes_by_type, tensors,
                                                token_read_bytes, token_operations,
                                                cache_token_bytes, trained_context, context,
                                                weights_bytes, workspace_bytes, cache_bytes)

namespace {

using nlohmann::json;

int told_integer(const json& object, const char* key) {
  const double value = told_number(object, key);
  return value > -1e9 && value < 1e9 ? static_cast<int>(value) : 0;
}

double percentile_of(const json& object, const char* key, const char* which) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? told_number(*found, which, kNone) : kNone;
}

// A list in an object; an empty one when it is absent and `is_required` is not said.
const json& told_list(const json& object, const char* key, bool is_required = false) {
  static const json kEmpty = json::array();
  const auto found = object.find(key);
  if (found == object.end() && !is_required) return kEmpty;
  if (found == object.end() || !found->is_array()) {
    throw Error(ErrorCode::kCorruptData, std::string("\"") + key + "\" is no list");
  }
  return *found;
}

RunRequest parse_request(const json& json, int row) {
  RunRequest request;
  request.row = row;
  request.sent_seconds = told_number(json, "sent_ns") / 1e9;
  request.ended_seconds = told_number(json, "ended_ns") / 1e9;
  for (const auto& piece : told_list(json, "pieces_ns")) {
    request.piece_seconds.push_back(piece.get<double>() / 1e9);
  }
  request.prompt_tokens = told_number(json, "prompt_tokens", -1);
  request.cached_tokens = told_number(json, "cached_tokens", -1);
  request.output_tokens = told_number(json, "output_tokens");
  request.finish_reason = told_text(json, "finish_reason");
  if (json.value("is_cancelled", false)) request.finish_reason = "cancelled by the client";
  request.error = told_text(json, "error");
  request.failure_kind = told_text(json, "failure_kind");
  return request;
}

RunRow parse_wave_row(const json& json) {
  RunRow row;
  row.test = told_text(json, "test");
  row.words = told_integer(json, "words");
  row.users = told_integer(json, "requests_at_a_time");
  row.num_completed = told_integer(json, "num_requests");
  row.num_failed = told_integer(json, "num_errors");
  row.mean_output_tokens = told_number(json, "mean_output_tokens", kNone);
  row.mean_seconds = told_number(json, "mean_seconds", kNone);
  row.tokens_per_second_each = told_number(json, "tokens_per_second_each", kNone);
  row.tokens_per_second = told_number(json, "tokens_per_second_in_all", kNone);
  row.ttft_seconds = told_number(json, "ttft_mean_seconds", kNone);
  row.ttft_p95_seconds = told_number(json, "ttft_p95_seconds", kNone);
  row.itl_seconds = row.itl_p95_seconds = kNone;
  row.sent_per_second = row.completed_per_second = kNone;
  return row;
}

RunRow parse_traffic_row(const json& json, const std::string& test) {
  RunRow row;
  row.test = test;
  row.users = told_integer(json, "clients");
  row.rate = told_number(json, "rate");
  row.speedup = told_number(json, "speedup");
  row.num_completed = told_integer(json, "num_completed");
  row.num_failed = told_integer(json, "num_errors");
  row.num_refused = told_integer(json, "num_refused");
  row.mean_output_tokens = told_number(json, "mean_output_tokens", kNone);
  row.mean_seconds = percentile_of(json, "e2e_seconds", "mean");
  row.tokens_per_second = told_number(json, "tokens_per_second", kNone);
  row.tokens_per_second_each = row.users > 0 ? row.tokens_per_second / row.users : kNone;
  row.ttft_seconds = percentile_of(json, "ttft_seconds", "p50");
  row.ttft_p95_seconds = percentile_of(json, "ttft_seconds", "p95");
  row.itl_seconds = percentile_of(json, "itl_seconds", "p50");
  row.itl_p95_seconds = percentile_of(json, "itl_seconds", "p95");
  row.sent_per_second = told_number(json, "requests_per_second", kNone);
  row.completed_per_second = told_number(json, "completed_per_second", kNone);
  return row;
}

void parse_waves(const json& document, LoadRun& run) {
  for (const json& row : told_list(document, "rows", true)) run.rows.push_back(parse_wave_row(row));
  for (const json& request : told_list(document, "requests")) {
    const std::string test = told_text(request, "test");
    const int words = told_integer(request, "words");
    const int users = told_integer(request, "requests_at_a_time");
    const auto row = std::find_if(run.rows.begin(), run.rows.end(), [&](const RunRow& one) {
      return one.test == test && one.words == words && one.users == users;
    });
    const auto number = static_cast<int>(row - run.rows.begin());
    run.requests.push_back(parse_request(request, row == run.rows.end() ? -1 : number));
  }
}

void parse_points(const json& document, LoadRun& run) {
  for (const json& point : told_list(document, "points", true)) {
    run.rows.push_back(parse_traffic_row(point, run.test));
    for (const json& request : told_list(point, "requests")) {
      run.requests.push_back(parse_request(request, static_cast<int>(run.rows.size()) - 1));
    }
  }
}

LoadRun parse_document(const json& document, const std::string& label) {
  if (!document.is_object() || told_text(document, "program") != "sluice loadtest") {
    throw Error(ErrorCode::kCorruptData,
                label + " is not a file that `sluice loadtest --json` wrote");
  }
  LoadRun run;
  run.label = label;
  run.started_at = told_text(document, "started_at");
  run.url = told_text(document, "url");
  run.api = told_text(document, "api");
  run.model = told_text(document, "model");
  run.test = told_text(document, "test");
  run.warm_up_seconds = told_number(document, "warm_up_seconds");
  run.was_stopped = document.value("was_stopped", false);
  run.machine = document.value("machine", RunMachine{});
  run.facts = document.value("model_facts", RunModel{});
  run.timeline = parse_timeline(document.value("timeline", json::array()));
  if (document.contains("points")) {
    parse_points(document, run);
  } else {
    parse_waves(document, run);
  }
  return run;
}

}  // namespace

LoadRun parse_run(std::string_view json_text, const std::string& label) {
  try {
    return parse_document(json::parse(json_text), label);
  } catch (const json::exception& error) {
    throw Error(ErrorCode::kCorruptData, label + " is damaged: " + error.what());
  }
}

nlohmann::json to_json(const RunMachine& machine) { return machine; }
nlohmann::json to_json(const RunModel& model) { return model; }

}  // namespace sluice::measure
