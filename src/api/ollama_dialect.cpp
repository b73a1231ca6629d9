#include "api/ollama_dialect.h"

#include <algorithm>
#include <cmath>

#include "api/encode_common.h"
#include "api/ollama.h"
#include "api/parse_common.h"
#include "base/units.h"

namespace sluice::api::ollama {
namespace {

void set_positive(Json& json, const char* name, int64_t value) {
  if (value > 0) json[name] = value;
}

void add_metrics(Json& json, const ReplyEnd& end) {
  // Never 0, as clients divide by it or take it for missing.
  const auto at_least_one = [](std::chrono::nanoseconds duration) {
    return std::max<int64_t>(1, duration.count());
  };
  set_positive(json, "total_duration", end.total.count());
  json["load_duration"] = at_least_one(end.load + end.timings.queued);
  set_positive(json, "prompt_eval_count", end.num_prompt_tokens);
  json["prompt_eval_duration"] = at_least_one(end.timings.prefill);
  set_positive(json, "eval_count", end.num_output_tokens);
  if (end.num_output_tokens > 0) json["eval_duration"] = at_least_one(end.timings.decode);
  json["sluice"] = explain_end(end);
}

void add_logprobs(Json& json, const ReplyPiece& piece) {
  if (!piece.logprobs.empty()) json["logprobs"] = encode_logprobs(piece.logprobs, false);
}

// Steps of a percent and a tenth of a second: nobody reads more.
void add_waiting(Json& json, const Waiting& waiting) {
  if (waiting.is_loading) {
    json["status"] = "loading";
    json["progress"] = std::round(waiting.load_progress * 100) / 100;
    return;
  }
  const double seconds = std::chrono::duration<double>(waiting.place.estimated_wait).count();
  json["status"] = "queued";
  json["queue_position"] = waiting.place.position;
  json["estimated_wait"] = std::round(seconds * 10) / 10;
}

std::string line(const Json& json) { return dump_json(json) + "\n"; }

}  // namespace

std::string error_body(int /*status*/, std::string_view message) {
  Json json;
  json["error"] = message;
  return dump_json(json);
}

std::vector<std::string> parse_images(const Json& object) {
  std::vector<std::string> images;
  const Json* list = array_field(object, "images");
  if (list == nullptr) return images;
  for (const Json& item : *list) {
    if (!item.is_string()) {
      throw Error(ErrorCode::kInvalidArgument, "field \"images\" must be a list of strings");
    }
    check_base64(item.get_ref<const std::string&>(), "images");
    images.push_back(item.get<std::string>());
  }
  return images;
}

Json tool_calls_json(const std::vector<ToolCall>& calls) {
  Json list = Json::array();
  for (const ToolCall& call : calls) {
    Json item;
    if (!call.id.empty()) item["id"] = call.id;
    item["function"]["index"] = call.index;
    item["function"]["name"] = call.name;
    item["function"]["arguments"] = call.arguments;
    list.push_back(std::move(item));
  }
  return list;
}

GenerationRequest OllamaDialect::parse_shared(const Json& body) {
  GenerationRequest request;
  request.model = string_field(body, "model").value_or("");
  model_ = request.model;
  request.stream = bool_field(body, "stream").value_or(true);
  if (const Json* options = object_field(body, "options")) {
    request.options = parse_options(*options);
  }
  if (const Json* format = find_field(body, "format")) request.format = parse_format(*format);
  if (const Json* think = find_field(body, "think")) request.think = parse_think(*think);
  if (const Json* keep = find_field(body, "keep_alive")) {
    request.keep_alive = parse_keep_alive(*keep);
  }
  request.truncate = bool_field(body, "truncate").value_or(true);
  request.shift = bool_field(body, "shift").value_or(true);
  request.num_top_logprobs = parse_top_logprobs(body);
  request.debug_render_only = bool_field(body, "_debug_render_only").value_or(false);
  request.extensions = parse_extensions(body);
  return request;
}

Json OllamaDialect::head(const ReplyPiece& piece) const {
  Json json;
  json["model"] = model_;
  json["created_at"] = format_rfc3339(now_());
  put_piece(json, piece);
  return json;
}

std::string OllamaDialect::piece(const ReplyPiece& piece) {
  Json json = head(piece);
  json["done"] = false;
  add_logprobs(json, piece);
  return line(json);
}

std::string OllamaDialect::waiting(const Waiting& waiting) {
  Json json = head({});
  json["done"] = false;
  add_waiting(json, waiting);
  return line(json);
}

std::string OllamaDialect::last(const Choice& choice) const {
  Json json = head(choice.piece);
  json["done"] = true;
  json["done_reason"] = done_reason(choice.end.reason);
  put_end(json, choice);
  add_logprobs(json, choice.piece);
  add_metrics(json, choice.end);
  return dump_json(json);
}

std::string OllamaDialect::end(const ReplyEnd& end) { return last({{}, end}) + "\n"; }

std::string OllamaDialect::whole(std::span<const Choice> choices) { return last(choices.front()); }

std::string OllamaDialect::stream_error(int status, std::string_view message) {
  return error_body(status, message) + "\n";
}

std::string OllamaDialect::error_body(int status, std::string_view message) const {
  return ollama::error_body(status, message);
}

std::string OllamaDialect::loaded(std::string_view reason, std::chrono::nanoseconds load) {
  Json json = head({});
  json["done"] = true;
  json["done_reason"] = reason;
  set_positive(json, "load_duration", load.count());
  return dump_json(json);
}

std::string OllamaDialect::rendered(const std::string& prompt) {
  Json json = head({});
  json["done"] = false;
  json["_debug_info"]["rendered_template"] = prompt;
  return dump_json(json);
}

}  // namespace sluice::api::ollama
