#pragma once

#include <string>
#include <string_view>

#include "api/dialect.h"
#include "api/encode_common.h"

namespace sluice::api::openai {

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
  std::string error_body(int status, std::string_view message) const override;

 protected:
  // `object`: of a whole reply; `chunk_object`: of an event.
  OpenAiDialect(const Stamp& stamp, std::string_view id_prefix, const char* object,
                const char* chunk_object);

  // Takes the fields that only this request has.
  virtual void take_fields(Json& body, GenerationRequest& request, Work& work) = 0;
  // How many replies there will be.
  void set_num_replies(size_t count) { num_open_ = count; }

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
  ReplyEnd sum_;  // of the replies that have ended: what usage tells
  size_t num_open_ = 1;
};

// "stop", "length", "tool_calls".
std::string_view finish_reason(engine::FinishReason reason, bool has_tool_calls);

}  // namespace sluice::api::openai
