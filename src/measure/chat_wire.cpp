#include "measure/chat_wire.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"

namespace sluice::measure {
namespace {

using nlohmann::json;

constexpr size_t kMaxLineBytes = size_t{16} << 20;
constexpr size_t kMaxErrorBytes = 300;

// Members of other people's JSON: what is missing or of another type is as good as absent.
const json& member(const json& object, const char* name) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(name);
  return found == object.end() ? kNothing : *found;
}

std::string text_of(const json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool has_text(const json& value) {
  return value.is_string() && !value.get_ref<const std::string&>().empty();
}

void set_count(int& count, const json& value) {
  if (!value.is_number_integer()) return;
  const auto number = value.get<int64_t>();
  if (number >= 0 && number <= std::numeric_limits<int>::max()) count = static_cast<int>(number);
}

void set_duration(std::chrono::nanoseconds& duration, const json& value) {
  if (value.is_number_integer() && value.get<int64_t>() >= 0) {
    duration = std::chrono::nanoseconds(value.get<int64_t>());
  }
}

void set_reason(std::string& reason, const json& value) {
  if (has_text(value)) reason = text_of(value);
}

void set_queue_time(ReplyFigures& figures, const json& chunk) {
  set_duration(figures.queue_duration, member(member(chunk, "sluice"), "queued_duration"));
}

// "error" is a string in one protocol and an object with a message in the other.
std::string error_member(const json& object) {
  const json& error = member(object, "error");
  if (error.is_string()) return text_of(error);
  if (error.is_object()) return text_of(member(error, "message"));
  return "";
}

// `text` is where the content goes, if anywhere.
int take_ollama(const json& chunk, ReplyFigures& figures, bool& is_complete, std::string* text) {
  const json& message = member(chunk, "message");
  if (text != nullptr) *text += text_of(member(message, "content"));
  const int num_pieces = has_text(member(message, "content")) +
                         static_cast<int>(has_text(member(message, "thinking")));
  if (member(chunk, "done") == true) {
    is_complete = true;
    set_count(figures.num_prompt_tokens, member(chunk, "prompt_eval_count"));
    set_count(figures.num_cached_tokens, member(chunk, "cached_count"));
    set_count(figures.num_output_tokens, member(chunk, "eval_count"));
    set_duration(figures.load_duration, member(chunk, "load_duration"));
    set_duration(figures.prefill_duration, member(chunk, "prompt_eval_duration"));
    set_duration(figures.decode_duration, member(chunk, "eval_duration"));
    set_reason(figures.finish_reason, member(chunk, "done_reason"));
    set_queue_time(figures, chunk);
  }
  return num_pieces;
}

void take_usage(const json& chunk, ReplyFigures& figures) {
  const json& usage = member(chunk, "usage");
  set_count(figures.num_prompt_tokens, member(usage, "prompt_tokens"));
  set_count(figures.num_output_tokens, member(usage, "completion_tokens"));
  set_count(figures.num_cached_tokens,
            member(member(usage, "prompt_tokens_details"), "cached_tokens"));
  set_queue_time(figures, chunk);
}

int take_openai(const json& chunk, ReplyFigures& figures, std::string* text) {
  int num_pieces = 0;
  const json& choices = member(chunk, "choices");
  if (choices.is_array() && !choices.empty()) {
    const json& delta = member(choices[0], "delta");
    const json& completion = member(choices[0], "text");
    if (text != nullptr) *text += text_of(completion);
    num_pieces += has_text(completion);
    if (text != nullptr) *text += text_of(member(delta, "content"));
    for (const char* name : {"content", "reasoning", "reasoning_content"}) {
      num_pieces += has_text(member(delta, name));
    }
    set_reason(figures.finish_reason, member(choices[0], "finish_reason"));
  }
  take_usage(chunk, figures);
  return num_pieces;
}

json messages_of(const ChatQuery& query) {
  json messages = json::array();
  for (const ChatTurn& turn : query.history) {
    messages.push_back({{"role", "user"}, {"content", turn.question}});
    messages.push_back({{"role", "assistant"}, {"content", turn.answer}});
  }
  messages.push_back({{"role", "user"}, {"content", query.prompt}});
  return messages;
}

json ollama_body(const ChatQuery& query) {
  json options = json::object();
  if (query.seed) options["seed"] = *query.seed;
  if (query.temperature) options["temperature"] = *query.temperature;
  if (query.max_tokens) options["num_predict"] = *query.max_tokens;
  return {{"model", query.model},
          {"messages", messages_of(query)},
          {"stream", true},
          {"options", options}};
}

// What was said before, one after the other.
std::string whole_prompt(const ChatQuery& query) {
  std::string text;
  for (const ChatTurn& turn : query.history) text += turn.question + "\n" + turn.answer + "\n";
  return text + query.prompt;
}

json embedding_body(const ChatQuery& query) {
  return {{"model", query.model}, {"input", whole_prompt(query)}};
}

json openai_body(Api api, const ChatQuery& query) {
  json body = {
      {"model", query.model}, {"stream", true}, {"stream_options", {{"include_usage", true}}}};
  if (api == Api::kCompletion) {
    body["prompt"] = whole_prompt(query);
  } else {
    body["messages"] = messages_of(query);
  }
  if (query.seed) body["seed"] = *query.seed;
  if (query.temperature) body["temperature"] = *query.temperature;
  if (query.max_tokens) body["max_tokens"] = *query.max_tokens;
  if (query.ignore_end) body["ignore_eos"] = true;
  return body;
}

}  // namespace

namespace {

struct ApiFacts {
  Api api;
  std::string_view name, target;
};
constexpr std::array kApis = {
    ApiFacts{Api::kOllama, "ollama", "/api/chat"},
    ApiFacts{Api::kOpenai, "openai", "/v1/chat/completions"},
    ApiFacts{Api::kCompletion, "completions", "/v1/completions"},
    ApiFacts{Api::kEmbedding, "embeddings", "/v1/embeddings"},
};

const ApiFacts& facts_of(Api api) { return kApis[static_cast<size_t>(api)]; }

json body_of(Api api, const ChatQuery& query) {
  if (api == Api::kOllama) return ollama_body(query);
  return api == Api::kEmbedding ? embedding_body(query) : openai_body(api, query);
}

}  // namespace

std::string_view api_name(Api api) { return facts_of(api).name; }

std::vector<std::string> api_names() {
  std::vector<std::string> names;
  for (const ApiFacts& facts : kApis) names.emplace_back(facts.name);
  return names;
}

Api api_of(std::string_view name) {
  const auto found = std::find_if(kApis.begin(), kApis.end(),
                                  [&](const ApiFacts& facts) { return facts.name == name; });
  return found == kApis.end() ? Api::kOllama : found->api;
}

http::Request make_chat_request(Api api, const ChatQuery& query) {
  return {.method = "POST",
          .target = std::string(facts_of(api).target),
          .body = body_of(api, query).dump(-1, ' ', false, json::error_handler_t::replace),
          .headers = query.headers};
}

int WireReader::feed(std::string_view bytes) {
  int num_pieces = 0;
  size_t end;
  while (api_ != Api::kEmbedding && (end = bytes.find('\n')) != std::string_view::npos) {
    partial_line_ += bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    num_pieces += take_line(partial_line_);
    partial_line_.clear();
  }
  partial_line_ += bytes;
  if (partial_line_.size() > kMaxLineBytes) {
    throw Error(ErrorCode::kCorruptData, "the server sent a line of more than 16 MiB");
  }
  return num_pieces;
}

int WireReader::finish() {
  const std::string rest = std::exchange(partial_line_, "");
  return api_ == Api::kEmbedding ? take_whole(rest) : take_line(rest);
}

int WireReader::take_whole(std::string_view body) {
  if (body.empty()) return 0;  // what was no success is not given to us
  const json reply = json::parse(body, nullptr, /*allow_exceptions=*/false);
  const json& data = member(reply, "data");
  if (!data.is_array() || data.empty()) {
    throw Error(ErrorCode::kCorruptData, "the server sent no embeddings: " + error_text_of(body));
  }
  take_usage(reply, figures_);
  figures_.num_output_tokens = 0;
  figures_.finish_reason = "embedded";
  is_complete_ = true;
  return 0;
}

int WireReader::take_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (api_ != Api::kOllama) {
    if (!line.starts_with("data:")) return 0;  // comments, event names, blank lines
    line.remove_prefix(5);
    while (line.starts_with(' ')) line.remove_prefix(1);
    if (line == "[DONE]") {
      is_complete_ = true;
      return 0;
    }
  }
  if (line.empty()) return 0;
  const json chunk = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!chunk.is_object()) {
    throw Error(ErrorCode::kCorruptData,
                "the server sent something else than JSON: " + error_text_of(line));
  }
  if (std::string error = error_member(chunk); !error.empty()) {
    figures_.error = std::move(error);
    return 0;
  }
  std::string* const text = keeps_text_ ? &text_ : nullptr;
  return api_ == Api::kOllama ? take_ollama(chunk, figures_, is_complete_, text)
                              : take_openai(chunk, figures_, text);
}

std::string error_text_of(std::string_view body) {
  std::string text = error_member(json::parse(body, nullptr, /*allow_exceptions=*/false));
  if (text.empty()) text = body;
  if (text.size() > kMaxErrorBytes) text.resize(kMaxErrorBytes);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = ' ';
  }
  return text;
}

std::string first_model(http::Client& client, Api api,
                        const std::map<std::string, std::string>& headers) {
  const bool is_ollama = api == Api::kOllama;
  const std::string target = is_ollama ? "/api/tags" : "/v1/models";
  const http::Response response = client.send({.target = target, .headers = headers});
  if (response.status != 200) {
    throw Error(ErrorCode::kIo, "the server answered " + std::to_string(response.status) + " to " +
                                    target + ": " + error_text_of(response.body));
  }
  const json body = json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  const json& models = member(body, is_ollama ? "models" : "data");
  if (!models.is_array() && !models.is_null()) {
    throw Error(ErrorCode::kCorruptData, "the server's reply to " + target + " holds no list");
  }
  if (models.is_array() && !models.empty()) {
    std::string name = text_of(member(models[0], is_ollama ? "name" : "id"));
    if (!name.empty()) return name;
  }
  throw Error(ErrorCode::kNotFound,
              "the server has no model: add one with `sluice import FILE NAME`, or name one with "
              "--model");
}

}  // namespace sluice::measure
