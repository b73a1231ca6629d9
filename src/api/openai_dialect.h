#pragma once

#include <string>
#include <string_view>

#include "api/dialect.h"
#include "api/encode_common.h"

namespace sluice::api::openai {

// Replies to one request, prompts and choices together; each is a sequence of its own.
inline constexpr size_t kMaxReplies = 128;

// What both kinds of completion share: server-sent events ("data: {...}\n\n") whose objects have
// one id and time, and [DONE] behind the last.
class OpenAiDialect : public Dialect {
 public:
  GenerationRequest parse(std::string_view body, Work& work) override;
  std::string_view content_type() const override { return "text/event-stream"; }
  std::string first(int) override { return {}; }
  std::string piece(const ReplyPiece& piece) override = 0;
  std::string waiting(const Waiting& waiting) override { return waiting_comment(waiting); }
  // After the last one the usage, if it was asked for, and [DONE].
  std::string end(const ReplyEnd& end) override;
  std::string stream_error(int status, std::string_view message) override;
  std::string whole(std::span<const Choice> choices) override;

 protected:
  // `object`: of a whole reply; `chunk_object`: of an event.
  OpenAiDialect(const Stamp& stamp, std::string_view id_prefix, const char* object,
                const char* chunk_object);

  // Takes the fields that only this request has.
  virtual void take_fields(Json& body, GenerationRequest& request, Work& work) = 0;
  // Takes `n`, when the prompts are known: how many replies there will be.
  void take_num_choices(const Json& body, GenerationRequest& request);

  // The item of `choices` for a whole reply, and for the event that ends one in a stream.
  virtual std::string choice_json(const Choice& choice) = 0;
  virtual std::string last_choice_json(const ReplyEnd& end) const = 0;

  // An event with one choice.
  std::string event(std::string_view choice) const;

 private:
  // temperature and top_p are 1 unless given; max_completion_tokens counts before max_tokens. Some
  // clients send Ollama's options and keep_alive, or top_k and min_p as other servers take them:
  // they count, below OpenAI's own.
  GenerationRequest take_shared_fields(Json& body);
  // `choices`: a JSON list.
  JsonObject head(const char* object, std::string_view choices) const;

  const char* object_;
  const char* chunk_object_;
  std::string id_;
  int64_t created_unix_;
  std::string model_;
  bool include_usage_ = false;
  ReplyEnd sum_;  // of the replies that have ended: what usage tells; a prompt counts once
  size_t num_open_ = 1;
};

// Sampling and limits of a request: temperature and top_p are 1 unless given; "options" are
// Ollama's, and count below OpenAI's own fields. Moves stop strings out.
ModelOptions parse_sampling(Json& body);
// A number of tokens, -1 for a negative one.
std::optional<int> limit_field(const Json& body, std::string_view name);

// "stop", "length", "tool_calls".
std::string_view finish_reason(engine::FinishReason reason, bool has_tool_calls);

}  // namespace sluice::api::openai
