#include "api/openai_responses.h"

#include <functional>
#include <utility>

#include "api/encode_common.h"
#include "api/error.h"
#include "api/openai.h"
#include "api/openai_dialect.h"
#include "api/openai_parts.h"
#include "api/openai_responses_input.h"
#include "api/parse_common.h"
#include "api/tools.h"

// POST /v1/responses.
namespace sluice::api::openai {
namespace {

void refuse_unanswerable(const Json& body) {
  if (bool_field(body, "background").value_or(false)) {
    refuse("field \"background\" is not supported: responses are answered at once");
  }
  for (const char* name : {"conversation", "prompt"}) {
    if (find_field(body, name) != nullptr) {
      refuse("field \"" + std::string(name) + "\" is not supported; leave it out");
    }
  }
}

JsonObject typed(std::string_view type) {
  JsonObject json;
  json.add("type", type);
  return json;
}

std::string listed(const std::string& json) { return "[" + json + "]"; }

// A response as events, or as a whole; both leave the same object.
class Response : public Dialect {
 public:
  Response(const Stamp& stamp, ResponseMemory& memory)
      : memory_(memory), id_(stamp.id), created_(unix_seconds(stamp.now())), now_(stamp.now) {}

  GenerationRequest parse(std::string_view body_text, Work& work) override {
    JsonTree tree = parse_body(body_text, work);
    Json& body = *tree;
    GenerationRequest request;
    request.is_chat = true;
    request.model = string_field(body, "model").value_or("");
    if (request.model.empty()) fail("model is required");
    refuse_unanswerable(body);
    refuse_unhonoured(body, {"tool_choice", "tools"});
    request.options = parse_sampling(body);
    request.options.num_predict = limit_field(body, "max_output_tokens");
    if (request.options.num_predict && *request.options.num_predict < 1) {
      fail("max_output_tokens must be at least 1");
    }
    request.stream = bool_field(body, "stream").value_or(false);
    request.shift = false;  // a reply ends when the context is full
    request.truncate = string_field(body, "truncation").value_or("disabled") == "auto";
    request.extensions = parse_extensions(body);
    if (const Json* keep = find_field(body, "keep_alive")) {
      request.keep_alive = parse_keep_alive(*keep);
    }
    if (const Json* text = object_field(body, "text")) {
      if (const Json* format = object_field(*text, "format")) {
        request.format = parse_response_format(*format);
      }
    }
    parse_constraints(body, request.format);
    if (const Json* reasoning = object_field(body, "reasoning")) {
      const auto effort = string_field(*reasoning, "effort");
      if (effort && !effort->empty()) request.think = think_of_effort(*effort);
    }
    if (request.think) request.think->is_wish = true;  // models that cannot just answer
    take_logprobs(body, request);
    is_stored_ = bool_field(body, "store").value_or(true) && body_text.size() <= kMaxKeptBytes;
    note_echo(body, request);  // before what follows moves things out
    take_tools(body, request);
    take_messages(body, request, work);
    check_supported(request);
    return request;
  }

  std::string_view content_type() const override { return "text/event-stream"; }

  std::string first(int) override {
    const std::string begun = response_json("in_progress", "[]", nullptr);
    std::string events = event("response.created", "response", begun);
    return events += event("response.in_progress", "response", begun);
  }

  std::string piece(const ReplyPiece& piece) override {
    std::string events;
    if (!piece.thinking.empty()) events += add_thinking(piece.thinking);
    if (!piece.content.empty() || (wants_logprobs_ && !piece.logprobs.empty())) {
      events += add_text(piece);
    }
    for (const ToolCall& call : piece.tool_calls) events += add_call(call);
    return events;
  }

  std::string waiting(const Waiting& waiting) override { return waiting_comment(waiting); }

  // A reply has an item, also an empty one.
  std::string end(const ReplyEnd& end) override {
    std::string events;
    if (output_.empty() && open_ == Open::kNothing) events += open_message();
    const bool is_cut = done_reason(end.reason) != "stop";
    events += close_item(is_cut ? "incomplete" : "completed");
    const std::string whole = ended_json(end);
    keep(whole);
    return events + event(is_cut ? "response.incomplete" : "response.completed", "response", whole);
  }

  std::string stream_error(int, std::string_view message) override {
    JsonObject error;
    error.add("code", "server_error");
    error.add("message", message);
    error_ = error.take();
    return event("response.failed", "response", response_json("failed", listed(output_), nullptr));
  }

  std::string whole(std::span<const Choice> choices) override {
    piece(choices.front().piece);
    end(choices.front().end);
    return std::exchange(whole_, {});
  }

 private:
  enum class Open { kNothing, kReasoning, kMessage };

  static int64_t unix_seconds(TimePoint time) { return std::chrono::system_clock::to_time_t(time); }

  // --- The request ---

  void take_logprobs(const Json& body, GenerationRequest& request) {
    const auto top = int_field(body, "top_logprobs", 0, 20);
    wants_logprobs_ = top.value_or(0) > 0;
    if (const Json* include = array_field(body, "include")) {
      for (const Json& item : *include) {
        wants_logprobs_ = wants_logprobs_ || item == "message.output_text.logprobs";
      }
    }
    if (wants_logprobs_) request.num_top_logprobs = static_cast<int>(top.value_or(0));
  }

  void take_tools(Json& body, GenerationRequest& request) {
    Json tools = Json::array();
    if (Json* list = array_field(body, "tools")) tools = parse_response_tools(*list);
    if (const Json* choice = find_field(body, "tool_choice")) {
      request.tool_choice = parse_tool_choice(*choice, tools);
    }
    request.tools = std::move(tools);
    request.parallel_tool_calls = bool_field(body, "parallel_tool_calls").value_or(true);
    apply_tool_choice(request);
  }

  // The instructions, what `previous_response_id` leads to, and the input. Instructions are those
  // of one request.
  void take_messages(Json& body, GenerationRequest& request, Work& work) {
    std::vector<Message> messages;
    if (!previous_id_.empty()) {
      const auto previous = memory_.find(previous_id_);
      if (!previous) {
        fail("Previous response with id " + dump_json(Json(previous_id_.substr(0, 100))) +
             " not found: it was not stored, or is not kept any longer; send its items in "
             "\"input\"");
      }
      work.charge(size_of(*previous));
      messages = previous->messages;
    }
    append_input(body, messages, work);
    if (is_stored_) messages_ = messages;
    if (const auto instructions = string_field(body, "instructions")) {
      Message system;
      system.role = "system";
      system.content = *instructions;
      messages.insert(messages.begin(), std::move(system));
    }
    request.messages = std::move(messages);
  }

  // What the response repeats of its request.
  void note_echo(const Json& body, const GenerationRequest& request) {
    model_ = request.model;
    previous_id_ = string_field(body, "previous_response_id").value_or("");
    const auto same = [&](const char* name, const char* otherwise) {
      const Json* value = find_field(body, name);
      echo_ += "," + json_text(name) + ":" + (value != nullptr ? dump_json(*value) : otherwise);
    };
    same("instructions", "null");
    same("max_output_tokens", "null");
    same("metadata", "{}");
    same("parallel_tool_calls", "true");
    same("previous_response_id", "null");
    same("prompt_cache_key", "null");
    same("reasoning", R"({"effort":null,"summary":null})");
    same("safety_identifier", "null");
    same("service_tier", R"("default")");
    same("temperature", "1.0");
    same("text", R"({"format":{"type":"text"}})");
    same("tool_choice", R"("auto")");
    same("tools", "[]");
    same("top_logprobs", "0");
    same("top_p", "1.0");
    same("truncation", R"("disabled")");
    same("user", "null");
    echo_ += std::string(",\"background\":false,\"store\":") + (is_stored_ ? "true" : "false");
  }

  // --- The reply ---

  std::string event(std::string_view type, std::string_view name, std::string_view json) {
    JsonObject data = begin_event(type);
    data.add_json(name, json);
    return finish_event(type, std::move(data));
  }
  JsonObject begin_event(std::string_view type) {
    JsonObject json = typed(type);
    json.add("sequence_number", sequence_number_++);
    return json;
  }
  static std::string finish_event(std::string_view type, JsonObject data) {
    return "event: " + std::string(type) + "\ndata: " + data.take() + "\n\n";
  }
  // An event about the item that is open.
  JsonObject begin_item_event(std::string_view type) {
    JsonObject json = begin_event(type);
    json.add("item_id", item_id_);
    json.add("output_index", num_items_);
    return json;
  }
  std::string item_event(std::string_view type, std::string_view item) {
    JsonObject json = begin_event(type);
    json.add("output_index", num_items_);
    json.add_json("item", item);
    return finish_event(type, std::move(json));
  }

  std::string begin_item(std::string_view prefix, const std::function<std::string()>& item) {
    item_id_ = std::string(prefix) + id_ + std::to_string(num_items_);
    return item_event("response.output_item.added", item());
  }
  std::string finish_item(const std::string& item) {
    const std::string events = item_event("response.output_item.done", item);
    if (!output_.empty()) output_ += ',';
    output_ += item;
    ++num_items_;
    return events;
  }

  std::string reasoning_json() const {
    JsonObject json;
    json.add("id", item_id_);
    json.add("type", "reasoning");
    json.add_json("summary", text_.empty() ? "[]" : listed(summary_json(text_)));
    return json.take();
  }
  static std::string summary_json(const std::string& text) {
    JsonObject json = typed("summary_text");
    json.add("text", text);
    return json.take();
  }

  std::string add_thinking(const std::string& thinking) {
    std::string events;
    if (open_ != Open::kReasoning) {
      events = close_item("completed");
      open_ = Open::kReasoning;
      events += begin_item("rs_", [this] { return reasoning_json(); });
      JsonObject added = begin_item_event("response.reasoning_summary_part.added");
      added.add("summary_index", 0);
      added.add_json("part", summary_json(""));
      events += finish_event("response.reasoning_summary_part.added", std::move(added));
    }
    text_ += thinking;
    thinking_ += thinking;
    JsonObject delta = begin_item_event("response.reasoning_summary_text.delta");
    delta.add("summary_index", 0);
    delta.add("delta", thinking);
    return events + finish_event("response.reasoning_summary_text.delta", std::move(delta));
  }

  std::string close_reasoning() {
    JsonObject text = begin_item_event("response.reasoning_summary_text.done");
    text.add("summary_index", 0);
    text.add("text", text_);
    std::string events = finish_event("response.reasoning_summary_text.done", std::move(text));
    JsonObject part = begin_item_event("response.reasoning_summary_part.done");
    part.add("summary_index", 0);
    part.add_json("part", summary_json(text_));
    events += finish_event("response.reasoning_summary_part.done", std::move(part));
    return events + finish_item(reasoning_json());
  }

  std::string part_json() const {
    JsonObject json = typed("output_text");
    json.add("text", text_);
    json.add_json("annotations", "[]");
    json.add_json("logprobs", logprobs_json(logprobs_, true));
    return json.take();
  }
  std::string message_json(std::string_view status, std::string_view content) const {
    JsonObject json;
    json.add("id", item_id_);
    json.add("type", "message");
    json.add("status", status);
    json.add("role", "assistant");
    json.add_json("content", content);
    return json.take();
  }

  std::string open_message() {
    std::string events = close_item("completed");
    open_ = Open::kMessage;
    events += begin_item("msg_", [this] { return message_json("in_progress", "[]"); });
    JsonObject added = begin_item_event("response.content_part.added");
    added.add("content_index", 0);
    added.add_json("part", part_json());
    return events + finish_event("response.content_part.added", std::move(added));
  }

  std::string add_text(const ReplyPiece& piece) {
    std::string events;
    if (open_ != Open::kMessage) events = open_message();
    text_ += piece.content;
    content_ += piece.content;
    JsonObject delta = begin_item_event("response.output_text.delta");
    delta.add("content_index", 0);
    delta.add("delta", piece.content);
    delta.add_json("logprobs",
                   wants_logprobs_ ? logprobs_json(piece.logprobs, true) : std::string("[]"));
    if (wants_logprobs_) {
      logprobs_.insert(logprobs_.end(), piece.logprobs.begin(), piece.logprobs.end());
    }
    return events + finish_event("response.output_text.delta", std::move(delta));
  }

  std::string close_message(std::string_view status) {
    JsonObject text = begin_item_event("response.output_text.done");
    text.add("content_index", 0);
    text.add("text", text_);
    text.add_json("logprobs", logprobs_json(logprobs_, true));
    std::string events = finish_event("response.output_text.done", std::move(text));
    JsonObject part = begin_item_event("response.content_part.done");
    part.add("content_index", 0);
    part.add_json("part", part_json());
    events += finish_event("response.content_part.done", std::move(part));
    return events + finish_item(message_json(status, listed(part_json())));
  }

  std::string close_item(std::string_view status) {
    std::string events;
    const Open open = std::exchange(open_, Open::kNothing);
    if (open == Open::kReasoning) events = close_reasoning();
    if (open == Open::kMessage) events = close_message(status);
    text_.clear();
    logprobs_.clear();
    return events;
  }

  std::string call_json(const ToolCall& call, std::string_view status,
                        std::string_view arguments) const {
    JsonObject json;
    json.add("id", item_id_);
    json.add("type", "function_call");
    json.add("status", status);
    json.add("call_id", call.id);
    json.add("name", call.name);
    json.add("arguments", arguments);
    return json.take();
  }

  std::string add_call(const ToolCall& call) {
    std::string events = close_item("completed");
    const std::string arguments = dump_json(call.arguments);
    events += begin_item("fc_", [&] { return call_json(call, "in_progress", ""); });
    JsonObject delta = begin_item_event("response.function_call_arguments.delta");
    delta.add("delta", arguments);
    events += finish_event("response.function_call_arguments.delta", std::move(delta));
    JsonObject done = begin_item_event("response.function_call_arguments.done");
    done.add("name", call.name);
    done.add("arguments", arguments);
    events += finish_event("response.function_call_arguments.done", std::move(done));
    calls_.push_back(call);
    return events + finish_item(call_json(call, "completed", arguments));
  }

  // The response as it stands; `output` is a list.
  std::string response_json(std::string_view status, std::string_view output,
                            const ReplyEnd* end) const {
    const bool is_cut = status == "incomplete";
    JsonObject json;
    json.add("id", "resp_" + id_);
    json.add("object", "response");
    json.add("created_at", created_);
    json.add("status", status);
    json.add_json("completed_at", status == "completed" ? json_text(unix_seconds(now_())) : "null");
    json.add_json("error", error_.empty() ? "null" : error_);
    json.add_json("incomplete_details", is_cut ? R"({"reason":"max_output_tokens"})" : "null");
    json.add("model", model_);
    json.add_json("output", output);
    std::string text = json.take();
    text.pop_back();
    text += echo_ + ",\"usage\":" + (end != nullptr ? usage_json(*end) : "null");
    if (end != nullptr) text += ",\"sluice\":" + explain_end(*end);
    return text + "}";
  }

  static std::string usage_json(const ReplyEnd& end) {
    JsonObject input, output, json;
    input.add("cached_tokens", end.num_cached_tokens);
    output.add("reasoning_tokens", end.num_thinking_tokens);
    json.add("input_tokens", end.num_prompt_tokens);
    json.add_json("input_tokens_details", input.take());
    json.add("output_tokens", end.num_output_tokens);
    json.add_json("output_tokens_details", output.take());
    json.add("total_tokens", int64_t{end.num_prompt_tokens} + end.num_output_tokens);
    return json.take();
  }

  std::string ended_json(const ReplyEnd& end) {
    const bool is_cut = done_reason(end.reason) != "stop";
    whole_ = response_json(is_cut ? "incomplete" : "completed", listed(output_), &end);
    return whole_;
  }

  // Before the client can know of it: its next request may go on from here.
  void keep(const std::string& body) {
    if (!is_stored_) return;
    KeptResponse kept;
    kept.id = "resp_" + id_;
    kept.body = body;
    kept.messages = std::exchange(messages_, {});
    Message& reply = kept.messages.emplace_back();
    reply.role = "assistant";
    reply.content = std::move(content_);
    reply.thinking = std::move(thinking_);
    reply.tool_calls = std::move(calls_);
    memory_.keep(std::move(kept));
  }

  ResponseMemory& memory_;
  const std::string id_;
  const int64_t created_;
  TimePoint (*const now_)();
  std::string model_;
  std::string previous_id_;
  std::string echo_;               // members of the response, each behind a comma
  std::vector<Message> messages_;  // of the conversation, when it is to be kept
  bool is_stored_ = false;
  bool wants_logprobs_ = false;

  int sequence_number_ = 0;
  Open open_ = Open::kNothing;
  std::string item_id_;                 // of the item that is open
  std::string text_;                    // its text so far
  std::vector<ReplyLogprob> logprobs_;  // of that
  int num_items_ = 0;                   // that are done
  std::string output_;                  // those, as JSON
  std::string error_;                   // "" or JSON
  std::string whole_;
  // The reply for those who go on from it.
  std::string content_, thinking_;
  std::vector<ToolCall> calls_;
};

}  // namespace

size_t size_of(const KeptResponse& response) {
  size_t size = sizeof response + response.id.size() + response.body.size();
  for (const Message& message : response.messages) {
    size += sizeof message + message.content.size() + message.thinking.size();
    for (const std::string& image : message.images) size += image.size();
    for (const ToolCall& call : message.tool_calls) {
      size += sizeof call + call.id.size() + call.name.size() + dump_json(call.arguments).size();
    }
  }
  return size;
}

std::unique_ptr<Dialect> make_response(const Stamp& stamp, ResponseMemory& memory) {
  return std::make_unique<Response>(stamp, memory);
}

}  // namespace sluice::api::openai
