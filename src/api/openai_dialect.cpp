#include "api/openai_dialect.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "api/openai.h"
#include "api/parse_common.h"

namespace sluice::api::openai {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::kUnsupported, what); }

std::vector<std::string> parse_stop(const Json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> stops;
  if (!value.is_array()) fail("field \"stop\" must be a string or a list of strings");
  for (const Json& item : value) {
    if (!item.is_string()) fail("field \"stop\" must be a string or a list of strings");
    stops.push_back(item.get<std::string>());
  }
  return stops;
}

std::optional<int> limit_field(const Json& body, std::string_view name) {
  constexpr int64_t kMax = std::numeric_limits<int>::max();
  const auto limit = int_field(body, name, std::numeric_limits<int64_t>::min(),
                               std::numeric_limits<int64_t>::max());
  if (!limit) return std::nullopt;
  return static_cast<int>(std::clamp<int64_t>(*limit, -1, kMax));
}

ModelOptions parse_sampling(const Json& body) {
  ModelOptions options;
  options.temperature = float_field(body, "temperature").value_or(1.0f);
  options.top_p = float_field(body, "top_p").value_or(1.0f);
  options.presence_penalty = float_field(body, "presence_penalty");
  options.frequency_penalty = float_field(body, "frequency_penalty");
  options.seed = int_field(body, "seed", std::numeric_limits<int64_t>::min(),
                           std::numeric_limits<int64_t>::max());
  options.num_predict = limit_field(body, "max_completion_tokens");
  if (!options.num_predict) options.num_predict = limit_field(body, "max_tokens");
  if (const Json* stop = find_field(body, "stop")) options.stop = parse_stop(*stop);
  return options;
}

void add(ReplyEnd& sum, const ReplyEnd& end) {
  sum.num_prompt_tokens += end.num_prompt_tokens;
  sum.num_cached_tokens += end.num_cached_tokens;
  sum.num_output_tokens += end.num_output_tokens;
}

Json usage_json(const ReplyEnd& sum) {
  Json json;
  json["prompt_tokens"] = sum.num_prompt_tokens;
  json["completion_tokens"] = sum.num_output_tokens;
  json["total_tokens"] = int64_t{sum.num_prompt_tokens} + sum.num_output_tokens;
  json["prompt_tokens_details"]["cached_tokens"] = sum.num_cached_tokens;
  return json;
}

}  // namespace

std::string error_body(int status, std::string_view message) {
  Json error;
  error["message"] = message;
  error["type"] = status == 404                   ? "not_found_error"
                  : status >= 400 && status < 500 ? "invalid_request_error"
                                                  : "api_error";
  error["param"] = nullptr;
  error["code"] = nullptr;
  Json json;
  json["error"] = std::move(error);
  return dump_json(json);
}

std::string_view finish_reason(engine::FinishReason reason, bool has_tool_calls) {
  const bool is_stop = done_reason(reason) == "stop";
  if (is_stop && has_tool_calls) return "tool_calls";
  // A reply that was cut off for whatever reason is "length" in the words that OpenAI's clients
  // know; the `sluice` member says which.
  return is_stop ? "stop" : "length";
}

OpenAiDialect::OpenAiDialect(const Stamp& stamp, std::string_view id_prefix, const char* object,
                             const char* chunk_object)
    : object_(object),
      chunk_object_(chunk_object),
      id_(std::string(id_prefix) + stamp.id),
      created_unix_(std::chrono::system_clock::to_time_t(stamp.now())) {}

GenerationRequest OpenAiDialect::parse_shared(const Json& body) {
  GenerationRequest request;
  request.model = string_field(body, "model").value_or("");
  if (request.model.empty()) fail("model is required");
  model_ = request.model;
  request.stream = bool_field(body, "stream").value_or(false);
  if (const Json* options = object_field(body, "stream_options")) {
    include_usage_ = bool_field(*options, "include_usage").value_or(false);
  }
  request.options = parse_sampling(body);
  request.shift = false;  // a reply of OpenAI's ends when the context is full
  request.extensions = parse_extensions(body);
  constexpr int64_t kMaxChoices = std::numeric_limits<int>::max();
  if (int_field(body, "n", 1, kMaxChoices).value_or(1) > 1) {
    refuse("n above 1 is not supported; send several requests");
  }
  if (const Json* bias = object_field(body, "logit_bias"); bias != nullptr && !bias->empty()) {
    refuse("logit_bias is not supported");
  }
  return request;
}

Json OpenAiDialect::head(const char* object) const {
  Json json;
  json["id"] = id_;
  json["object"] = object;
  json["created"] = created_unix_;
  json["model"] = model_;
  json["system_fingerprint"] = "fp_sluice";
  json["choices"] = Json::array();
  return json;
}

std::string OpenAiDialect::event_of(const Json& json) const {
  return "data: " + dump_json(json) + "\n\n";
}

std::string OpenAiDialect::event(Json choice) const {
  Json json = head(chunk_object_);
  json["choices"].push_back(std::move(choice));
  return event_of(json);
}

std::string OpenAiDialect::waiting(const Waiting& waiting) {
  if (waiting.is_loading) {
    return ": loading " + std::to_string(std::lround(waiting.load_progress * 100)) + "%\n\n";
  }
  return ": queue position " + std::to_string(waiting.place.position) + ", about " +
         format_seconds(waiting.place.estimated_wait) + " s\n\n";
}

std::string OpenAiDialect::end(const ReplyEnd& end) {
  add(sum_, end);
  Json last = head(chunk_object_);
  last["choices"].push_back(last_choice_json(end));
  last["sluice"] = explain_end(end);
  std::string events = event_of(last);
  if (--num_open_ > 0) return events;
  if (include_usage_) {
    Json usage = head(chunk_object_);
    usage["usage"] = usage_json(sum_);
    events += event_of(usage);
  }
  return events + "data: [DONE]\n\n";
}

std::string OpenAiDialect::whole(std::span<const Choice> choices) {
  Json json = head(object_);
  for (const Choice& choice : choices) {
    add(sum_, choice.end);
    json["choices"].push_back(choice_json(choice));
  }
  json["usage"] = usage_json(sum_);
  json["sluice"] = explain_end(choices.front().end);
  return dump_json(json);
}

std::string OpenAiDialect::stream_error(int status, std::string_view message) {
  return "data: " + error_body(status, message) + "\n\n";
}

std::string OpenAiDialect::error_body(int status, std::string_view message) const {
  return openai::error_body(status, message);
}

}  // namespace sluice::api::openai
