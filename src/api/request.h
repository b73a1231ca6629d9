#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/format.h"
#include "api/json.h"
#include "api/options.h"
#include "text/tokenizer.h"

namespace sluice::api {

// What clients ask for, freed of the dialect they said it in.

struct ToolCall {
  std::string id;  // "" when the client sent none
  int index = 0;
  std::string name;
  JsonTree arguments = Json::object();  // always an object, members in the client's order
};

struct Message {
  std::string role;  // lower case
  std::string content;
  std::string thinking;
  std::vector<std::string> images;  // base64, checked
  std::vector<ToolCall> tool_calls;
  std::string tool_name;
  std::string tool_call_id;
};

// What a client says about calling tools. A reply that must have a call is held to it by a grammar.
struct ToolChoice {
  enum class Kind {
    kAuto,      // as the model likes
    kNone,      // no call, whatever tools there are
    kRequired,  // some call
    kNamed,     // of the tool `name`
  };
  Kind kind = Kind::kAuto;
  std::string name;

  bool must_call() const { return kind == Kind::kRequired || kind == Kind::kNamed; }
};

struct Think {
  bool is_enabled = false;
  std::string level;     // "" or "low", "medium", "high", "max"
  bool is_wish = false;  // a model that cannot just answers; otherwise that is an error
};

// How long a model stays loaded after its last request; kForever for negative values.
using KeepAlive = std::chrono::nanoseconds;
inline constexpr KeepAlive kForever = KeepAlive::max();

// A number of seconds (fractions too), a Go duration ("5m", "-1m", "0"), negative for ever, 0
// unload when idle. Throws Error(kInvalidArgument).
KeepAlive parse_keep_alive(const Json& value);
// For configuration: as above, and a bare number is seconds ("300").
KeepAlive parse_keep_alive_text(std::string_view text);

// How long a request may take from its arrival on, written as a keep-alive; kNoTimeout for zero and
// negative values. Throws Error(kInvalidArgument).
using Timeout = std::chrono::nanoseconds;
inline constexpr Timeout kNoTimeout = Timeout::max();
Timeout parse_timeout(const Json& value);
// For headers and configuration: as above, and a bare number is seconds.
Timeout parse_timeout_text(std::string_view text);

// What our own clients may ask for in any dialect; others never send it.
struct Extensions {
  std::optional<Timeout> timeout;   // "timeout", or the header X-Request-Timeout
  std::optional<bool> speculate;    // "speculate"
  bool wants_queue_events = false;  // "queue_events", or the header X-Queue-Events
  bool ignore_end = false;          // "ignore_eos", as llama.cpp and vLLM call it
};

// Token ids are taken as they are.
using TextOrTokens = std::variant<std::string, std::vector<text::TokenId>>;

// A chat, or a prompt to go on with.
struct GenerationRequest {
  std::string model;  // as the client wrote it; replies repeat it
  bool is_chat = true;

  // Chat.
  std::vector<Message> messages;
  JsonTree tools = Json::array();  // each {type, function{name, description, parameters}}
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;  // false: the reply has one call at most

  // Prompt (/api/generate, /v1/completions).
  std::string prompt;
  std::optional<std::vector<text::TokenId>> prompt_tokens;  // in place of `prompt`
  std::vector<TextOrTokens> other_prompts;                  // each has a reply of its own
  std::string suffix;
  std::optional<std::string> system;                  // in place of the model's own
  std::optional<std::string> chat_template;           // in place of the model's own
  std::optional<std::vector<text::TokenId>> context;  // of an earlier reply; [] counts as given
  std::vector<std::string> images;                    // base64, checked
  bool is_raw = false;                                // the prompt is used as it is

  // Both.
  bool stream = true;
  ModelOptions options;  // what the request says; lay it over the model's with merge_options
  std::vector<backend::TokenBias> biases;
  Format format;
  std::optional<Think> think;
  int num_choices = 1;  // replies to each prompt, of which each is drawn anew
  bool echo = false;    // a reply begins with its prompt, as the client sent it
  std::optional<KeepAlive> keep_alive;
  bool truncate = true;
  bool shift = true;
  int num_top_logprobs = -1;       // as engine::Request: -1 none, 0 the token's own, to 20
  bool wants_context = false;      // the reply's end tells the tokens of prompt and reply
  bool is_load_only = false;       // load the model (or unload it: keep_alive 0), nothing else
  bool debug_render_only = false;  // give the rendered prompt back, nothing else
  bool is_count_only = false;      // say how many tokens the prompt has, nothing else
  // The dialect has places for thinking and calls; otherwise a reply is the text as it comes.
  bool takes_parts = true;
  Extensions extensions;

  size_t num_prompts() const { return 1 + other_prompts.size(); }
  // Makes one of the other prompts, from 1 on, the prompt.
  void take_other_prompt(size_t index);
};

}  // namespace sluice::api
