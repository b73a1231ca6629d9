#include "api/ollama_dialect.h"

#include <algorithm>
#include <cmath>

#include "api/encode_common.h"
#include "api/ollama.h"
#include "api/parse_common.h"
#include "base/units.h"

namespace sluice::api::ollama {
namespace {

void add_positive(JsonObject& json, std::string_view name, int64_t value) {
  if (value > 0) json.add(name, value);
}

void add_metrics(JsonObject& json, const ReplyEnd& end) {
  // Never 0, as clients divide by it or take it for missing.
  const auto at_least_one = [](std::chrono::nanoseconds duration) {
    return std::max<int64_t>(1, duration.count());
  };
  add_positive(json, "total_duration", end.total.count());
  json.add("load_duration", at_least_one(end.load + end.timings.queued));
  add_positive(json, "prompt_eval_count", end.num_prompt_tokens);
  json.add("prompt_eval_duration", at_least_one(end.timings.prefill));
  add_positive(json, "eval_count", end.num_output_tokens);
  if (end.num_output_tokens > 0) json.add("eval_duration", at_least_one(end.timings.decode));
  json.add_json("sluice", explain_end(end));
}

void add_logprobs(JsonObject& json, const ReplyPiece& piece) {
  if (!piece.logprobs.empty()) json.add_json("logprobs", logprobs_json(piece.logprobs, false));
}

// Steps of a percent and a tenth of a second: nobody reads more.
void add_waiting(JsonObject& json, const Waiting& waiting) {
  if (waiting.is_loading) {
    json.add("status", "loading");
    json.add("progress", std::round(waiting.load_progress * 100) / 100);
    return;
  }
  const double seconds = std::chrono::duration<double>(waiting.place.estimated_wait).count();
  json.add("status", "queued");
  json.add("queue_position", waiting.place.position);
  json.add("estimated_wait", std::round(seconds * 10) / 10);
}

// Other unknown options are ignored, old ones of Ollama's among them, as there.
void refuse_constraints(const Json& options) {
  for (const char* name : {"logit_bias"}) {
    if (const Json* value = find_field(options, name); value != nullptr && !value->empty()) {
      throw Error(ErrorCode::kUnsupported,
                  "option \"" + std::string(name) + "\" is not supported; leave it out");
    }
  }
}

}  // namespace

std::string error_body(int /*status*/, std::string_view message, std::string_view /*request_id*/) {
  JsonObject json;
  json.add("error", message);
  return json.take();
}

std::vector<std::string> parse_images(Json& object) {
  Json* list = array_field(object, "images");
  if (list == nullptr) return {};
  std::vector<std::string> images = parse_strings(*list, "images");
  for (const std::string& image : images) check_base64(image, "images");
  return images;
}

std::string tool_calls_json(const std::vector<ToolCall>& calls) {
  JsonList list;
  for (const ToolCall& call : calls) {
    JsonObject function;
    function.add("index", call.index);
    function.add("name", call.name);
    function.add_json("arguments", dump_json(call.arguments));
    JsonObject item;
    if (!call.id.empty()) item.add("id", call.id);
    item.add_json("function", function.take());
    list.add_json(item.take());
  }
  return list.take();
}

GenerationRequest OllamaDialect::parse(std::string_view body, Work& work) {
  JsonTree tree = parse_body(body, work);
  GenerationRequest request = take_shared_fields(*tree);
  take_fields(*tree, request);
  check_supported(request);
  return request;
}

GenerationRequest OllamaDialect::take_shared_fields(Json& body) {
  GenerationRequest request;
  request.model = string_field(body, "model").value_or("");
  model_ = request.model;
  request.stream = bool_field(body, "stream").value_or(true);
  if (const Json* options = object_field(body, "options")) {
    refuse_constraints(*options);
    request.options = parse_options(*options);
    parse_constraints(*options, request.format);
  }
  if (const Json* format = find_field(body, "format")) request.format = parse_format(*format);
  parse_constraints(body, request.format);
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

JsonObject OllamaDialect::head(const ReplyPiece& piece) const {
  JsonObject json;
  json.add("model", model_);
  json.add("created_at", format_rfc3339(now_()));
  put_piece(json, piece);
  return json;
}

std::string OllamaDialect::piece(const ReplyPiece& piece) {
  JsonObject json = head(piece);
  json.add("done", false);
  add_logprobs(json, piece);
  return json.take() + "\n";
}

std::string OllamaDialect::waiting(const Waiting& waiting) {
  JsonObject json = head({});
  json.add("done", false);
  add_waiting(json, waiting);
  return json.take() + "\n";
}

std::string OllamaDialect::last(const Choice& choice) const {
  JsonObject json = head(choice.piece);
  json.add("done", true);
  json.add("done_reason", done_reason(choice.end.reason));
  put_end(json, choice);
  add_logprobs(json, choice.piece);
  add_metrics(json, choice.end);
  return json.take();
}

std::string OllamaDialect::end(const ReplyEnd& end) { return last({{}, end}) + "\n"; }

std::string OllamaDialect::whole(std::span<const Choice> choices) { return last(choices.front()); }

std::string OllamaDialect::stream_error(int status, std::string_view message) {
  return error_body(status, message) + "\n";
}

std::string OllamaDialect::loaded(std::string_view reason, std::chrono::nanoseconds load) {
  JsonObject json = head({});
  json.add("done", true);
  json.add("done_reason", reason);
  add_positive(json, "load_duration", load.count());
  return json.take();
}

std::string OllamaDialect::rendered(const std::string& prompt) {
  JsonObject info;
  info.add("rendered_template", prompt);
  JsonObject json = head({});
  json.add("done", false);
  json.add_json("_debug_info", info.take());
  return json.take();
}

}  // namespace sluice::api::ollama
