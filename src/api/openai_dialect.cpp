#include "api/openai_dialect.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "api/error.h"
#include "api/openai.h"
#include "api/parse_common.h"

namespace sluice::api::openai {
namespace {

std::vector<std::string> parse_stop(Json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array()) fail("field \"stop\" must be a string or a list of strings");
  for (const Json& item : value) {
    if (!item.is_string()) fail("field \"stop\" must be a string or a list of strings");
  }
  return parse_stops(value, "stop");
}

template <typename T>
void set_if(std::optional<T>& option, std::optional<T> value) {
  if (value) option = std::move(value);
}

void add(ReplyEnd& sum, const ReplyEnd& end) {
  if (!end.shares_prompt) {
    sum.num_prompt_tokens += end.num_prompt_tokens;
    sum.num_cached_tokens += end.num_cached_tokens;
  }
  sum.num_output_tokens += end.num_output_tokens;
  sum.num_thinking_tokens += end.num_thinking_tokens;
}

// {"50256": -100}: what is added to the logits of these tokens.
std::vector<backend::TokenBias> parse_biases(const Json& body) {
  const Json* object = object_field(body, "logit_bias");
  if (object == nullptr) return {};
  std::vector<backend::TokenBias> biases;
  if (object->size() > engine::kMaxBiases) {
    fail("field \"logit_bias\" may be of " + std::to_string(engine::kMaxBiases) +
         " tokens at most");
  }
  for (const auto& [name, value] : object->get_ref<const Json::object_t&>()) {
    backend::TokenBias item;
    const char* const name_end = name.data() + name.size();
    const auto [end, error] = std::from_chars(name.data(), name_end, item.token);
    if (error != std::errc() || end != name_end || item.token < 0) {
      fail("field \"logit_bias\" must have token ids as its names");
    }
    constexpr double kMost = 100;
    const double bias = value.is_number() ? value.get<double>() : kMost + 1;
    if (!(std::abs(bias) <= kMost)) {
      fail("field \"logit_bias\" must have numbers from -100 to 100 as its values");
    }
    item.bias = static_cast<float>(bias);
    biases.push_back(item);
  }
  return biases;
}

std::string usage_json(const ReplyEnd& sum) {
  JsonObject details;
  details.add("cached_tokens", sum.num_cached_tokens);
  JsonObject json;
  json.add("prompt_tokens", sum.num_prompt_tokens);
  json.add("completion_tokens", sum.num_output_tokens);
  json.add("total_tokens", int64_t{sum.num_prompt_tokens} + sum.num_output_tokens);
  json.add_json("prompt_tokens_details", details.take());
  JsonObject output_details;
  output_details.add("reasoning_tokens", sum.num_thinking_tokens);
  json.add_json("completion_tokens_details", output_details.take());
  return json.take();
}

std::string event_of(JsonObject json) { return "data: " + json.take() + "\n\n"; }

}  // namespace

std::optional<int> limit_field(const Json& body, std::string_view name) {
  constexpr int64_t kMax = std::numeric_limits<int>::max();
  const auto limit = int_field(body, name, std::numeric_limits<int64_t>::min(),
                               std::numeric_limits<int64_t>::max());
  if (!limit) return std::nullopt;
  return static_cast<int>(std::clamp<int64_t>(*limit, -1, kMax));
}

ModelOptions parse_sampling(Json& body) {
  ModelOptions options;
  options.temperature = 1.0f;
  options.top_p = 1.0f;
  options.penalize_prompt = false;
  if (const Json* others = object_field(body, "options")) {
    options = merge_options(options, parse_options(*others));
  }
  constexpr int kMax = std::numeric_limits<int>::max();
  set_if(options.temperature, float_field(body, "temperature"));
  set_if(options.top_p, float_field(body, "top_p"));
  set_if(options.min_p, float_field(body, "min_p"));
  if (const auto top_k = int_field(body, "top_k", -1, kMax)) {
    options.top_k = static_cast<int>(std::max<int64_t>(0, *top_k));
  }
  set_if(options.typical_p, float_field(body, "typical_p"));
  if (const auto last_n = int_field(body, "repeat_last_n", -1, kMax)) {
    options.repeat_last_n = static_cast<int>(*last_n);
  }
  set_if(options.repeat_penalty, float_field(body, "repetition_penalty"));
  set_if(options.repeat_penalty, float_field(body, "repeat_penalty"));
  set_if(options.presence_penalty, float_field(body, "presence_penalty"));
  set_if(options.frequency_penalty, float_field(body, "frequency_penalty"));
  set_if(options.seed, int_field(body, "seed", std::numeric_limits<int64_t>::min(),
                                 std::numeric_limits<int64_t>::max()));
  set_if(options.num_predict, limit_field(body, "max_tokens"));
  set_if(options.num_predict, limit_field(body, "max_completion_tokens"));
  if (Json* stop = find_field(body, "stop")) options.stop = parse_stop(*stop);
  return options;
}

std::string error_body(int status, std::string_view message, std::string_view /*request_id*/) {
  JsonObject error;
  error.add("message", message);
  error.add("type", status == 404                   ? "not_found_error"
                    : status == 429                 ? "rate_limit_error"
                    : status >= 400 && status < 500 ? "invalid_request_error"
                                                    : "api_error");
  error.add("param", nullptr);
  error.add_json("code", status == 401   ? R"("invalid_api_key")"
                         : status == 403 ? R"("insufficient_permissions")"
                         : status == 429 ? R"("rate_limit_exceeded")"
                                         : "null");
  JsonObject json;
  json.add_json("error", error.take());
  return json.take();
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

GenerationRequest OpenAiDialect::parse(std::string_view body, Work& work) {
  JsonTree tree = parse_body(body, work);
  GenerationRequest request = take_shared_fields(*tree);
  take_fields(*tree, request, work);
  check_supported(request);
  return request;
}

GenerationRequest OpenAiDialect::take_shared_fields(Json& body) {
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
  if (const Json* keep = find_field(body, "keep_alive")) {
    request.keep_alive = parse_keep_alive(*keep);
  }
  if (const Json* format = object_field(body, "response_format")) {
    request.format = parse_response_format(*format);
  }
  parse_constraints(body, request.format);
  request.biases = parse_biases(body);
  return request;
}

void OpenAiDialect::take_num_choices(const Json& body, GenerationRequest& request) {
  const auto most = static_cast<int64_t>(kMaxReplies);
  request.num_choices = static_cast<int>(int_field(body, "n", 1, most).value_or(1));
  num_open_ = request.num_prompts() * static_cast<size_t>(request.num_choices);
  if (num_open_ > kMaxReplies) {
    fail("too many replies: " + std::to_string(num_open_) + "; ask for " +
         std::to_string(kMaxReplies) + " at most in one request");
  }
}

JsonObject OpenAiDialect::head(const char* object, std::string_view choices) const {
  JsonObject json;
  json.add("id", id_);
  json.add("object", object);
  json.add("created", created_unix_);
  json.add("model", model_);
  json.add("system_fingerprint", "fp_sluice");
  json.add_json("choices", choices);
  return json;
}

std::string OpenAiDialect::event(std::string_view choice) const {
  return event_of(head(chunk_object_, "[" + std::string(choice) + "]"));
}

std::string OpenAiDialect::end(const ReplyEnd& end) {
  add(sum_, end);
  JsonObject last = head(chunk_object_, "[" + last_choice_json(end) + "]");
  last.add_json("sluice", explain_end(end));
  std::string events = event_of(std::move(last));
  if (--num_open_ > 0) return events;
  if (include_usage_) {
    JsonObject usage = head(chunk_object_, "[]");
    usage.add_json("usage", usage_json(sum_));
    events += event_of(std::move(usage));
  }
  return events + "data: [DONE]\n\n";
}

std::string OpenAiDialect::whole(std::span<const Choice> choices) {
  JsonList list;
  for (const Choice& choice : choices) {
    add(sum_, choice.end);
    list.add_json(choice_json(choice));
  }
  JsonObject json = head(object_, list.take());
  json.add_json("usage", usage_json(sum_));
  json.add_json("sluice", explain_end(choices.front().end));
  return json.take();
}

std::string OpenAiDialect::stream_error(int status, std::string_view message) {
  return "data: " + error_body(status, message) + "\n\n";
}

}  // namespace sluice::api::openai
